"""A request that a VirtualService's fault holds or answers, at its caller; the destination hears nothing.

In an exchange's hands as `entry.Entry` is at the callee: `begin` answers like `Proxy.route`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Flag, MeshError

if TYPE_CHECKING:
    from .attempt import Target
    from .exchange import Exchange
    from .outbound import Outbound
    from .policy.http_fault import HttpFault


class CallerFault:
    """The fault of one request; `key` is where it goes otherwise."""

    __slots__ = ("_exchange", "_flags", "_key", "_outbound", "_status", "holds")

    def __init__(self, outbound: Outbound, exchange: Exchange, key: str) -> None:
        self._outbound = outbound
        self._exchange = exchange
        self._key = key
        self.holds = False  # the delay is not over
        self._status = 0
        self._flags: tuple[str, ...] = ()

    def begin(self, fault: HttpFault) -> Target | MeshError | None:
        """Where the request goes, its injected answer, or None: it is held first."""
        outbound, exchange = self._outbound, self._exchange
        delay_s, self._status = fault.draw(outbound.rng)
        if not delay_s and not self._status:
            return outbound.reach(self._key, exchange)
        exchange.target_name = self._key
        exchange.entry = self
        if not delay_s:
            return self._aborted()
        self._flags = ("DI",)
        self.holds = True
        exchange.wake(outbound.clock() + delay_s)
        return None

    def go_on(self) -> None:
        """The time that the exchange was asked to wake at has come: of the delay, or of a later backoff."""
        exchange = self._exchange
        if not self.holds:
            exchange.try_again()
            return
        self.holds = False
        exchange.time_begins()
        found = self._aborted() if self._status else self._outbound.reach(self._key, exchange)
        if found is not None:
            exchange.routed(found)

    def _aborted(self) -> MeshError:
        self._flags += ("FI",)
        return MeshError(Flag.FI, "aborted", status=self._status)

    def enter(self) -> MeshError | None:
        """Nothing here limits who goes on."""
        return None

    def over(self) -> None:
        """The exchange has ended, however it did."""

    def flags(self, own: str) -> str:
        """The response flags: of what was injected, and the exchange's own (`-` = none)."""
        found = self._flags if own == "-" or own in self._flags else (*self._flags, own)
        return ",".join(found)

    def explain(self, detail: str) -> str:
        """The words for the access log and the client, with the rule's name."""
        if "FI" not in self._flags:
            return detail
        return f"fault {self._exchange.route_name}: {detail}"
