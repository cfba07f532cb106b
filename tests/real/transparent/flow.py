"""Flow: an exchange that no row of the table can tell, since one side waits for the other in the middle of it.

A flow is a function that is given a port and tells what it saw as a dict; it runs directly and through larder, and both
dicts have to be the same. It never sleeps: an origin waits for the word of the flow, and the flow for the origin's.
"""

import dataclasses
import itertools
import json
import pathlib
import queue
import threading
import urllib.request

from .seen import Seen, brief, differences
from .wire import Conversation

PATIENCE_SECS = 10
IDS = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Flow:
    subject: str
    server: str
    client: str
    # (context) -> dict of what was seen
    run: object
    short: bool = True

    @property
    def name(self):
        return f"{self.server}: {self.subject} by {self.client}"


@dataclasses.dataclass
class Context:
    """One side of a flow: the port to ask, and the origin's own for words and questions."""

    port: int
    origin_port: int
    files: pathlib.Path

    def control(self, what, identity):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.origin_port}/control/{what}?id={identity}", timeout=PATIENCE_SECS) as answer:
            return json.load(answer)


def compare(direct, through):
    """What is not the same in what a flow saw twice."""
    found = []
    for key in sorted({*direct, *through}):
        one, other = direct.get(key), through.get(key)
        if isinstance(one, Seen) and isinstance(other, Seen):
            found += [f"{key}: {line}" for line in differences(one, other)]
        elif one != other:
            found.append(f"{key} {brief(one)} -> {brief(other)}")
    return found


class Pieces:
    """Pieces of a body, each waited for a bounded time; made by a thread that reads."""

    def __init__(self, start, end):
        self.queue, self.end = queue.Queue(), end
        threading.Thread(target=self.fill, args=(start,), daemon=True).start()

    def fill(self, start):
        try:
            for piece in start():
                self.queue.put(piece)
            self.queue.put(None)
        except Exception as error:  # told where it is waited for
            self.queue.put(error)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def __iter__(self):
        return self

    def __next__(self):
        try:
            piece = self.queue.get(timeout=PATIENCE_SECS)
        except queue.Empty:
            raise TimeoutError("nothing came") from None
        if piece is None:
            raise StopIteration
        if isinstance(piece, Exception):
            raise piece
        return piece


def over_http1(port, options):
    """Options for a server that may not speak HTTP/2; the ways of Node's script and of curl to say so."""
    if not {"--http2-prior-knowledge", "node-h2"} & set(options) or speaks_http2(port):
        return list(options)
    return [{"--http2-prior-knowledge": "--http1.1", "node-h2": "node-http"}.get(option, option) for option in options]


def speaks_http2(port):
    """Whether a server takes HTTP/2 without TLS and without asking."""
    with Conversation(port) as talk:
        talk.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        return talk.more() and talk.pending[3:4] == b"\4"


def counted(body):
    try:
        shown = json.loads(body)
        return {"bytes": shown["bytes"], "digest": shown["sha256"]}
    except (ValueError, KeyError):
        return {"said": body[:200]}
