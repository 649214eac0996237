"""The addresses that workers share: reserved by a socket that is bound and never listens."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

from ..config import Address, Config
from ..errors import ConfigError


def reserve(config: Config, keep: contextlib.ExitStack) -> Config:
    """The same settings with a number for every port 0; the numbers are ours as long as `keep` is open.

    On Linux a socket that does not listen gets no connection, so nobody waits at it in vain.

    Raises:
        ConfigError: when an address cannot be bound.
    """
    outbound = config.outbound
    if outbound is not None:
        outbound = _reserve("outbound", outbound, keep)
    tcp = tuple((service, _reserve("tcp", address, keep)) for service, address in config.tcp)
    return replace(config, outbound=outbound, tcp=tcp)


def _reserve(flag: str, address: Address, keep: contextlib.ExitStack) -> Address:
    port = address.port
    try:
        for family, *_, where in socket.getaddrinfo(
            address.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if port:
                # with SO_REUSEPORT alone we would share it with another mesh of the same user
                _bind(family, (where[0], port), socket.SO_REUSEADDR).close()
            held = keep.enter_context(_bind(family, (where[0], port), socket.SO_REUSEPORT))
            port = held.getsockname()[1]
    except OSError as error:
        words = f"cannot listen: {error.strerror or error}; choose another port (0 = any free one)"
        raise ConfigError(f"--{flag} {address}: {words}") from error
    return Address(address.host, port)


def _bind(family: int, where: tuple[str | int, int], option: int) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.setsockopt(socket.SOL_SOCKET, option, 1)
        found.bind(where)
    except OSError:
        found.close()
        raise
    return found
