"""The control API: the mesh over HTTP, on loopback, for the command, the page and the sidecars' spans.

operator   what the API needs of whoever runs the mesh: the supervisor here, the Docker driver elsewhere
guard      who may ask: this machine by its own names (Host), and no foreign page (Origin)
app        routes and middlewares put together; one module a family of routes
"""
