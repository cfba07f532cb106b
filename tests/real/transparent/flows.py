"""Exchanges that no row can tell: streams that wait for a word, large bodies, commands, WebSockets.

A flow is a function that is given a port and tells what it saw as a dict; it runs directly and through larder, and both
dicts have to be the same. It never sleeps: an origin waits for the word of the flow, and the flow for the origin's.
"""

import asyncio
import base64
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request

from . import wire
from .clients import HERE, NotHere, heads, imported
from .echoed import without_gateway
from .seen import ADDED_TO_REQUESTS, HOP_BY_HOP, Seen, differences
from .servers import wait_for
from .wire import Conversation

PATIENCE_SECS = 10
LARGE_BYTES = 300 << 20
# What larder may grow by while hundreds of megabytes pass through it.
GROWTH_KIB_MAX = 128 << 10
IDS = itertools.count(1)
LARGE_FILE = threading.Lock()


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
            found.append(f"{key} {one!r} -> {other!r}")
    return found


def flows():
    found = []
    for part in (streams, uploads, pipelines, crowds, cut_offs, commands, large, websockets):
        found += part()
    return found


# --- Streams ---


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


def pipelines():
    return [Flow("three requests before the first answer", server, "raw", pipelined, short=server == "node") for server in ("node", "script", "uvicorn", "uvicorn-h11", "hypercorn")]


def pipelined(context):
    asked = [("GET", "/answer/plain"), ("HEAD", "/answer/max-age"), ("GET", "/answer/chunks")]
    with Conversation(context.port) as talk:
        talk.send(b"".join(f"{method} {target}?u={next(IDS)} HTTP/1.1\r\nHost: 127.0.0.1:{context.port}\r\n\r\n".encode() for method, target in asked))
        return {f"answer {n}": talk.response(method) for n, (method, _) in enumerate(asked)}


def crowds():
    return [Flow("forty at once", server, client, crowd(http2), short=server == "node") for server in ("node", "uvicorn") for client, http2 in (("aiohttp", False), ("httpx-h2", True))]


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


def cut_offs():
    return [Flow("an upload that breaks off is never whole", server, "raw", cut_off) for server in ("node", "script", "uvicorn")]


def cut_off(context):
    """What the origin was asked is compared by whoever runs this; the second request is the fence behind the first."""
    for framing in ("Content-Length: 1000\r\n\r\nonly this", "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"):
        with Conversation(context.port) as talk:
            talk.send(f"POST /echo/cut HTTP/1.1\r\nHost: 127.0.0.1\r\n{framing}".encode())
    with Conversation(context.port) as talk:
        talk.send(b"POST /echo/fence HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        return {"fence": talk.response("POST").status}


# --- Commands ---

SHOWN = "%{http_code} %{size_download} %{num_redirects} %{content_type}"
COMMANDS = [
    # (subject, server, client, commands in one folder)
    ("a download that goes on", "aiohttp-files", "curl", ["curl -s -r 0-999 -o part {url}/data.bin", "curl -s -C - -o part {url}/data.bin -D head"]),
    ("a download that goes on", "aiohttp-files", "wget", ["wget -q --start-pos=0 -O all {url}/data.bin", "truncate -s 1000 all", "wget -q -c -O all {url}/data.bin"]),
    ("a download that goes on", "uvicorn", "curl", ["curl -s -r 0-999 -o part {url}/plain-files/data.bin", "curl -s -C - -o part {url}/plain-files/data.bin -D head"]),
    ("a download that goes on", "nginx", "wget", ["wget -q -O all {url}/data.bin", "truncate -s 1000 all", "wget -q -c -O all {url}/data.bin"]),
    ("ranges in one answer", "aiohttp-files", "curl", ["curl -s -r 0-9,20-29 -o part {url}/data.bin -w '%s'" % SHOWN]),
    ("only if newer", "aiohttp-files", "curl", ["curl -s -R -o all {url}/data.bin", "curl -s -z all -o all {url}/data.bin -w '%s'" % SHOWN]),
    ("only if newer", "http-server", "curl", ["curl -s -R -o all {url}/data.bin", "curl -s -z all -o all {url}/data.bin -w '%s'" % SHOWN]),
    ("only if newer", "uvicorn", "wget", ["wget -q -N {url}/plain-files/data.bin", "wget -q -N {url}/plain-files/data.bin"]),
    ("only if newer", "http-server", "wget", ["wget -q -N {url}/data.bin", "wget -q -N {url}/data.bin"]),
    ("only if changed", "uvicorn", "curl", ["curl -s --etag-save tag -o all {url}/plain-files/data.bin", "curl -s --etag-compare tag -o all2 {url}/plain-files/data.bin -w '%s'" % SHOWN]),
    ("only if changed", "httpbin", "curl", ["curl -s --etag-save tag -o all {url}/etag/abc", "curl -s --etag-compare tag -o all2 {url}/etag/abc -w '%s'" % SHOWN]),
    ("a mirror of a folder", "http-server", "wget", ["wget -q -r -np -nH {url}/"]),
    ("a mirror of a folder", "nginx", "wget", ["wget -q -r -np -nH {url}/"]),
    ("a form", "httpbin", "curl", ["curl -s -F a=1 -F 'f=@{files}/small.txt;type=text/x-own;filename=n.txt' {url}/post -o got"]),
    ("a form of a large file", "uvicorn", "curl", ["curl -s -F f=@{files}/numbers.bin {url}/form -o got -w '%s'" % SHOWN]),
    ("a file put", "node", "curl", ["curl -s -T {files}/numbers.bin {url}/echo/put -o got"]),
    ("a file put over HTTP/2", "hypercorn", "curl-h2", ["curl -s --http2-prior-knowledge -T {files}/numbers.bin {url}/echo/put -o got"]),
    ("a file put from a pipe", "node", "curl", ["cat {files}/numbers.bin | curl -s -T - {url}/echo/put -o got"]),
    ("an upgrade to HTTP/2 offered", "node", "curl", ["curl -s --http2 {url}/answer/plain?a -o got -w '%s'" % SHOWN]),
    ("an upgrade to HTTP/2 offered", "hypercorn", "curl", ["curl -s --http2 {url}/answer/plain?a -o got -w '%s'" % SHOWN]),
    ("an upgrade to HTTP/2 offered with a body", "node", "curl", ["curl -s --http2 -d abc {url}/echo?a -o got -w '%s'" % SHOWN]),
    ("any way to log in", "httpbin", "curl", ["curl -s --anyauth -u user:pass {url}/digest-auth/auth/user/pass -o got -w '%s'" % SHOWN]),
    ("any way to log in", "node", "curl", ["curl -s --anyauth -u user:pa:ss {url}/guarded -o got -w '%s'" % SHOWN]),
    ("log in by wget", "httpbin", "wget", ["wget -q -O got --user=user --password=pass {url}/basic-auth/user/pass"]),
    ("cookies kept in a file", "httpbin", "curl", ["curl -s -L -c jar {url}/cookies/set?k=v -o got", "curl -s -b jar {url}/cookies -o got2"]),
    ("a transfer coding asked for", "node", "curl", ["curl -s --tr-encoding {url}/answer/plain?tr -o got -w '%s'" % SHOWN]),
    ("a query made of data", "httpbin", "curl", ["curl -s -G -d a=1 --data-urlencode 'b=ä &' {url}/get -o got"]),
    ("all that redirects to it", "httpbin", "curl", ["curl -s -L {url}/redirect/5 -o got -w '%s'" % SHOWN]),
    ("a head and no body", "aiohttp-files", "curl", ["curl -s -I {url}/data.bin -o got.head -w '%s'" % SHOWN]),
    ("a spider", "http-server", "wget", ["wget --spider -r -np -nH -nv {url}/"]),
    ("over HTTP/1.0", "node", "curl", ["curl -s --http1.0 {url}/answer/chunks?ten -o got -w '%s'" % SHOWN, "curl -s --http1.0 {url}/answer/plain?ten -o got2"]),
    ("over HTTP/1.0", "uvicorn", "curl", ["curl -s --http1.0 {url}/answer/chunks?ten -o got -w '%s'" % SHOWN]),
    ("over HTTP/1.0", "http-server", "curl", ["curl -s --http1.0 {url}/small.txt -o got -w '%s'" % SHOWN]),
    ("several with one command", "node", "curl", ["curl -s {url}/answer/plain?s {url}/answer/404?s {url}/answer/chunks?s {url}/things/kepts1 -w '%s'" % SHOWN]),
    ("several with one command over HTTP/2", "hypercorn", "curl-h2", ["curl -s --http2-prior-knowledge --parallel -o 1 {url}/answer/plain?p -o 2 {url}/answer/404?p -o 3 {url}/answer/large?p"]),
]


def commands():
    return [Flow(subject, server, client, by_commands(client, lines)) for subject, server, client, lines in COMMANDS]


def by_commands(client, lines):
    program = client.split("-")[0]

    def run(context):
        if not shutil.which(program):
            raise NotHere(f"{program} is not installed")
        got = {}
        with tempfile.TemporaryDirectory(prefix="larder-commands-") as folder:
            folder = pathlib.Path(folder)
            for n, line in enumerate(lines):
                if "--http2-prior-knowledge" in line and not speaks_http2(context.port):
                    line = line.replace("--http2-prior-knowledge", "--http1.1")
                line = line.replace("{url}", f"http://127.0.0.1:{context.port}").replace("{files}", str(context.files))
                out = subprocess.run(["bash", "-c", line], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
                got[f"exit {n}"], got[f"output {n}"] = out.returncode, out.stdout
            for path in sorted(folder.rglob("*")):
                name = str(path.relative_to(folder))
                if path.is_dir() or name == "jar":
                    continue
                if name.endswith("head"):
                    got[name] = heads(path.read_text("latin-1"))
                else:
                    shown = Seen(body=path.read_bytes())
                    without_gateway(shown)
                    # curl makes up a boundary.
                    content = re.sub(rb"boundary=-*\w+", b"", shown.body)
                    got[name] = content if len(content) < 300 else hashlib.sha256(content).hexdigest()
                    got[f"time of {name}"] = int(path.stat().st_mtime) if "-R" in lines[0] or "-N" in lines[0] else None
        return got

    return run


# --- Large bodies ---


def large():
    found = []
    for server in ("node", "uvicorn"):
        for client, run in {
            "curl": download_by_command("curl", "--silent", "--http1.1"),
            "curl-h2": download_by_command("curl", "--silent", "--http2-prior-knowledge"),
            "wget": download_by_command("wget", "--quiet", "--output-document=-"),
            "requests": download_by_requests,
            "httpx-h2": download_by_httpx,
            "fetch": download_by_command("node", HERE / "stream.mjs", "fetch"),
        }.items():
            for caching in ("&no-store", ""):
                found.append(Flow(f"300 MiB down{' (may be stored)' if not caching else ''}", server, client, sized(run, caching), short=server == "node" and client in ("curl", "httpx-h2")))
        for client, run in {"curl": upload_by_curl("--http1.1"), "curl-h2": upload_by_curl("--http2-prior-knowledge"), "requests": upload_by_requests, "raw": upload_by_raw}.items():
            found.append(Flow("300 MiB up", server, client, run, short=server == "node" and client in ("curl", "curl-h2")))
    return found


def sized(run, caching):
    return lambda context: run(context, f"http://127.0.0.1:{context.port}/download?bytes={LARGE_BYTES}{caching}&u={next(IDS)}")


def digest_of_pieces(pieces):
    digest, length = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        length += len(piece)
    return {"bytes": length, "digest": digest.hexdigest()}


def download_by_command(program, *options):
    def run(context, url):
        if not shutil.which(program):
            raise NotHere(f"{program} is not installed")
        process = subprocess.Popen([program, *over_http1(context.port, options), url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with process:
            got = digest_of_pieces(iter(lambda: process.stdout.read(1 << 20), b""))
        return {**got, "exit": process.returncode}

    return run


def download_by_requests(context, url):
    with imported("requests").get(url, stream=True, timeout=PATIENCE_SECS) as answer:
        return {**digest_of_pieces(answer.iter_content(1 << 20)), "length": answer.headers.get("content-length")}


def download_by_httpx(context, url):
    http2 = speaks_http2(context.port)
    httpx = imported("httpx")
    with httpx.Client(http1=not http2, http2=http2, timeout=PATIENCE_SECS, trust_env=False) as client, client.stream("GET", url) as answer:
        return {**digest_of_pieces(answer.iter_raw()), "length": answer.headers.get("content-length")}


def large_file(context):
    """One for all uploads."""
    path = context.files.parent / "upload.bin"
    with LARGE_FILE:
        if not path.exists():
            with path.open("wb") as file:
                for n in range(LARGE_BYTES >> 20):
                    file.write((b"%07d\n" % n) * (1 << 17))
    return path


def upload_by_curl(option):
    def run(context):
        here = option if speaks_http2(context.port) else "--http1.1"
        command = ["curl", "--silent", "--show-error", here, "--max-time", "60", "--upload-file", large_file(context), f"http://127.0.0.1:{context.port}/echo/large?u={next(IDS)}"]
        out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return {"exit": out.returncode, **counted(out.stdout)}

    return run


def counted(body):
    try:
        shown = json.loads(body)
        return {"bytes": shown["bytes"], "digest": shown["sha256"]}
    except (ValueError, KeyError):
        return {"said": body[:200]}


def upload_by_requests(context):
    requests = imported("requests")
    with large_file(context).open("rb") as file:
        answer = requests.put(f"http://127.0.0.1:{context.port}/echo/large?u={next(IDS)}", data=iter(lambda: file.read(1 << 18), b""), timeout=60)
    return {"status": answer.status_code, **counted(answer.content)}


def upload_by_raw(context):
    with Conversation(context.port) as talk, large_file(context).open("rb") as file:
        talk.send(f"PUT /echo/large?u={next(IDS)} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {LARGE_BYTES}\r\n\r\n".encode())
        talk.sock.settimeout(60)
        talk.sock.sendfile(file)
        answer = talk.response("PUT")
    return {"status": answer.status, **counted(answer.body)}


# --- WebSockets ---


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
