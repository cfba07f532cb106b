"""Flows of large bodies: hundreds of megabytes, in memory that does not grow with them."""

import hashlib
import shutil
import subprocess
import threading

from .clients import HERE, NotHere, imported
from .flow import IDS, PATIENCE_SECS, Flow, counted, over_http1, speaks_http2
from .wire import Conversation

LARGE_BYTES = 300 << 20
# What larder may grow by while they pass through it.
GROWTH_KIB_MAX = 128 << 10
LARGE_FILE = threading.Lock()


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
