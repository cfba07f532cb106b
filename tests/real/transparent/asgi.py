"""The ASGI origin, for any ASGI server: answers of the table, echoes, streams that wait for a word, and starlette's files.

From the environment: ANSWERS and FILES (a file and a folder), LOG (a line of JSON per request as it was seen).
"""

import asyncio
import gzip
import hashlib
import json
import os
import zlib

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

ANSWERS = json.loads(open(os.environ["ANSWERS"]).read())
FILES = os.environ["FILES"]
LOG = open(os.environ["LOG"], "a", buffering=1)
# Of each stream: the word it waits for, and whether its client went away.
WORDS, GONE, RECEIVED = {}, {}, {}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return await starlette(scope, receive, send)
    handler = PLAIN.get(scope["path"].split("/")[1])
    if handler:
        return await handler(scope, receive, send)
    log(scope, hashlib.sha256(b"").hexdigest(), 0)
    await starlette(scope, receive, send)


def log(scope, digest, length):
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    LOG.write(json.dumps({"method": scope["method"], "target": target.decode("latin-1"), "fields": fields, "body": digest, "body_bytes": length}) + "\n")


async def pieces(receive):
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client went away")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def drained(scope, receive):
    """Digest and length of the body; logs the request."""
    digest, length = hashlib.sha256(), 0
    identity = word(scope)
    async for piece in pieces(receive):
        digest.update(piece)
        length += len(piece)
        RECEIVED[identity] = length
    log(scope, digest.hexdigest(), length)
    return digest.hexdigest(), length


async def start(send, status, fields):
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def body(send, piece=b"", more=False):
    await send({"type": "http.response.body", "body": piece, "more_body": more})


async def answer(scope, receive, send):
    await drained(scope, receive)
    given = ANSWERS[scope["path"].split("/")[2]]
    fields = list(given["fields"])
    bodiless = given["status"] in (204, 304)
    if "pieces" in given or bodiless:
        await start(send, given["status"], fields)
        for piece in given.get("pieces", ()) if not bodiless else ():
            await body(send, piece.encode("latin-1"), True)
        return await body(send)
    content = given["body"].encode("latin-1")
    await start(send, given["status"], [*fields, ("Content-Length", str(len(content)))])
    await body(send, b"" if scope["method"] == "HEAD" else content)


async def echo(scope, receive, send):
    digest, length = await drained(scope, receive)
    content = json.dumps({"method": scope["method"], "path": scope["path"], "query": scope["query_string"].decode("latin-1"), "sha256": digest, "bytes": length}).encode()
    await start(send, 200, [("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("Content-Length", str(len(content)))])
    await body(send, b"" if scope["method"] == "HEAD" else content)


async def events(scope, receive, send):
    """An event, then the last one when told to; notes if the client goes first."""
    identity = word(scope)
    told = WORDS.setdefault(identity, asyncio.Event())
    log(scope, hashlib.sha256(b"").hexdigest(), 0)
    await start(send, 200, [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")])
    await body(send, b"id: 1\ndata: first\n\n", True)

    async def client_gone():
        while (await receive())["type"] != "http.disconnect":
            pass
        GONE[identity] = True
        told.set()

    watch = asyncio.create_task(client_gone())
    await told.wait()
    watch.cancel()
    if not GONE.get(identity):
        await body(send, b"id: 2\ndata: last\n\n", True)
    await body(send)


async def both_ways(scope, receive, send):
    """Sends each piece back as it comes."""
    await start(send, 200, [("Content-Type", "application/octet-stream"), ("Cache-Control", "no-store")])
    async for piece in pieces(receive):
        await body(send, piece, True)
    await body(send)


async def download(scope, receive, send):
    left = int(scope["query_string"].decode().partition("bytes=")[2].split("&")[0])
    piece = bytes(range(256)) * 256
    await start(send, 200, [("Content-Type", "application/octet-stream"), ("Content-Length", str(left)), *CACHING(scope)])
    while left:
        size = min(left, len(piece))
        await body(send, piece[:size], True)
        left -= size
    await body(send)


def CACHING(scope):
    return [("Cache-Control", "no-store")] if b"no-store" in scope["query_string"] else []


def word(scope):
    return scope["query_string"].decode("latin-1").partition("id=")[2].split("&")[0]


async def tell(scope, receive, send):
    """Control, asked directly: lets a stream end, and says how far things are."""
    identity = word(scope)
    if scope["path"] == "/control/go":
        WORDS.setdefault(identity, asyncio.Event()).set()
    content = json.dumps({"gone": GONE.get(identity, False), "received": RECEIVED.get(identity, 0), "started": identity in WORDS}).encode()
    await start(send, 200, [("Content-Length", str(len(content)))])
    await body(send, content)


PLAIN = {"answer": answer, "echo": echo, "upload": echo, "events": events, "both-ways": both_ways, "download": download, "control": tell}


# --- With starlette ---


async def negotiated(request):
    """Each encoding that the client takes and Python has, with `Vary`."""
    content, accepts = b"What is it encoded with?\n" * 40, request.headers.get("accept-encoding", "")
    for name, encode in (("gzip", lambda data: gzip.compress(data, mtime=0)), ("deflate", zlib.compress)):
        if name in accepts:
            return PlainTextResponse(encode(content), headers={"Content-Encoding": name, "Vary": "Accept-Encoding", "Cache-Control": "max-age=60"})
    return PlainTextResponse(content, headers={"Vary": "Accept-Encoding", "Cache-Control": "max-age=60"})


async def login(request):
    response = JSONResponse({"cookies": request.cookies})
    response.set_cookie("session", "abc.def", httponly=True, samesite="lax")
    response.set_cookie("seen", "1", max_age=60)
    return response


async def account(request):
    return JSONResponse({"cookies": request.cookies}, headers={"Cache-Control": "private"})


async def logout(request):
    response = RedirectResponse("/account", status_code=303)
    response.delete_cookie("session")
    return response


async def hop(request):
    left = int(request.path_params["left"])
    status = int(request.query_params.get("status", 302))
    target = f"/hop/{left - 1}?{request.url.query}" if left else f"/echo/end?{request.url.query}"
    return RedirectResponse(target, status_code=status)


async def bearer(request):
    if request.headers.get("authorization") == "Bearer s3cret":
        return JSONResponse({"user": "u"})
    return JSONResponse({"detail": "no"}, 401, headers={"WWW-Authenticate": 'Bearer realm="api"'})


async def form(request):
    async with request.form() as given:
        shown = {key: [value.filename, hashlib.sha256(await value.read()).hexdigest()] if hasattr(value, "filename") else value for key, value in given.items()}
    return JSONResponse(shown)


async def served(request):
    return FileResponse(os.path.join(FILES, request.path_params["name"]), filename="ä.bin" if "named" in request.query_params else None)


async def socket(websocket):
    await websocket.accept(subprotocol="echo" if "echo" in websocket.scope["subprotocols"] else None)
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "close":
                return await websocket.close(4001, "as asked")
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except RuntimeError:
        return


async def socket_refused(websocket):
    await websocket.close()


ALL = ["GET", "POST", "PUT", "DELETE", "PATCH"]
starlette = Starlette(
    routes=[
        Route("/negotiated", negotiated),
        Route("/login", login),
        Route("/account", account),
        Route("/logout", logout, methods=ALL),
        Route("/hop/{left}", hop, methods=ALL),
        Route("/bearer", bearer),
        Route("/form", form, methods=["POST"]),
        Route("/served/{name}", served),
        WebSocketRoute("/socket", socket),
        WebSocketRoute("/socket-refused", socket_refused),
        Mount("/files", GZipMiddleware(StaticFiles(directory=FILES, html=True), minimum_size=500)),
        Mount("/plain-files", StaticFiles(directory=FILES)),
    ]
)
