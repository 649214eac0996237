"""Which of a service's `portLevelSettings` a request gets.

Services of the mesh have one port, whose number only documents and requests name. So the settings are those
of the port that the route names (`destination.port`), else of the one that the request names (`orders:9080`,
80 if it names none), and where neither can be: of the only one that the rule has settings for.
"""

import re
from collections.abc import Mapping
from typing import Final

from .match import HTTP_PORT

_PORT: Final = re.compile(r":([0-9]{1,5})$")
Ports = Mapping[int, str]
"""Upstream keys by port."""


def port_named(authority: str) -> int | None:
    """The port of `host:port`; None if there is none."""
    found = _PORT.search(authority)
    return None if found is None else int(found[1])


def key_at(plain: str, ported: Ports, port: int | None, own: bool) -> str:
    """The upstream key. `port`: as the request names it; `own`: of this service, not of one whose rule leads
    here.
    """
    if own and (port or HTTP_PORT) in ported:
        return ported[port or HTTP_PORT]
    if len(ported) == 1 and (port is None or not own):
        return next(iter(ported.values()))
    return plain
