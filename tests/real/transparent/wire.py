"""The raw client: HTTP/1.1 byte by byte, for what other clients do not show or do not send.

Strict in what it reads: framing that RFC 9112 does not have is an error.
"""

import socket

from .seen import Seen

PATIENCE_SECS = 15


class Broken(Exception):
    """The other side ended early, or did not keep to RFC 9112."""


class Conversation:
    """One connection, with what arrived on it and was not read yet."""

    def __init__(self, port, sock=None):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECS)
        self.sock.settimeout(PATIENCE_SECS)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""
        # Whether the last answer was the last.
        self.ends = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        """Waits for further bytes; false at the end."""
        data = self.sock.recv(65536)
        self.pending += data
        return bool(data)

    def until(self, mark):
        while (at := self.pending.find(mark)) < 0:
            if not self.more():
                raise Broken(f"ended before {mark!r}, after {self.pending[-80:]!r}")
        found, self.pending = self.pending[:at], self.pending[at + len(mark) :]
        return found

    def exactly(self, length):
        while len(self.pending) < length:
            if not self.more():
                raise Broken(f"ended {length - len(self.pending)} bytes early")
        found, self.pending = self.pending[:length], self.pending[length:]
        return found

    def rest(self):
        while self.more():
            pass
        found, self.pending = self.pending, b""
        return found

    def head(self):
        """First line and fields."""
        while (line := self.until(b"\r\n")) == b"":
            pass
        return line.decode("latin-1"), self.fields()

    def fields(self):
        found = []
        while line := self.until(b"\r\n"):
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon or name != name.strip():
                raise Broken(f"not a field: {line!r}")
            found.append((name, value.strip(" \t")))
        return found

    def chunks(self):
        """Each chunk as it comes; trailers are in `self.trailers` afterwards."""
        while True:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                self.trailers = self.fields()
                return
            yield self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise Broken("a chunk is longer than it says")

    def response(self, method, on_head=None):
        """The next answer, with the 1xx before it."""
        seen = Seen(informational=[], trailers=[])
        while True:
            line, fields = self.head()
            version, status, *reason = line.split(" ", 2)
            if not version.startswith("HTTP/1."):
                raise Broken(f"not a status line: {line!r}")
            if not status.startswith("1") or status == "101":
                break
            seen.informational.append((int(status), fields))
        seen.status, seen.reason = int(status), "".join(reason)
        said = ",".join(value for name, value in fields if name.lower() == "connection").lower()
        self.ends = "close" in said or (version == "HTTP/1.0" and "keep-alive" not in said)
        seen.fields = [(name.lower(), value) for name, value in fields]
        if on_head:
            on_head(seen)
        try:
            seen.body = self.body(seen, method, version)
        except (Broken, OSError, ValueError) as error:
            seen.error = str(error)
        return seen

    def body(self, seen, method, version):
        if method == "HEAD" or seen.status in (101, 204, 304):
            return b""
        codings, lengths = seen.values("transfer-encoding"), set(seen.values("content-length"))
        if codings:
            if [coding.lower() for coding in codings] != ["chunked"] or version != "HTTP/1.1":
                raise Broken(f"transfer codings {codings} in {version}")
            body = b"".join(self.chunks())
            seen.trailers = [(name.lower(), value) for name, value in self.trailers]
            return body
        if lengths:
            (length,) = lengths
            return self.exactly(int(length))
        self.ends = True
        return self.rest()


def request_bytes(call, host):
    """Head and body of a call. `Host` comes first unless the call brings its own."""
    if call.wire is not None:
        return call.wire.replace("{host}", host).encode("latin-1"), b""
    names = {name.lower() for name, _ in call.fields}
    lines = [f"{call.method} {call.target} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in call.fields]
    if call.chunked:
        lines.append("Transfer-Encoding: chunked")
        body = chunks_of(pieces(call.body), call.trailers)
    else:
        body = call.body or b""
        if call.body is not None and "content-length" not in names:
            lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), body


def chunks_of(pieces, trailers=()):
    """A chunked body as bytes."""
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    fields = [f"{name}: {value}\r\n".encode("latin-1") for name, value in trailers]
    return b"".join([*chunks, b"0\r\n", *fields, b"\r\n"])


def pieces(body, size=1000):
    return [body[at : at + size] for at in range(0, len(body or b""), size)]


def ask(port, calls):
    """All calls on one connection, or on a new one where that was closed."""
    answers, talk = [], None
    try:
        for call in calls:
            talk = talk or Conversation(port)
            try:
                answers.append(one(talk, call, f"127.0.0.1:{port}"))
            except (Broken, OSError, ValueError) as error:
                answers.append(Seen(error=str(error)))
            if answers[-1].error or talk.ends:
                talk.sock.close()
                talk = None
    finally:
        if talk:
            talk.sock.close()
    return answers


def one(talk, call, host):
    head, body = request_bytes(call, host)
    talk.send(head)
    if not call.expect:
        talk.send(body)
        return talk.response(call.method)
    line, fields = talk.head()
    early = []
    while (status := int(line.split(" ", 2)[1])) < 200:
        early.append((status, fields))
        if status == 100:
            talk.send(body)
        line, fields = talk.head()
    # Given back, so that the answer is read as any other.
    text = "\r\n".join([line, *(f"{name}: {value}" for name, value in fields), "", ""])
    talk.pending = text.encode("latin-1") + talk.pending
    seen = talk.response(call.method)
    seen.informational = early + seen.informational
    if 100 not in [status for status, _ in early]:
        # The body was never sent, so nothing more can be asked here.
        talk.ends = True
    return seen
