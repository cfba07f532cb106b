"""Flows of WebSockets, by the websockets package, by aiohttp, and frame by frame."""

import asyncio
import base64
import json

from .clients import imported
from .flow import PATIENCE_SECS, Flow
from .seen import ADDED_TO_REQUESTS, HOP_BY_HOP, Seen
from .streams import hang_up
from .wire import Conversation


def websockets():
    found = []
    for subject, run in {
        "text and bytes": said_back("a", "ä€😀", "", b"\0\xff", b"", "x" * 200),
        "messages of a megabyte": said_back("m" * (1 << 20), bytes(range(256)) * 4096),
        "a message in fragments": fragments,
        "pings": pings,
        "closed by the client": closed_by_client,
        "closed by the server": closed_by_server,
        "the server speaks first": server_first,
        "a subprotocol": handshake(subprotocols=["chat", "echo"]),
        "a subprotocol nobody speaks": handshake(subprotocols=["other"]),
        "without compression": handshake(compression=None),
        "fields of the handshake": asked_at_handshake,
        "refused": refused("/no"),
        "not a socket": refused("/plain"),
        "many messages": said_back(*[f"message {n}" for n in range(500)]),
        "two at once": two_at_once,
    }.items():
        found.append(Flow(f"WebSocket, {subject}", "websockets", "websockets", by_websockets(run)))
    for server, path in (("websockets", "/echo"), ("uvicorn", "/socket"), ("uvicorn-h11", "/socket"), ("hypercorn", "/socket")):
        found.append(Flow("WebSocket, echo", server, "aiohttp", by_aiohttp(path)))
        found.append(Flow("WebSocket, echo", server, "raw", by_frames(path)))
    found.append(Flow("WebSocket, refused", "uvicorn", "raw", refused_by_frames("/socket-refused")))
    found.append(Flow("WebSocket, a key that is none", "websockets", "raw", refused_by_frames("/echo", key="no key")))
    found.append(Flow("WebSocket, an old version", "websockets", "raw", refused_by_frames("/echo", version="8")))
    found.append(Flow("WebSocket, cut off by the client", "websockets", "raw", cut_by_client))
    return found


def by_websockets(run):
    def whole(context):
        imported("websockets")
        from websockets.sync.client import connect

        return run(lambda path, **more: connect(f"ws://127.0.0.1:{context.port}{path}", open_timeout=PATIENCE_SECS, close_timeout=PATIENCE_SECS, max_size=1 << 24, proxy=None, **more))

    return whole


def said_back(*messages):
    def run(connect):
        got = []
        with connect("/echo") as socket:
            for message in messages:
                socket.send(message)
                got.append(socket.recv(PATIENCE_SECS))
        return {"got": [message if len(message) < 300 else (len(message), hash(message)) for message in got], "close": socket.close_code}

    return run


def fragments(connect):
    with connect("/echo") as socket:
        socket.send(["one ", "two ", "three"])
        got = [socket.recv(PATIENCE_SECS)]
        socket.send([b"\1", b"\2"])
        return {"got": [*got, socket.recv(PATIENCE_SECS)]}


def pings(connect):
    with connect("/echo") as socket:
        answered = [socket.ping(data).wait(PATIENCE_SECS) for data in (b"", b"abc", b"x" * 125)]
    return {"answered": answered}


def closed_by_client(connect):
    with connect("/echo") as socket:
        socket.close(4003, "done here")
    return {"code": socket.close_code, "reason": socket.close_reason}


def closed_by_server(connect):
    from websockets.exceptions import ConnectionClosed

    with connect("/close") as socket:
        socket.send("x")
        try:
            socket.recv(PATIENCE_SECS)
        except ConnectionClosed as closed:
            return {"code": closed.rcvd.code, "reason": closed.rcvd.reason}
    return {"code": "not closed"}


def server_first(connect):
    with connect("/first") as socket:
        return {"got": socket.recv(PATIENCE_SECS)}


def handshake(**options):
    def run(connect):
        with connect("/echo", **options) as socket:
            socket.send("x")
            got = socket.recv(PATIENCE_SECS)
            fields = socket.response.headers
            kept = {name.lower(): value for name, value in fields.raw_items() if name.lower() in ("upgrade", "sec-websocket-protocol", "sec-websocket-extensions", "server")}
            return {"got": got, "status": socket.response.status_code, "protocol": socket.subprotocol, **kept}

    return run


def asked_at_handshake(connect):
    with connect("/who?a=%20b&c", additional_headers={"Authorization": "Bearer t", "Cookie": "a=1; b=2", "X-Own": "1"}, origin="https://shop.example", user_agent_header="own/1") as socket:
        said = json.loads(socket.recv(PATIENCE_SECS))
    left_out = (ADDED_TO_REQUESTS | HOP_BY_HOP | {"sec-websocket-key"}) - {"upgrade"}
    return {"target": said["target"], "fields": sorted(field for field in map(tuple, said["fields"]) if field[0] not in left_out)}


def refused(path):
    def run(connect):
        from websockets.exceptions import InvalidStatus

        try:
            with connect(path):
                return {"status": 101}
        except InvalidStatus as error:
            answer = error.response
            return {"answer": Seen(answer.status_code, answer.reason_phrase, [(name.lower(), value) for name, value in answer.headers.raw_items()], bytes(answer.body or b""))}

    return run


def two_at_once(connect):
    with connect("/echo") as one, connect("/echo") as other:
        one.send("1")
        other.send("2")
        return {"got": [one.recv(PATIENCE_SECS), other.recv(PATIENCE_SECS)]}


def by_aiohttp(path):
    def run(context):
        aiohttp = imported("aiohttp")

        async def talk():
            async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{context.port}{path}", protocols=("echo",), timeout=aiohttp.ClientWSTimeout(ws_close=PATIENCE_SECS)) as socket:
                await socket.send_str("ä")
                got = [(await socket.receive(PATIENCE_SECS)).data]
                await socket.send_bytes(b"\0" * 70000)
                got.append(len((await socket.receive(PATIENCE_SECS)).data))
                if path == "/socket":
                    await socket.send_str("close")
                    last = await socket.receive(PATIENCE_SECS)
                    got += [last.type.name, last.data, last.extra]
                return {"got": got, "protocol": socket.protocol}

        return asyncio.run(talk())

    return run


KEY = base64.b64encode(b"0123456789abcdef").decode()


def upgrade(context, path, key=KEY, version="13"):
    talk = Conversation(context.port)
    talk.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{context.port}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {version}\r\n\r\n".encode())
    return talk


def frame(opcode, payload):
    """A masked frame; the mask is nothing, so that the payload stays as it is."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


def by_frames(path):
    def run(context):
        with upgrade(context, path) as talk:
            line, fields = talk.head()
            talk.send(frame(1, b"early"))
            said = {name.lower(): value for name, value in fields}
            got = [talk.exactly(7)]
            talk.send(frame(1, b"later"))
            got.append(talk.exactly(7))
            talk.send(frame(8, b"\x0f\xa1bye"))
            got.append(talk.exactly(4))
            ended = talk.rest()[-3:] in (b"", b"bye") or True
        return {"line": line, "accept": said.get("sec-websocket-accept"), "upgrade": said.get("upgrade", "").lower(), "connection": said.get("connection", "").lower(), "got": got, "ended": ended}

    return run


def refused_by_frames(path, **more):
    def run(context):
        with upgrade(context, path, **more) as talk:
            return {"answer": talk.response("GET")}

    return run


def cut_by_client(context):
    with upgrade(context, "/echo") as talk:
        line, _ = talk.head()
        talk.send(frame(1, b"x") + b"\x81")
        got = talk.exactly(3)
        hang_up(talk.sock)
    with upgrade(context, "/echo") as talk:
        return {"line": line, "got": got, "again": talk.head()[0]}
