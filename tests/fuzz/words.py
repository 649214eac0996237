"""What mutations put into messages: the words that matter to a parser of HTTP."""

# ruff: noqa: E501 - several words a line

from __future__ import annotations

WORDS = [
    b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b";", b"0\r\n\r\n", b"5\r\nhello\r\n", b"Host: x\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked", b"gzip, ",
    b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/2.0", b"RTSP/1.0", b"ICE/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD", b"POST",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 X\r\n", b"HTTP/1.1 304 X\r\n",
    b"http://y/", b"*", b"#", b"X : y\r\n", b" folded\r\n", b"\xff", b"Trailer: a\r\n", b"Expect: 100-continue\r\n",
]  # fmt: skip
