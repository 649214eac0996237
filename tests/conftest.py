"""Property tests are judged by what they find, not by how busy the machine is: no deadline on an example."""

from hypothesis import settings

settings.register_profile("mesh", deadline=None)
settings.load_profile("mesh")
