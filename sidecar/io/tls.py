"""TLS that we begin: contexts made of files, off the loop and seldom; whose certificate it is.

A file that changes is seen by a new connection some seconds later; those that are open stay. A file that
cannot be read fails the connections that need it, in words that name it, and nothing goes out in plain.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# Of files that are looked at again: a rotation is in force after so long.
RECHECK_S = 10.0
# Of different sets of files. A context with the system's authorities takes a megabyte.
MAX_CONTEXTS = 32


class Files(NamedTuple):
    """What a context is made of. Paths, '' = none; `by_name`: the certificate must be for the SNI."""

    ca: str
    certificate: str
    private_key: str
    crl: str
    verify: bool
    by_name: bool


class _Made(NamedTuple):
    context: ssl.SSLContext
    stamp: tuple[tuple[int, int, int], ...]


class Contexts:
    """Those in use, the oldest forgotten first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: dict[Files, _Made] = {}
        self._looked: dict[Files, float] = {}
        self._making: dict[Files, asyncio.Lock] = {}

    async def get(self, files: Files) -> ssl.SSLContext:
        """The context for these files as they are now, or were a moment ago.

        Raises:
            OSError: with words, for a file that cannot be used.
        """
        made = self._made.get(files)
        if made is not None and self._clock() - self._looked[files] < RECHECK_S:
            return made.context
        lock = self._making.setdefault(files, asyncio.Lock())
        async with lock:  # many connections at once need one context
            made = self._made.get(files)
            if made is None or self._clock() - self._looked[files] >= RECHECK_S:
                made = await asyncio.to_thread(_make, files, made)
                self._forget()
                self._made[files] = made
                self._looked[files] = self._clock()
        if not lock.locked():
            self._making.pop(files, None)
        return made.context

    def _forget(self) -> None:
        while len(self._made) >= MAX_CONTEXTS:
            oldest = next(iter(self._made))
            del self._made[oldest], self._looked[oldest]


class Tls:
    """Of one destination: its context, the name it is asked for, and who it must be."""

    __slots__ = ("_contexts", "_files", "_names", "server_name")

    def __init__(self, contexts: Contexts, files: Files, server_name: str, names: Sequence[str]) -> None:
        self._contexts = contexts
        self._files = files
        self._names = tuple(names)
        self.server_name = server_name

    async def context(self) -> ssl.SSLContext:
        """Raises OSError."""
        return await self._contexts.get(self._files)

    def check(self, transport: asyncio.BaseTransport) -> None:
        """After the handshake. Raises ssl.SSLCertVerificationError for a certificate of somebody else."""
        if not self._names:
            return  # the handshake has looked at it, or nobody wanted to know
        found = alt_names(transport.get_extra_info("peercert") or {})
        if not any(fits(name, found) for name in self._names):
            shown = ", ".join(found) or "nobody"
            words = f"the certificate is for {shown[:200]}, not for {', '.join(self._names)[:200]}"
            raise ssl.SSLCertVerificationError(words)


def alt_names(certificate: dict[str, Any]) -> list[str]:
    """The names that it says: of hosts, addresses, URIs."""
    return [str(value) for _, value in certificate.get("subjectAltName", ())]


def fits(wanted: str, found: Sequence[str]) -> bool:
    """Whether one of the certificate's names is this one; `*.` in it is one label, as in every browser."""
    try:
        address = str(ipaddress.ip_address(wanted))
    except ValueError:
        address = ""
    low = wanted.lower()
    for name in found:
        if name == wanted or (address and name == address) or (name.lower() == low and "://" not in low):
            return True
        if name.startswith("*.") and low.partition(".")[2] == name[2:].lower() and not address:
            return True
    return False


def _stamp(files: Files) -> tuple[tuple[int, int, int], ...]:
    found = []
    for path in files[:4]:
        if path:
            try:
                state = os.stat(path)
            except OSError as error:
                raise OSError(f"{path}: {error.strerror}") from error
            found.append((state.st_mtime_ns, state.st_size, state.st_ino))
    return tuple(found)


def _make(files: Files, before: _Made | None) -> _Made:
    stamp = _stamp(files)
    if before is not None and before.stamp == stamp:
        return before
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.check_hostname = files.verify and files.by_name
    if not files.verify:
        context.verify_mode = ssl.CERT_NONE
    elif files.ca:
        _load(files.ca, lambda: context.load_verify_locations(files.ca))
    else:
        context.load_default_certs()
    if files.crl:
        _load(files.crl, lambda: context.load_verify_locations(files.crl))
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if files.certificate:
        # a password that is asked for is asked of a terminal, and nobody sits there
        _load(
            f"{files.certificate} and {files.private_key}",
            lambda: context.load_cert_chain(files.certificate, files.private_key, password=lambda: ""),
        )
    return _Made(context, stamp)


def _load(what: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise OSError(f"{what}: cannot be used: {reason}") from error
