"""How much is kept of what others choose, wherever it is kept: the rest says nothing that a person reads.

A request may be 64 KiB of head, and thousands of them are remembered. Cut like this, as Envoy cuts them.
"""

from __future__ import annotations

# Of a path in a span: Envoy's `max_path_tag_length`.
SPAN_PATH = 256
# Of a path in the access log and in an explanation, where its query matters too.
PATH = 1024
# Of a host: a DNS name has no more than 253 bytes, and a port behind it six.
AUTHORITY = 260
# Of a caller's name or version, as it becomes a label.
NAME = 128
# Of a reason: our own are a line; what they quote may be anything.
WORDS = 512
