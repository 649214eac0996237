"""Requests to a receiver of spans, each as large as one may be and as bad as one can be."""

import secrets

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# The largest body that the control API takes.
BODY = 4 * 1024 * 1024
# The largest span that it keeps, less what stands around an attribute.
SPAN = 64 * 1024 - 200


def message(field: int, body: bytes) -> bytes:
    """A field that holds bytes, as it is on the wire."""
    size, length = b"", len(body)
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return bytes([field << 3 | 2]) + size + bytes([length]) + body


def of_spans(*spans: bytes, resource: bytes = b"") -> bytes:
    """One batch of serialized spans."""
    return message(1, message(1, resource) + message(2, b"".join(message(2, span) for span in spans)))


def span(text: int = 0, attributes: int = 0, trace_id: bytes = b"") -> bytes:
    """With an attribute of so many characters, and so many that are empty."""
    one = ExportTraceServiceRequest().resource_spans.add().scope_spans.add().spans.add()
    one.trace_id, one.span_id = trace_id or secrets.token_bytes(16), secrets.token_bytes(8)
    one.name, one.start_time_unix_nano, one.end_time_unix_nano = "GET /", 1, 2
    if text:
        one.attributes.add(key="k").value.string_value = "x" * text
    return one.SerializeToString() + b"\x4a\x00" * attributes


def bodies() -> list[bytes]:
    """One of each kind."""
    service = b"\x0a\x18\x0a\x0cservice.name\x12\x08\x0a\x06orders"
    same = secrets.token_bytes(16)
    return [
        of_spans(span(text=BODY - 400)),  # one span with one attribute
        of_spans(*(span(text=SPAN) for _ in range(60)), resource=service),  # the largest that are kept
        of_spans(*(span(text=SPAN, trace_id=same) for _ in range(60)), resource=service),  # all of one trace
        of_spans(*(span(attributes=990) for _ in range(2000)), resource=service),  # of many empty parts
        of_spans(*(span(attributes=990, trace_id=same) for _ in range(2000)), resource=service),
        of_spans(span(attributes=BODY // 2 - 200)),  # millions of parts in one
        message(1, message(2, b"\x12\x00" * (BODY // 2 - 20))),  # millions of empty spans
        b"\x0a\x00" * (BODY // 2),  # of empty batches
        of_spans(span(), resource=message(1, b"") * (BODY // 2 - 100)),  # of parts of a process
        of_spans(span(trace_id=b"t" * (BODY - 400))),  # an id of megabytes
        of_spans(*(span() for _ in range(9000)), resource=service),  # many small ones
    ]
