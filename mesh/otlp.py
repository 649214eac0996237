"""An OTLP trace request taken apart on the wire: what each span takes is known before anything is unpacked.

Pure. Unpacked, four megabytes of empty messages are a third of a gigabyte; here they are slices, and each
span is unpacked for itself, by whoever wants it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

# Our sidecars' spans take half a kilobyte; a stack trace or a long SQL statement fits.
MAX_SPAN_BYTES = 64 * 1024
# Who sends: a dozen names. OpenTelemetry's own detectors find less than a kilobyte.
MAX_RESOURCE_BYTES = 16 * 1024
# Exporters send 512 at a time, by their own default.
MAX_SPANS = 10_000
# All that a request is made of above the spans' own fields: resources, scopes, what we do not know.
MAX_FIELDS = 20_000

_RESOURCE_SPANS, _RESOURCE, _SCOPE_SPANS, _SPANS = 1, 1, 2, 2
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10


class OtlpError(ValueError):
    """It is no ExportTraceServiceRequest, or one of a size that no exporter sends; the text says which."""


@dataclass(slots=True)
class Batch:
    """The spans of one resource, each serialized; one whose resource is too large has none."""

    resource: bytes
    spans: list[bytes] = field(default_factory=list)


class Request:
    """`batches` of a body; `refused` counts the spans that are too large. Raises OtlpError."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._fields = self._spans = 0
        self.refused = 0
        self.batches = [self._batch(*place) for place in self._messages(0, len(body), _RESOURCE_SPANS)]

    def _batch(self, begin: int, end: int) -> Batch:
        # said in parts, a resource is merged: the bytes one after the other mean the same
        places = list(self._messages(begin, end, _RESOURCE))
        fits = sum(last - first for first, last in places) <= MAX_RESOURCE_BYTES
        batch = Batch(b"".join(self._body[first:last] for first, last in places) if fits else b"")
        for scope in self._messages(begin, end, _SCOPE_SPANS):
            for first, last in self._messages(*scope, _SPANS):
                self._spans += 1
                if self._spans > MAX_SPANS:
                    raise OtlpError(f"more than {MAX_SPANS} spans at once")
                if fits and last - first <= MAX_SPAN_BYTES:
                    batch.spans.append(self._body[first:last])
                else:
                    self.refused += 1
        return batch

    def _messages(self, begin: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
        """Where the messages of this field's number are, within a message."""
        at = begin
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise OtlpError(f"more than {MAX_FIELDS} fields at once")
            tag, at = self._varint(at, end)
            wire = tag & 7
            if wire == _LENGTH:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise OtlpError("a message ends before it is whole")
                if tag >> 3 == wanted:
                    yield at, at + length
                at += length
            elif wire == _VARINT:
                _, at = self._varint(at, end)
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                raise OtlpError("a field has no known type")
        if at > end:
            raise OtlpError("a message ends before it is whole")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for place in range(at, min(end, at + _VARINT_BYTES)):
            byte = self._body[place]
            value |= (byte & 0x7F) << 7 * (place - at)
            if byte < 0x80:
                return value, place + 1
        raise OtlpError("a number has no end")
