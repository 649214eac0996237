"""The fuzz target for atheris; how to run it stands in README.md.

Plain random bytes rarely pass a first line, so besides libFuzzer's own mutations there is a custom one
that works on the words of HTTP, and a dictionary beside this file.
"""
# ruff: noqa: E501 - one row a line reads better than one row on five

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["sidecar.wire"]):
    import sidecar.wire.forward
    import sidecar.wire.request_parser
    import sidecar.wire.response_parser  # noqa: F401

from tests.fuzz.oracle import check

WORDS = [
    b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b";", b"0\r\n\r\n", b"5\r\nhello\r\n", b"Host: x\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked", b"gzip, ",
    b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/2.0", b"RTSP/1.0", b"ICE/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD", b"POST",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 X\r\n", b"HTTP/1.1 304 X\r\n",
    b"http://y/", b"*", b"#", b"X : y\r\n", b" folded\r\n", b"\xff", b"Trailer: a\r\n", b"Expect: 100-continue\r\n",
]  # fmt: skip


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the time a word of HTTP goes in, half of the time libFuzzer does what it does."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        out: bytes = atheris.Mutate(data, max_size)
        return out
    for _ in range(rng.randint(1, 3)):
        at, cut = rng.randint(0, len(data)), rng.choice((0, 0, 0, 1, 2, 8))
        data = data[:at] + rng.choice(WORDS) + data[at + cut :]
    return data[:max_size]


def main() -> None:
    atheris.Setup(sys.argv, check, custom_mutator=lambda data, size, seed: mutate(bytes(data), size, seed))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
