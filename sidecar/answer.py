"""What the client of an exchange gets: an upstream's answer, held back or relayed, or one of our own.

An answer is held back while another try is still possible and waiting costs little: until the end of a
short body of known length, but not longer than `holding.HOLD_S`. So a replica that dies in the middle of
a small answer is no error. From `commit` on the answer belongs to the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .io.downstream import Downstream
from .routing.headers import NONE, HeaderOps
from .wire.events import Body, Header, RequestHead, ResponseHead
from .wire.forward import response_framing_out, response_lines, takes_trailers, trailer_lines
from .wire.serialize import chunk, direct_answer, join_head, last_chunk, own_answer

if TYPE_CHECKING:
    from .direct import DirectAnswer
    from .proxy import Proxy

# A response of known length up to this size is held back: an app writes it in one go.
HOLD_BYTES = 16 * 1024


class Answer:
    """The client's side of one exchange."""

    __slots__ = (
        "_client", "_framing", "_out", "_proxy", "_request", "_trailers", "bytes_out", "committed", "head",
        "held", "keep_alive",
    )  # fmt: skip

    def __init__(self, proxy: Proxy, client: Downstream, request: RequestHead) -> None:
        self._proxy = proxy
        self._client = client
        self._request = request
        self._framing = Body.NONE
        self._out: list[bytes] = []
        self._trailers: list[bytes] = []
        self.head: ResponseHead | None = None
        self.held = False
        self.committed = False
        self.keep_alive = request.keep_alive
        self.bytes_out = 0

    def interim(self, head: ResponseHead) -> None:
        """Relay a 1xx; HTTP/1.0 knows none."""
        if self._request.http11 and not self.committed:
            lines = response_lines(head, self._proxy.drop_response, Body.NONE, False)
            self._client.write([join_head(lines)])

    def begin(self, head: ResponseHead) -> None:
        """An attempt's final head is here."""
        self.head = head
        self.held = head.body is Body.NONE or (head.body is Body.LENGTH and head.length <= HOLD_BYTES)

    def body(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._out.append(chunk(data) if self._framing is Body.CHUNKED else data)

    def trailers(self, fields: list[Header]) -> None:
        """The fields behind a chunked body, for a client that says that it takes them."""
        if takes_trailers(self._request):
            self._trailers = trailer_lines(fields)

    def drop(self) -> None:
        """Another try takes this one's place."""
        self.head = None
        self.held = False
        self._out.clear()
        self.bytes_out = 0

    def commit(
        self,
        fields: list[bytes],
        request_complete: bool,
        operations: HeaderOps = NONE,
        cors: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Put the head before what was held; `fields` are the proxy's own, the rest is what a route wants."""
        head, request = self.head, self._request
        assert head is not None
        self.committed = True
        self.held = False
        self._framing = framing = response_framing_out(head, request.http11)
        if framing is Body.UNTIL_CLOSE or not request_complete or self._proxy.draining:
            self.keep_alive = False
        also: frozenset[bytes] | None = None
        if operations or cors:
            also = operations.gone | {name for name, _ in cors if name != b"vary"}
            fields = [*fields, *operations.lines, *(b"%b: %b\r\n" % pair for pair in cors)]
        drop, trailers = self._proxy.drop_response, takes_trailers(request)
        lines = response_lines(head, drop, framing, request.method == b"HEAD", also, trailers)
        lines += fields
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        elif not request.http11:
            lines.append(b"connection: keep-alive\r\n")
        self._out.insert(0, join_head(lines))

    def flush(self) -> None:
        """Send what there is, unless it is held."""
        if self._out and not self.held:
            self._client.write(self._out)
            self._out = []

    def end(self) -> bool:
        """The upstream's answer is complete and committed; says whether all of it is written."""
        if self._framing is Body.CHUNKED:
            self._out.append(last_chunk(self._trailers))
        self.flush()
        return True

    def own(
        self,
        status: int,
        reason: str,
        retry_after_s: float | None,
        overloaded: bool,
        more: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Answer for ourselves, with `x-mesh-reason`: response flags and words."""
        self.committed = True
        self._out.clear()
        if self._proxy.draining:
            self.keep_alive = False
        text = reason.encode("latin-1", "replace").translate(_CONTROLS)
        fields = [(b"x-mesh-reason", text), *more]
        if overloaded:
            fields.append((b"x-envoy-overloaded", b"true"))
        if retry_after_s is not None:
            fields.append((b"retry-after", b"%d" % max(1, round(retry_after_s))))
        body, head_request = text + b"\n", self._request.method == b"HEAD"
        self.bytes_out = 0 if head_request else len(body)
        self._client.write(
            [own_answer(status, body, fields, close=not self.keep_alive, head_request=head_request)]
        )

    def direct(self, answer: DirectAnswer) -> None:
        """The answer of a route, or of a fallback."""
        self.committed = True
        self._out.clear()
        if self._proxy.draining:
            self.keep_alive = False
        head_request = self._request.method == b"HEAD"
        self.bytes_out = 0 if head_request else len(answer.body)
        close = not self.keep_alive
        self._client.write([direct_answer(answer.status, answer.fields, answer.body, close, head_request)])

    def kept(self) -> bytes:
        """The body so far of an answer that is held."""
        return b"".join(self._out)

    def upgrade(self, head: ResponseHead, fields: list[bytes], first: bytes) -> None:
        """101, and the first bytes of the new protocol."""
        self.committed = True
        lines = response_lines(head, self._proxy.drop_response, Body.TUNNEL, False) + fields
        pieces = [join_head(lines)]
        self._client.write([*pieces, first] if first else pieces)


# A detail may quote what a client sent.
_CONTROLS = bytes(32 if byte < 32 or byte == 127 else byte for byte in range(256))
