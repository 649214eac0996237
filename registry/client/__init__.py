"""The async client of a registry: ours or real Consul, 1.8 to current; callers cannot tell them apart.

`api.py` is `RegistryClient`; `transport.py` carries py-consul's calls and our own over one aiohttp
session; `cursor.py` (index rules) and `last_good.py` (what to believe after a loss) are pure, and
`watch.py` is the loop around them; `heartbeat.py` keeps one instance registered and alive.
"""

from registry.client.api import RegistryClient
from registry.client.heartbeat import Heartbeat
from registry.client.kv_operation import MAX_BYTES, MAX_OPERATIONS, KVOperation, in_parts
from registry.client.last_good import LastGood
from registry.client.records import HealthAnswer, HealthView, ServiceInstance, ServiceRegistration
from registry.errors import BadRequest, NotFound, PermissionDenied, RegistryError, RegistryUnavailable
from registry.model import CRITICAL, PASSING, WARNING, CheckDefinition, KVEntry

__all__ = [
    "CRITICAL",
    "MAX_BYTES",
    "MAX_OPERATIONS",
    "PASSING",
    "WARNING",
    "BadRequest",
    "CheckDefinition",
    "HealthAnswer",
    "HealthView",
    "Heartbeat",
    "KVEntry",
    "KVOperation",
    "LastGood",
    "NotFound",
    "PermissionDenied",
    "RegistryClient",
    "RegistryError",
    "RegistryUnavailable",
    "ServiceInstance",
    "ServiceRegistration",
    "in_parts",
]
