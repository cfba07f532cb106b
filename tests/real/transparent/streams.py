"""Flows of streams: the first piece before the last, in both directions, and connections that end or are shared."""

import asyncio
import hashlib
import itertools
import os
import queue
import shutil
import subprocess
import threading
import urllib.error
import urllib.request

from .clients import HERE, NotHere, imported
from .flow import IDS, PATIENCE_SECS, Flow, Pieces, counted, over_http1, speaks_http2
from .servers import wait_for
from .wire import Conversation


def streams():
    clients = {
        "raw": raw_lines,
        "curl": command_lines("curl", "--silent", "--no-buffer", "--http1.1"),
        "curl-h2": command_lines("curl", "--silent", "--no-buffer", "--http2-prior-knowledge"),
        "wget": command_lines("wget", "--quiet", "--output-document=-"),
        "requests": requests_lines,
        "httpx": httpx_lines(False),
        "httpx-h2": httpx_lines(True),
        "aiohttp": aiohttp_lines,
        "urllib": urllib_lines,
        "fetch": command_lines("node", HERE / "stream.mjs", "fetch"),
        "node-http": command_lines("node", HERE / "stream.mjs", "node-http"),
        "node-h2": command_lines("node", HERE / "stream.mjs", "node-h2"),
    }
    found = []
    for n, (server, (client, lines)) in enumerate(itertools.product(("node", "uvicorn", "hypercorn"), clients.items())):
        found.append(Flow("the first event before the last", server, client, first_before_last(lines), short=n % 3 == 0))
        if client in ("raw", "curl", "curl-h2", "requests", "aiohttp", "node-h2", "fetch") and server != "hypercorn":
            found.append(Flow("a client that leaves is noticed", server, client, left_behind(lines), short=client in ("raw", "curl-h2")))
    return found


def first_before_last(lines):
    def run(context):
        identity = f"s{next(IDS)}"
        got = {}
        with lines(context.port, f"/events?id={identity}", got) as pieces:
            text = b""
            while b"first\n\n" not in text:
                text += next(pieces)
            # Only now the origin may go on.
            got["before the word"] = text
            context.control("go", identity)
            for piece in pieces:
                text += piece
        got["all"] = text
        return got

    return run


def left_behind(lines):
    def run(context):
        identity = f"s{next(IDS)}"
        with lines(context.port, f"/events?id={identity}", {}) as pieces:
            text = b""
            while b"first\n\n" not in text:
                text += next(pieces)
        try:
            gone = wait_for("the origin to notice", lambda: context.control("ask", identity)["gone"], PATIENCE_SECS)
        except TimeoutError:
            gone = False
        context.control("go", identity)
        return {"noticed": gone}

    return run


def command_lines(program, *options):
    def lines(port, target, got):
        if not shutil.which(program):
            raise NotHere(f"{program} is not installed")
        command = [program, *over_http1(port, options), f"http://127.0.0.1:{port}{target}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

        def end():
            process.kill()
            process.wait()

        return Pieces(lambda: iter(lambda: os.read(process.stdout.fileno(), 65536), b""), end)

    return lines


def raw_lines(port, target, got):
    talk = Conversation(port)

    def start():
        talk.send(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        talk.head()
        yield from talk.chunks()

    return Pieces(start, lambda: hang_up(talk.sock))


def hang_up(sock):
    try:
        sock.shutdown(2)
    except OSError:
        pass
    sock.close()


def requests_lines(port, target, got):
    requests = imported("requests")
    answer = requests.get(f"http://127.0.0.1:{port}{target}", stream=True, timeout=PATIENCE_SECS)
    got["type"] = answer.headers["content-type"]
    return Pieces(lambda: answer.iter_content(None), answer.close)


def urllib_lines(port, target, got):
    answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}{target}", timeout=PATIENCE_SECS)
    return Pieces(lambda: iter(lambda: answer.read1(65536), b""), answer.close)


def httpx_lines(http2):
    def lines(port, target, got):
        httpx = imported("httpx")
        direct_http1 = http2 and not speaks_http2(port)
        client = httpx.Client(http1=not http2 or direct_http1, http2=http2 and not direct_http1, timeout=PATIENCE_SECS, trust_env=False)

        def start():
            with client.stream("GET", f"http://127.0.0.1:{port}{target}") as answer:
                got["type"] = answer.headers["content-type"]
                yield from answer.iter_raw()

        return Pieces(start, client.close)

    return lines


def aiohttp_lines(port, target, got):
    aiohttp = imported("aiohttp")
    pieces, loop, box = queue.Queue(), asyncio.new_event_loop(), {}

    async def read():
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{target}") as answer:
            async for piece in answer.content.iter_any():
                pieces.put(piece)

    def work():
        task = box["task"] = loop.create_task(read())
        try:
            loop.run_until_complete(task)
            pieces.put(None)
        except BaseException as error:
            pieces.put(error if isinstance(error, Exception) else None)
        finally:
            loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def end():
        if thread.is_alive():
            loop.call_soon_threadsafe(box["task"].cancel)
        thread.join(PATIENCE_SECS)

    def start():
        while (piece := pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return Pieces(start, end)


# --- Uploads ---


def uploads():
    found = []
    for server in ("node", "uvicorn", "hypercorn"):
        found.append(Flow("the first half of an upload before the second", server, "raw", half_uploaded, short=server == "node"))
        found.append(Flow("both ways at once", server, "raw", both_ways_raw, short=server != "hypercorn"))
    for client in ("node-http", "node-h2"):
        found.append(Flow("both ways at once", "node", client, both_ways_node(client)))
    return found


def half_uploaded(context):
    identity, half = f"u{next(IDS)}", b"x" * 50000
    path = f"/upload?id={identity}"
    with Conversation(context.port) as talk:
        talk.send(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {2 * len(half)}\r\n\r\n".encode() + half)
        wait_for("the first half to arrive", lambda: context.control("ask", identity)["received"] >= len(half), PATIENCE_SECS)
        talk.send(half)
        answer = talk.response("POST")
    return {"status": answer.status, **counted(answer.body)}


def both_ways_raw(context):
    with Conversation(context.port) as talk:
        talk.send(b"POST /both-ways HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n")
        _, fields = talk.head()
        pieces = talk.chunks()
        text = next(pieces)
        talk.send(b"4\r\npong\r\n0\r\n\r\n")
        text += b"".join(pieces)
    return {"text": text, "type": [value for name, value in fields if name.lower() == "content-type"]}


def both_ways_node(client):
    """`stream.mjs` sends its second piece once the first came back."""

    def run(context):
        (client_here,) = over_http1(context.port, [client])
        command = ["node", HERE / "stream.mjs", f"{client_here}-both", f"http://127.0.0.1:{context.port}/both-ways"]
        out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECS, check=False)
        return {"text": out.stdout, "exit": out.returncode}

    return run


# --- Connections ---


def connections():
    found = [Flow("the last request of a half-closed connection", server, "raw", half_closed) for server in ("node", "script", "hypercorn")]
    found += [Flow("three requests before the first answer", server, "raw", pipelined, short=server == "node") for server in ("node", "script", "uvicorn", "uvicorn-h11", "hypercorn")]
    found += [Flow("an origin that closes after each answer", "script", "urllib", closing, short=False)]
    found += [Flow("an upload that breaks off is never whole", server, "raw", cut_off) for server in ("node", "script", "uvicorn")]
    found += [Flow("forty at once", server, client, crowd(client == "httpx-h2"), short=server == "node") for server in ("node", "uvicorn") for client in ("aiohttp", "httpx-h2")]
    return found


def closing(context):
    """Without having said so: whoever keeps a connection for the next request finds that it is gone."""
    statuses = []
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(200):
        url = f"http://127.0.0.1:{context.port}/answer/closing?u={next(IDS)}"
        try:
            with opener.open(url, timeout=PATIENCE_SECS) as answer:
                statuses.append((answer.status, answer.read()))
        except urllib.error.HTTPError as error:
            statuses.append((error.code, error.headers["proxy-status"]))
    return {"odd ones": [status for status in statuses if status != (200, b"four")]}


def half_closed(context):
    """A client that says that it will not ask again, and waits for its answer."""
    with Conversation(context.port) as talk:
        talk.send(f"GET /answer/large?u={next(IDS)} HTTP/1.1\r\nHost: 127.0.0.1:{context.port}\r\n\r\n".encode())
        talk.sock.shutdown(1)
        return {"answer": talk.response("GET")}


def pipelined(context):
    asked = [("GET", "/answer/plain"), ("HEAD", "/answer/max-age"), ("GET", "/answer/chunks")]
    with Conversation(context.port) as talk:
        talk.send(b"".join(f"{method} {target}?u={next(IDS)} HTTP/1.1\r\nHost: 127.0.0.1:{context.port}\r\n\r\n".encode() for method, target in asked))
        return {f"answer {n}": talk.response(method) for n, (method, _) in enumerate(asked)}


def crowd(http2):
    def run(context):
        targets = [f"/answer/{name}" for name in ("plain", "bytes", "chunks", "404", "max-age", "gzip", "no-store", "large")] * 5

        async def by_aiohttp():
            aiohttp = imported("aiohttp")
            async with aiohttp.ClientSession(auto_decompress=False) as session:

                async def one(target):
                    async with session.get(f"http://127.0.0.1:{context.port}{target}") as answer:
                        return answer.status, hashlib.sha256(await answer.read()).hexdigest()

                return await asyncio.gather(*map(one, targets))

        async def by_httpx():
            httpx = imported("httpx")
            h2 = speaks_http2(context.port)
            async with httpx.AsyncClient(http1=not h2, http2=h2, timeout=PATIENCE_SECS, trust_env=False) as client:

                async def one(target):
                    async with client.stream("GET", f"http://127.0.0.1:{context.port}{target}") as answer:
                        return answer.status_code, hashlib.sha256(b"".join([piece async for piece in answer.aiter_raw()])).hexdigest()

                return await asyncio.gather(*map(one, targets))

        return {"answers": asyncio.run(by_httpx() if http2 else by_aiohttp())}

    return run


def cut_off(context):
    """What the origin was asked is compared by whoever runs this; the second request is the fence behind the first."""
    for framing in ("Content-Length: 1000\r\n\r\nonly this", "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"):
        with Conversation(context.port) as talk:
            talk.send(f"POST /echo/cut HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}".encode())
    with Conversation(context.port) as talk:
        talk.send(b"POST /echo/fence HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        return {"fence": talk.response("POST").status}
