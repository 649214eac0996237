"""HTTP/1.1 without I/O: bytes in, events out; heads in, bytes out.

Everything that decides where a message ends or which field may pass lives here, on top of llhttp,
and nothing here knows a socket, a clock or a policy. `request_parser` and `response_parser` turn
reads into `RequestHead`/`ResponseHead`, body pieces (plain `bytes`) and `END`; `framing` is the
length law of RFC 9112 section 6, one function each way; `headers` says what is dropped, added and
refused; `serialize` writes heads, chunks and our own answers. A message that two parsers could
read differently is refused, never passed on.
"""
