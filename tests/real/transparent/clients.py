"""The clients of the table: each asks a list of calls in order, as one session with its cookies and connections.

Every client gives what it shows as [`Seen`]; what it does not show is None. A client that is not here says why in
`missing()`.
"""

import asyncio
import base64
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from . import wire
from .seen import Seen

PATIENCE_SECS = 15
HERE = pathlib.Path(__file__).resolve().parent


class NotHere(Exception):
    """A client or a server cannot be had on this machine."""


# --- curl ---


class Curl:
    """The command, a process per call; cookies in a jar."""

    def __init__(self, name, *options):
        self.name, self.options = name, options
        if not shutil.which("curl"):
            raise NotHere("curl is not installed")

    def ask(self, port, calls):
        with tempfile.TemporaryDirectory(prefix="larder-curl-") as folder:
            return [self.one(pathlib.Path(folder), port, call) for call in calls]

    def one(self, folder, port, call):
        head, body, jar = folder / "head", folder / "body", folder / "jar"
        head.write_bytes(b"")
        body.write_bytes(b"")
        command = ["curl", "--silent", "--show-error", "--globoff", "--path-as-is", "--max-time", str(PATIENCE_SECS)]
        command += [*self.options, "--dump-header", head, "--output", body, "--cookie", jar, "--cookie-jar", jar]
        command += ["--head"] if call.method == "HEAD" else ["--request", call.method]
        for name, value in call.fields:
            command += ["--header", f"{name}: {value}".encode("latin-1") if value else f"{name};"]
        if call.body is not None:
            (folder / "sent").write_bytes(call.body)
            command += ["--data-binary", f"@{folder / 'sent'}"]
        if call.chunked:
            command += ["--header", "Transfer-Encoding: chunked"]
        if call.follow:
            command += ["--location", "--max-redirs", "5"]
        if call.auth:
            command += [f"--{call.auth[0]}", "--user", ":".join(call.auth[1:])]
        if call.decode:
            command += ["--compressed"]
        command.append(f"http://127.0.0.1:{port}{call.target}".encode("latin-1"))
        out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        seen = heads(head.read_bytes().decode("latin-1"))
        seen.body = b"" if call.method == "HEAD" else body.read_bytes()
        if out.returncode:
            seen.error = f"curl {out.returncode}: {out.stderr.decode('latin-1').strip()}"
        return seen


def heads(text):
    """What curl dumps: the head of every answer, a trailer section behind the last."""
    seen = Seen(informational=[], trailers=[])
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block.strip("\n")]
    for block in blocks:
        lines = block.strip("\n").split("\n")
        if not lines[0].startswith("HTTP/"):
            seen.trailers += [named(line) for line in lines]
            continue
        if seen.status and seen.status < 200:
            seen.informational.append((seen.status, seen.fields))
        elif seen.status:
            seen.hops.append((seen.status, "".join(without_port(value) for value in seen.values("location"))))
        version, status, *reason = lines[0].split(" ", 2)
        seen.status, seen.fields = int(status), [named(line) for line in lines[1:]]
        seen.reason = "".join(reason) if version.startswith("HTTP/1") else None
    return seen


def named(line):
    name, _, value = line.partition(":")
    return name.lower(), value.strip(" \t")


def without_port(location):
    """The two sides have ports of their own."""
    return re.sub(r"^http://127\.0\.0\.1(:\d+)?", "", location)


# --- wget ---


class Wget:
    """The command, a process per call; cookies in a jar."""

    name = "wget"

    def __init__(self):
        if not shutil.which("wget"):
            raise NotHere("wget is not installed")

    def ask(self, port, calls):
        with tempfile.TemporaryDirectory(prefix="larder-wget-") as folder:
            return [self.one(pathlib.Path(folder), port, call) for call in calls]

    def one(self, folder, port, call):
        body, jar = folder / "body", folder / "jar"
        body.unlink(missing_ok=True)
        command = ["wget", "--no-config", "--server-response", "--tries=1", f"--timeout={PATIENCE_SECS}", "--content-on-error", f"--output-document={body}"]
        command += [f"--load-cookies={jar}"] if jar.exists() else []
        command += [f"--save-cookies={jar}", "--keep-session-cookies", "--max-redirect=5" if call.follow else "--max-redirect=0"]
        command += ["--spider"] if call.method == "HEAD" else [f"--method={call.method}"]
        command += [f"--header={name}: {value}".encode("latin-1") for name, value in call.fields]
        if call.body is not None:
            (folder / "sent").write_bytes(call.body)
            command.append(f"--body-file={folder / 'sent'}")
        if call.auth:
            command += [f"--user={call.auth[1]}", f"--password={call.auth[2]}"]
        if call.decode:
            command += ["--compression=auto"]
        command.append(f"http://127.0.0.1:{port}{call.target}".encode("latin-1"))
        out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, check=False)
        said = out.stderr.decode("latin-1")
        answers = re.findall(r"(?m)^  HTTP/\S+ .*(?:\n  .*)*", said)
        seen = heads("\n\n".join("\n".join(line[2:] for line in answer.split("\n")) for answer in answers))
        # Neither is told apart in what it prints.
        seen.informational = seen.trailers = None
        seen.body = body.read_bytes() if body.exists() else b""
        # 8: the server answered with an error; that is an answer.
        if out.returncode not in (0, 8) and not (300 <= seen.status < 400):
            seen.error = f"wget {out.returncode}: {said.strip()[-200:]}"
        return seen


# --- Python's libraries ---


class Requests:
    name = "requests"

    def __init__(self):
        self.requests = imported("requests")

    def ask(self, port, calls):
        with self.requests.Session() as session:
            return [self.one(session, port, call) for call in calls]

    def one(self, session, port, call):
        kinds = {"basic": self.requests.auth.HTTPBasicAuth, "digest": self.requests.auth.HTTPDigestAuth}
        # Without `decode` the bytes as they came.
        fields = {} if call.decode else {"Accept-Encoding": "identity"}
        for name, value in call.fields:
            fields[name] = value.encode("latin-1")
        data = iter(wire.pieces(call.body)) if call.chunked else call.body
        try:
            answer = session.request(
                call.method,
                f"http://127.0.0.1:{port}{call.target}",
                headers=fields,
                data=data,
                stream=True,
                timeout=PATIENCE_SECS,
                allow_redirects=call.follow,
                auth=kinds[call.auth[0]](*call.auth[1:]) if call.auth else None,
            )
        except (self.requests.RequestException, OSError, ValueError) as error:
            return Seen(error=repr(error))
        seen = Seen(answer.status_code, answer.raw.reason or "")
        seen.fields = [(name.lower(), value) for name, value in answer.raw.headers.items()]
        seen.hops = [(hop.status_code, without_port(hop.headers.get("location", ""))) for hop in answer.history]
        try:
            seen.body = answer.content if call.decode else answer.raw.read(decode_content=False)
        except (self.requests.RequestException, self.requests.packages.urllib3.exceptions.HTTPError) as error:
            seen.error = repr(error)
        return seen


class Httpx:
    def __init__(self, name, http2):
        self.name, self.http2 = name, http2
        self.httpx = imported("httpx")
        if http2:
            imported("h2")

    def ask(self, port, calls):
        with self.httpx.Client(http1=not self.http2, http2=self.http2, timeout=PATIENCE_SECS, trust_env=False) as client:
            return [self.one(client, port, call) for call in calls]

    def one(self, client, port, call):
        kinds = {"basic": self.httpx.BasicAuth, "digest": self.httpx.DigestAuth}
        fields = [] if call.decode or named_in("accept-encoding", call.fields) else [("Accept-Encoding", "identity")]
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*fields, *call.fields]]
        content = (piece for piece in wire.pieces(call.body)) if call.chunked else call.body
        seen = Seen()
        try:
            auth = kinds[call.auth[0]](*call.auth[1:]) if call.auth else None
            url = f"http://127.0.0.1:{port}{call.target}"
            with client.stream(call.method, url, headers=fields, content=content, auth=auth, follow_redirects=call.follow) as answer:
                seen.status = answer.status_code
                seen.reason = answer.reason_phrase if answer.http_version != "HTTP/2" else None
                seen.fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in answer.headers.raw]
                seen.hops = [(hop.status_code, without_port(hop.headers.get("location", ""))) for hop in answer.history]
                seen.body = b"".join(answer.iter_bytes() if call.decode else answer.iter_raw())
        except (self.httpx.HTTPError, self.httpx.InvalidURL, OSError, ValueError) as error:
            seen.error = repr(error)
        return seen


class Aiohttp:
    name = "aiohttp"

    def __init__(self):
        self.aiohttp = imported("aiohttp")

    def ask(self, port, calls):
        return asyncio.run(self.all(port, calls))

    async def all(self, port, calls):
        timeout = self.aiohttp.ClientTimeout(total=PATIENCE_SECS)
        jar = self.aiohttp.CookieJar(unsafe=True)  # of an address as well
        answers = []
        for_all = {"timeout": timeout, "cookie_jar": jar, "raise_for_status": False, "max_field_size": 65536, "max_line_size": 65536}
        # Whether bodies are decoded is a setting of the session.
        async with self.aiohttp.ClientSession(auto_decompress=False, **for_all) as plain:
            async with self.aiohttp.ClientSession(auto_decompress=True, **for_all) as decoding:
                for call in calls:
                    answers.append(await self.one(decoding if call.decode else plain, port, call))
        return answers

    async def one(self, session, port, call):
        seen = Seen()
        fields = [] if call.decode or named_in("accept-encoding", call.fields) else [("Accept-Encoding", "identity")]
        yarl = imported("yarl")
        multidict = imported("multidict")
        # Its fields are text; what is not ASCII it sends as UTF-8.
        headers = multidict.CIMultiDict([*fields, *call.fields])

        async def chunks():
            for piece in wire.pieces(call.body):
                yield piece

        options = {"headers": headers, "data": chunks() if call.chunked else call.body, "allow_redirects": call.follow}
        if call.auth and call.auth[0] == "basic":
            options["auth"] = self.aiohttp.BasicAuth(*call.auth[1:])
        elif call.auth:
            options["middlewares"] = (self.aiohttp.DigestAuthMiddleware(*call.auth[1:]),)
        try:
            url = yarl.URL(f"http://127.0.0.1:{port}{call.target}", encoded=True)
            async with session.request(call.method, url, **options) as answer:
                seen.status, seen.reason = answer.status, answer.reason or ""
                seen.fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in answer.raw_headers]
                seen.hops = [(hop.status, without_port(hop.headers.get("location", ""))) for hop in answer.history]
                seen.body = await answer.read()
        except (self.aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            seen.error = repr(error)
        return seen


class Urllib:
    """Python's own, which speaks HTTP/1.1 and closes after each answer."""

    name = "urllib"

    def ask(self, port, calls):
        import http.cookiejar
        import urllib.request

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_):
                return None

        class Every(urllib.request.HTTPErrorProcessor):
            def http_response(self, request, response):
                return response if not (300 <= response.status < 400 or response.status == 401) else super().http_response(request, response)

        jar, answers = http.cookiejar.CookieJar(), []
        for call in calls:
            handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar), Every()]
            handlers += [] if call.follow else [Stay()]
            if call.auth:
                passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
                passwords.add_password(None, f"http://127.0.0.1:{port}/", *call.auth[1:])
                kind = {"basic": urllib.request.HTTPBasicAuthHandler, "digest": urllib.request.HTTPDigestAuthHandler}[call.auth[0]]
                handlers.append(kind(passwords))
            answers.append(self.one(urllib.request.build_opener(*handlers), port, call))
        return answers

    def one(self, opener, port, call):
        import urllib.error
        import urllib.request

        seen = Seen()
        body = iter(wire.pieces(call.body)) if call.chunked else call.body
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}{call.target}", data=body, method=call.method, headers=dict(call.fields))
            try:
                answer = opener.open(request, timeout=PATIENCE_SECS)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                seen.status, seen.reason = answer.status, answer.reason
                seen.fields = [(name.lower(), value) for name, value in answer.headers.items()]
                seen.hops = [] if not call.follow else [("ends at", without_port(answer.url))]
                seen.body = answer.read()
        except Exception as error:  # http.client's own have no common base but this
            seen.error = repr(error)
        return seen


def imported(name):
    try:
        return __import__(name)
    except ImportError as error:
        raise NotHere(f"the Python package {name} is not installed") from error


def named_in(name, fields):
    return any(field.lower() == name for field, _ in fields)


# --- Node ---


class Node:
    """`client.mjs`: one process for all of Node's clients, asked by lines of JSON."""

    def __init__(self):
        node = shutil.which("node")
        if not node:
            raise NotHere("node is not installed")
        command = [node, "--no-warnings", "--max-http-header-size=131072", HERE / "client.mjs"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, start_new_session=True)
        self.lock = threading.Lock()

    def ask(self, client, port, calls):
        asked = [
            {
                "method": call.method,
                "target": call.target,
                "fields": call.fields,
                "body": None if call.body is None else base64.b64encode(call.body).decode(),
                "chunked": call.chunked,
                "trailers": call.trailers,
                "follow": call.follow,
                "decode": call.decode,
            }
            for call in calls
        ]
        with self.lock:
            self.process.stdin.write(json.dumps({"client": client, "port": port, "calls": asked, "patience_ms": PATIENCE_SECS * 1000}) + "\n")
            self.process.stdin.flush()
            answers = json.loads(self.process.stdout.readline())
        return [self.seen(answer) for answer in answers]

    @staticmethod
    def seen(answer):
        pairs = lambda fields: None if fields is None else [(name.lower(), value) for name, value in fields]
        return Seen(
            answer["status"],
            answer["reason"],
            pairs(answer["fields"]),
            base64.b64decode(answer["body"]),
            pairs(answer["trailers"]),
            None if answer["informational"] is None else [(status, pairs(fields)) for status, fields in answer["informational"]],
            [],
            answer["error"],
        )

    def end(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECS)


class OfNode:
    """One of Node's clients."""

    def __init__(self, name, node):
        self.name, self.node = name, node

    def ask(self, port, calls):
        return self.node.ask(self.name, port, calls)


class Raw:
    name = "raw"

    def ask(self, port, calls):
        return wire.ask(port, calls)


# Each client of HTTP/2 and the one that asks the same of a server without it.
OVER_HTTP1 = {"curl-h2": "curl", "httpx-h2": "httpx", "node-h2": "node-http"}


class Clients:
    """All that can be had; `missing` says of each other one why not."""

    def __init__(self):
        self.here, self.missing, self.node = {"raw": Raw(), "urllib": Urllib()}, {}, None
        for name, make in (
            ("curl", lambda: Curl("curl", "--http1.1")),
            ("curl-h2", self.curl_h2),
            ("wget", Wget),
            ("requests", Requests),
            ("httpx", lambda: Httpx("httpx", False)),
            ("httpx-h2", lambda: Httpx("httpx-h2", True)),
            ("aiohttp", Aiohttp),
            ("fetch", lambda: OfNode("fetch", self.one_node())),
            ("node-http", lambda: OfNode("node-http", self.one_node())),
            ("node-h2", lambda: OfNode("node-h2", self.one_node())),
        ):
            try:
                self.here[name] = make()
            except NotHere as why:
                self.missing[name] = str(why)

    @staticmethod
    def curl_h2():
        client = Curl("curl-h2", "--http2-prior-knowledge")
        if b"HTTP2" not in subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout:
            raise NotHere("this curl has no HTTP/2")
        return client

    def one_node(self):
        self.node = self.node or Node()
        return self.node

    def end(self):
        if self.node:
            self.node.end()
