"""`python -m tests.fuzz.seed`: writes the rows of the wire tests as the corpus to start from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.sidecar.wire.test_request_parser import ROWS as REQUEST_ROWS
from tests.sidecar.wire.test_response_parser import ROWS as RESPONSE_ROWS

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    inputs = [bytes([1]) + raw for _, raw, _ in REQUEST_ROWS]
    for _, method, raw, eof, _, _ in RESPONSE_ROWS:
        inputs.append(bytes([(2 if method == b"HEAD" else 0) | (4 if eof else 0)]) + raw)
    for data in inputs:
        (CORPUS / hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
