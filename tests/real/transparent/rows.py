"""The table: which client asks which origin what. Each row is one exchange, or a few that belong together.

A row is asked directly, through larder, and where it only reads once more through larder, when the store may answer.
Clients take turns over the rows, so that each meets every kind of answer and no pair is left to chance.
"""

import dataclasses
import functools
import itertools

from .answers import ANSWERS, CACHED, ENCODED, EXACT, FIELDS, FRAMED, STATUSES, WIRE
from .calls import Call, call


@dataclasses.dataclass(frozen=True)
class Row:
    subject: str
    server: str
    client: str
    calls: tuple
    # Names of fields that differ between any two answers of this origin.
    ignore: tuple = ()
    # Patterns of what differs between any two answers of this origin, in values and bodies.
    mask: tuple = ()
    # Whether bodies are the same from one answer to the next.
    body: bool = True
    # Whether it is part of the short run.
    short: bool = True

    @property
    def name(self):
        return f"{self.server}: {self.subject} by {self.client}"

    @property
    def expects(self):
        """Whether a 100 was asked for, or may have been: curl does so by itself."""
        return self.client.startswith("curl") or any(one.expect for one in self.calls)

    @property
    def only_reads(self):
        return all(one.method in ("GET", "HEAD") for one in self.calls)


EVERY = ["curl", "curl-h2", "requests", "httpx", "httpx-h2", "aiohttp", "fetch", "node-http", "node-h2", "wget", "raw", "urllib"]
# Show trailers and 1xx.
SHOWING = ["raw", "curl", "node-http", "node-h2", "curl-h2"]
PYTHON = ["requests", "httpx", "httpx-h2", "aiohttp"]
CHUNKING = ["curl", "requests", "node-http", "httpx", "raw", "aiohttp", "fetch", "curl-h2", "node-h2", "httpx-h2", "urllib"]
EXACT_TARGET = ["raw", "curl", "node-http", "curl-h2", "node-h2"]
ANSWERING = ["curl", "requests", "httpx", "aiohttp", "wget", "urllib"]
COOKIE_JARS = ["curl", "requests", "httpx", "aiohttp", "curl-h2", "httpx-h2", "urllib", "wget"]
# Not curl over HTTP/2: 7.88 fails to follow within a connection, whoever answers.
FOLLOWING = ["curl", "requests", "httpx", "aiohttp", "fetch", "wget", "httpx-h2", "urllib"]


class Table:
    def __init__(self):
        self.rows, self.turns = [], {}

    def turn(self, clients):
        """The next of these clients."""
        key = tuple(clients)
        return next(self.turns.setdefault(key, itertools.cycle(key)))

    def add(self, server, subject, *calls, clients=EVERY, times=1, short=True, mask=(), **more):
        if server == "hypercorn":
            mask = (*mask, r"hypercorn-h\w+")  # it names the protocol that it was asked by
        if any(one.decode for one in calls):
            more["ignore"] = ("content-length",)  # of the coded body, which a client that decodes does not show
        for turn in range(times):
            self.rows.append(Row(subject, server, self.turn(clients), calls, mask=mask, short=short and turn == 0, **more))


def table():
    rows = Table()
    for part in (answers, heads, wires, asks, sequences, expectations, rest, httpbin, asgi, files, prometheus):
        part(rows)
    return rows.rows


def answers(rows):
    """Every answer of ours, by several origins."""
    for n, status in enumerate(STATUSES):
        pair = [("node", "uvicorn"), ("script", "hypercorn"), ("uvicorn-h11", "node")][n % 3]
        for m, server in enumerate(pair):
            rows.add(server, f"status {status}", call(f"/answer/{status}?u={{u}}"), short=m == 0 and n % 2 == 0)
    for n, name in enumerate({**FRAMED, **ENCODED, **FIELDS, **CACHED}):
        for m, server in enumerate(("node", "script", ("uvicorn", "uvicorn-h11", "hypercorn" if name != "nominated" else "uvicorn")[n % 3])):
            rows.add(server, name, call(f"/answer/{name}?u={{u}}"), short=m == n % 3)
    for name in EXACT:
        for server in ANSWERS[name]["only"]:
            rows.add(server, name, call(f"/answer/{name}?u={{u}}"), clients=SHOWING, times=2, short=server == "script")
            rows.add(server, name, call(f"/answer/{name}?u={{u}}"), clients=PYTHON + ["fetch", "wget"], short=False)
            if "trailers" in ANSWERS[name]:
                takes = (("TE", "trailers"), ("Connection", "TE"))
                rows.add(server, f"{name} to who takes them", call(f"/answer/{name}?u={{u}}", *takes), clients=["raw", "node-http", "curl"], times=3)
    for name in (name for name in ENCODED if name not in ("encoding-unknown", "encoded-twice")):
        rows.add("node", f"{name}, decoded", call(f"/answer/{name}?u={{u}}", decode=True), clients=["curl", "requests", "httpx-h2", "aiohttp", "fetch", "curl-h2", "wget"], short=False)


def heads(rows):
    """HEAD alone, and after a GET that may have been stored."""
    for n, name in enumerate(["plain", "empty", "chunks", "gzip", "cookies", "repeated", "etag", "404", "301", "500", "204", "304", "max-age", "no-store", "stored-large", "stored-chunks", "close-delimited", "http10-length"]):
        server = "script" if name in WIRE else ("node", "uvicorn", "script", "hypercorn")[n % 4]
        rows.add(server, f"HEAD {name}", call(f"/answer/{name}?u={{u}}", method="HEAD"), clients=["curl", "requests", "raw", "httpx", "node-http", "curl-h2", "wget", "aiohttp", "fetch", "node-h2", "httpx-h2"])
        get, head = call(f"/answer/{name}?u={{u}}"), call(f"/answer/{name}?u={{u}}", method="HEAD")
        rows.add(server, f"GET then HEAD {name}", get, head, clients=["curl", "raw", "requests", "node-http", "httpx"])
        rows.add(server, f"HEAD then GET {name}", head, get, clients=["raw", "curl", "aiohttp", "node-h2", "httpx-h2"], short=False)


def wires(rows):
    """What only bytes can say."""
    for name in WIRE:
        if name == "closing":
            continue  # what it leaves behind would be found by the next row; `streams` has it
        rows.add("script", name, call(f"/answer/{name}?u={{u}}"), clients=["raw"])
        rows.add("script", name, call(f"/answer/{name}?u={{u}}"), clients=["curl", "requests", "httpx", "aiohttp", "fetch", "node-http", "wget", "urllib"], short=False)
        rows.add("script", name, call(f"/answer/{name}?u={{u}}"), clients=["curl-h2", "node-h2", "httpx-h2"], short=False)


FORM = ("Content-Type", "application/x-www-form-urlencoded")
JSON = ("Content-Type", "application/json")
MULTIPART = b'--b\r\nContent-Disposition: form-data; name="a"; filename="k\xc3\xa4.txt"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--b\r\nContent-Disposition: form-data; name="b"\r\n\r\n1\r\n--b--\r\n'
BINARY = bytes(range(256)) * 40
# What a request can look like: (subject, call, clients).
ASKS = [
    ("a plain path", call("/echo/a?u={u}"), EVERY),
    ("a query with repeats", call("/echo?b=2&a=1&a=0&&c=&d&u={u}"), EVERY),
    ("an empty query", call("/echo/{u}?"), EXACT_TARGET),
    ("percent-encoding in the path", call("/echo/a%2Fb%20c%41%7e%3f{u}"), EXACT_TARGET),
    ("lower and upper case hex", call("/echo/%c3%A4/%3a{u}"), EXACT_TARGET),
    ("percent-encoding in the query", call("/echo?q=%41%20+%2B%c3%a4%00&u={u}"), EXACT_TARGET),
    ("two slashes", call("/echo//a///b{u}"), EXACT_TARGET),
    ("a slash at the end", call("/echo/a{u}/"), EVERY),
    ("dot segments", call("/echo/a/../b/./c{u}"), EXACT_TARGET),
    ("encoded dot segments", call("/echo/a/%2e%2e/b{u}"), EXACT_TARGET),
    ("sub-delims in the path", call("/echo/a;v=1,2/b=c&d@e:f!$'()*{u}"), EXACT_TARGET),
    ("odd characters in the query", call("/echo?a[]=1&b={x}|^`&c=/?:@&u={u}"), ["raw", "curl", "node-http"]),
    ("a quote in the query", call('/echo?a="b"&u={u}'), ["raw", "curl", "node-http"]),
    ("bytes beyond ASCII in the target", call("/echo/\xc3\xa4?q=\xc3\xa4&u={u}"), ["raw", "curl"]),
    ("a long target", call("/echo/" + "p" * 3000 + "?q=" + "v" * 4000 + "&u={u}"), ["raw", "curl", "httpx", "node-http", "node-h2"]),
    ("a url in the query", call("/echo?next=http://a.example/b?c=d&u={u}"), EVERY),
    ("absolute-form, to an origin that knows it", Call("", wire="GET http://{host}/answer/plain?u={u} HTTP/1.1\r\nHost: {host}\r\n\r\n"), ["raw"]),
    ("HTTP/1.0", Call("", wire="GET /echo/ten?u={u} HTTP/1.0\r\nHost: {host}\r\n\r\n"), ["raw"]),
    ("HTTP/1.0 without Host", Call("", wire="GET /echo/ten?u={u} HTTP/1.0\r\n\r\n"), ["raw"]),
    ("HTTP/1.0 keep-alive", Call("", wire="GET /echo/ten?u={u} HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n"), ["raw"]),
    ("Connection: close", call("/echo?u={u}", ("Connection", "close")), ["raw", "curl"]),
    ("a line before the request", Call("", wire="\r\nGET /echo/late?u={u} HTTP/1.1\r\nHost: {host}\r\n\r\n"), ["raw"]),
    ("fields with spaces around", Call("", wire="GET /echo/sp?u={u} HTTP/1.1\r\nHost: {host}\r\nX-A: \t a b \t \r\nX-B:c\r\n\r\n"), ["raw"]),
    ("HEAD", call("/echo?u={u}", method="HEAD"), ["curl", "requests", "httpx", "raw", "node-http", "wget", "aiohttp"]),
    ("OPTIONS", call("/echo?u={u}", method="OPTIONS"), ["curl", "requests", "node-h2", "fetch"]),
    ("DELETE", call("/echo?u={u}", method="DELETE"), ["curl", "requests", "httpx-h2", "fetch", "aiohttp", "wget"]),
    ("DELETE with a body", call("/echo?u={u}", JSON, method="DELETE", body=b"{}"), ["curl", "requests", "node-http", "fetch"]),
    ("GET with a body", call("/echo?u={u}", JSON, body=b'{"query": 1}'), ["curl", "requests", "node-http", "raw", "node-h2"]),
    ("PATCH", call("/echo?u={u}", ("Content-Type", "application/merge-patch+json"), method="PATCH", body=b"{}"), ["fetch", "httpx", "curl-h2"]),
    ("PUT", call("/echo?u={u}", ("Content-Type", "text/plain"), method="PUT", body=b"all of it"), ["wget", "aiohttp", "httpx-h2", "urllib"]),
    ("PUT of nothing", call("/echo?u={u}", method="PUT", body=b""), ["raw", "node-http", "requests", "httpx", "curl-h2"]),
    ("POST of nothing", call("/echo?u={u}", method="POST"), ["curl", "requests", "httpx", "aiohttp", "fetch", "raw"]),
    ("POST of a form", call("/echo?u={u}", FORM, method="POST", body=b"a=1&b=%20+c&a=2"), EVERY),
    ("POST of JSON", call("/echo?u={u}", JSON, method="POST", body='{"a": "ä"}'.encode()), EVERY),
    ("POST of a multipart form", call("/echo?u={u}", ("Content-Type", "multipart/form-data; boundary=b"), method="POST", body=MULTIPART), EVERY),
    ("POST of bytes", call("/echo?u={u}", ("Content-Type", "application/octet-stream"), method="POST", body=BINARY), EVERY),
    ("POST of a packed body", call("/echo?u={u}", ("Content-Encoding", "gzip"), method="POST", body=ENCODED["gzip"]["body"]), ["curl", "httpx", "node-http", "aiohttp"]),
    ("POST of a megabyte", call("/echo?u={u}", ("Content-Type", "application/octet-stream"), method="POST", body=BINARY * 103), ["curl", "requests", "httpx-h2", "fetch", "aiohttp", "wget", "node-h2", "curl-h2", "urllib"]),
    ("POST in chunks", call("/echo?u={u}", method="POST", body=BINARY, chunked=True), CHUNKING),
    ("POST of nothing in chunks", call("/echo?u={u}", method="POST", body=b"", chunked=True), ["raw", "curl"]),
    ("POST with trailers", call("/echo?u={u}", ("Trailer", "X-Sum"), method="POST", body=BINARY, chunked=True, trailers=(("X-Sum", "abc"),)), ["raw"]),
    ("POST with trailers", call("/echo?u={u}", method="POST", body=BINARY, chunked=True, trailers=(("X-Sum", "abc"),)), ["node-http", "node-h2"]),
    ("chunk extensions", Call("", method="POST", wire="POST /echo/ext?u={u} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n3;a=1\r\none\r\n0\r\n\r\n"), ["raw"]),
    ("QUERY", call("/echo?u={u}", JSON, method="QUERY", body=b'{"q": 1}'), ["curl", "raw", "httpx"]),
    ("PROPFIND", call("/echo?u={u}", ("Depth", "1"), method="PROPFIND"), ["curl", "raw", "requests"]),
    ("LOCK", call("/echo?u={u}", ("Timeout", "Second-4"), method="LOCK", body=b"<lock/>"), ["curl", "node-http"]),
    ("repeated fields", call("/echo?u={u}", ("X-Many", "b"), ("X-Other", "1"), ("X-Many", "a"), ("X-Many", "c, d")), ["raw", "curl", "httpx", "node-http", "aiohttp", "httpx-h2", "node-h2"]),
    ("an empty value", call("/echo?u={u}", ("X-Empty", "")), ["curl", "raw", "httpx", "node-http", "requests"]),
    ("Latin-1 in a value", call("/echo?u={u}", ("X-Latin", "K\xe4se \xff")), ["raw", "curl", "httpx", "requests", "node-http"]),
    ("UTF-8 in a value", call("/echo?u={u}", ("X-Utf", "5 €".encode().decode("latin-1"))), ["raw", "curl", "httpx"]),
    ("a long value", call("/echo?u={u}", ("X-Long", "v" * 8000)), ["raw", "curl", "httpx", "node-h2", "requests", "fetch"]),
    ("many fields", call("/echo?u={u}", *[(f"X-Many-{n:02}", f"value {n}") for n in range(70)]), ["raw", "curl", "httpx-h2", "fetch", "aiohttp"]),
    ("150 fields", call("/echo?u={u}", *[(f"X-More-{n:03}", "v") for n in range(150)]), ["raw", "curl", "node-http", "node-h2"]),
    ("a huge value", call("/echo?u={u}", ("X-Huge", "0123456789" * 3000)), ["raw", "curl", "node-http"]),
    ("a huge target", call("/echo?q=" + "v" * 30000 + "&u={u}"), ["raw", "curl"]),
    ("OPTIONS *", Call("", method="OPTIONS", wire="OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n"), ["raw"]),
    ("TRACE", call("/echo?u={u}", method="TRACE"), ["raw", "curl"]),
    ("odd case and names", call("/echo?u={u}", ("x-ODD-cAsE", "MiXed"), ("x!#$%&'*+-.^_`|~9", "token"), ("X_Under_Score", "1")), ["raw", "curl", "node-http", "httpx"]),
    ("cookies", call("/echo?u={u}", ("Cookie", 'a=1; b="2, 3"; c=\xe4; a=4')), ["raw", "curl", "httpx", "curl-h2"]),
    ("cookies in two lines", call("/echo?u={u}", ("Cookie", "a=1"), ("Cookie", "b=2")), ["node-h2", "httpx-h2"]),
    ("what is accepted", call("/echo?u={u}", ("Accept", "text/html;q=0.9, */*;q=0.1"), ("Accept-Language", "de-CH, de;q=0.5"), ("Accept-Encoding", "gzip, br;q=0.5, *;q=0"), ("Accept-Charset", "utf-8")), EVERY),
    ("Basic credentials", call("/echo?u={u}", ("Authorization", "Basic dTpw")), EVERY),
    ("Bearer credentials", call("/echo?u={u}", ("Authorization", "Bearer a.b-c_d=="), ("X-Api-Key", "k")), EVERY),
    ("Digest credentials", call("/echo?u={u}", ("Authorization", 'Digest username="u", realm="r", nonce="n", uri="/echo", response="0"')), ["curl", "requests", "raw"]),
    ("Cache-Control: no-cache", call("/echo?u={u}", ("Cache-Control", "no-cache"), ("Pragma", "no-cache")), EVERY),
    ("Cache-Control: max-age=0", call("/echo?u={u}", ("Cache-Control", "max-age=0, no-transform")), ["curl", "fetch", "httpx"]),
    ("Cache-Control: no-store", call("/echo?u={u}", ("Cache-Control", "no-store")), ["curl", "fetch", "httpx"]),
    ("a browser's fields", call("/echo?u={u}", ("Origin", "https://shop.example"), ("Referer", "https://shop.example/a?b"), ("Sec-Fetch-Mode", "cors"), ("Sec-CH-UA", '"A";v="1"'), ("DNT", "1"), ("Upgrade-Insecure-Requests", "1"), ("Priority", "u=1, i")), ["curl", "raw", "httpx-h2", "node-http"]),
    ("a trace", call("/echo?u={u}", ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", "a=1"), ("baggage", "k=v"), ("X-B3-TraceId", "1")), ["curl", "httpx", "node-h2"]),
    ("an own request id", call("/echo?u={u}", ("X-Request-Id", "of-the-client-1")), ["curl", "raw", "httpx-h2"]),
    ("an own Via", call("/echo?u={u}", ("Via", "1.0 first, 1.1 second")), ["curl", "raw"]),
    ("a Max-Forwards that counts for nothing", call("/echo?u={u}", ("Max-Forwards", "0")), ["curl", "raw"]),
    ("forwarded by another proxy", call("/echo?u={u}", ("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "shop.example")), ["curl", "raw"]),
    ("Forwarded by another proxy", call("/echo?u={u}", ("Forwarded", "for=203.0.113.7;proto=https")), ["curl", "raw"]),
    ("an overridden method", call("/echo?u={u}", ("X-HTTP-Method-Override", "PUT"), method="POST", body=b"x"), ["curl", "raw"]),
    ("a real address", call("/echo?u={u}", ("X-Real-IP", "203.0.113.7")), ["curl", "raw"]),
    ("preferences", call("/echo?u={u}", ("Prefer", "return=minimal, wait=1"), ("Idempotency-Key", '"k"'), ("If-None-Match", '"not-there"'), method="POST", body=b"x"), ["curl", "httpx", "aiohttp"]),
    ("conditions of a POST", call("/echo?u={u}", ("If-Match", '"a", W/"b"'), ("If-Unmodified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"), method="POST", body=b"x"), ["curl", "raw"]),
    ("a content range of a PUT", call("/echo?u={u}", ("Content-Range", "bytes 0-3/10"), ("Content-Language", "de"), ("Content-Location", "/x"), method="PUT", body=b"four"), ["curl", "httpx"]),
    ("TE", call("/echo?u={u}", ("TE", "trailers"), ("Connection", "TE")), ["raw", "curl"]),
    ("an unconditional If-None-Match", call("/echo?u={u}", ("If-None-Match", '"never-seen"')), ["curl", "raw", "requests"]),
    ("an unconditional If-Modified-Since", call("/echo?u={u}", ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")), ["curl", "raw", "httpx"]),
    ("a range of what has none", call("/echo?u={u}", ("Range", "bytes=0-1")), ["curl", "raw", "fetch"]),
    ("If-Match of a GET", call("/echo?u={u}", ("If-Match", '"x"')), ["curl", "raw", "aiohttp"]),
]


def asks(rows):
    for n, (subject, one, clients) in enumerate(ASKS):
        asgi = ("uvicorn", "uvicorn-h11", "hypercorn")[n % 3]
        for m, server in enumerate(("script", "node", asgi)):
            # Node and the ASGI servers have a mind of their own about bytes that are no text, and about methods.
            if "absolute-form" in subject and server != "script":
                continue
            rows.add(server, subject, one, clients=clients, short=m == n % 3)


def sequences(rows):
    """A few requests that belong together."""
    for name in ("max-age", "etag", "stored-large", "no-store", "gzip-stored", "stored-fields", "stored-chunks", "expires", "old-modified"):
        server = ("node", "script", "uvicorn")[len(name) % 3]
        get = call(f"/answer/{name}?u={{u}}")
        rows.add(server, f"{name} three times", get, get, get, clients=EVERY)
    kinds = ("de", "en", "de")
    languages = [call("/answer/vary-two?u={u}", ("Accept-Language", kind), ("X-Kind", "k")) for kind in kinds]
    rows.add("script", "variants", *languages, clients=["curl", "httpx", "fetch"], times=2)
    for encoding in ("gzip", "br", "deflate", "identity", "gzip, deflate, br", "*"):
        for server in ("node", "uvicorn"):
            one = call("/negotiated?u={u}", ("Accept-Encoding", encoding))
            rows.add(server, f"negotiated {encoding}", one, one, clients=["curl", "requests", "httpx", "node-http", "raw"])
    for server in ("node", "uvicorn"):
        two = [call("/negotiated?u={u}", ("Accept-Encoding", encoding)) for encoding in ("gzip", "identity", "gzip")]
        rows.add(server, "negotiated, packed and not", *two, clients=["raw", "curl", "httpx-h2"], times=2)
        rows.add(server, "negotiated, decoded", call("/negotiated?u={u}", decode=True), clients=["curl", "requests", "httpx", "aiohttp", "fetch", "wget", "curl-h2"], times=4)


def expectations(rows):
    """`Expect: 100-continue` (RFC 9110 10.1.1)."""
    big = ("Expect", "100-continue")
    for server, path in (("script", "/expect"), ("script", "/expect-hints"), ("script", "/refuse"), ("node", "/expect"), ("node", "/refuse"), ("uvicorn", "/echo"), ("uvicorn-h11", "/echo"), ("hypercorn", "/echo")):
        rows.add(server, f"Expect, {path[1:]}", call(f"{path}?u={{u}}", big, method="POST", body=b"waits for a word", expect=True), clients=["raw"])
        rows.add(server, f"Expect, {path[1:]}, in chunks", call(f"{path}?u={{u}}", big, method="POST", body=b"waits for a word", chunked=True, expect=True), clients=["raw"], short=False)
        rows.add(server, f"Expect, {path[1:]}, by habit", call(f"{path}?u={{u}}", big, method="POST", body=BINARY * 3), clients=["curl"])
    rows.add("script", "an answer before the body", call("/reject?u={u}", method="POST", body=BINARY * 200), clients=["curl", "raw", "requests", "aiohttp", "node-http", "curl-h2", "fetch", "httpx"], times=8)
    rows.add("node", "Expect something else", call("/echo?u={u}", ("Expect", "a-miracle"), method="POST", body=b"x"), clients=["raw", "curl"], times=2)


def rest(rows):
    """The small REST service in Node: writing, conditions, ranges."""
    thing, kept = "/things/t{u}", "/things/kept{u}"
    put = lambda path, *fields, body=b'{"a": 1}': call(path, JSON, *fields, method="PUT", body=body)
    for subject, calls in {
        "made, read, changed, read, removed": (put(thing), call(thing), put(thing, body=b"2"), call(thing), call(thing, method="DELETE"), call("/things/none{u}")),
        "changed under a copy": (call(kept), put(kept), call(kept), put(kept, ("If-Match", '"v1"'), body=b"3"), call(kept)),
        "not changed twice": (put(thing), put(thing, ("If-Match", '"v1"'), body=b"2"), put(thing, ("If-Match", '"v1"'), body=b"3"), call(thing)),
        "made once": (put(thing, ("If-None-Match", "*")), put(thing, ("If-None-Match", "*"))),
        "removed under a copy": (call(kept), call(kept, method="DELETE"), call(kept)),
        "options": (call(thing, method="OPTIONS"), call(thing, method="POST", body=b"x")),
    }.items():
        rows.add("node", subject, *calls, clients=["curl", "requests", "httpx", "aiohttp", "fetch", "node-http", "node-h2", "httpx-h2"], times=2)
    since, before = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT"
    conditions = {
        "If-None-Match, the same": [("If-None-Match", '"v1"')],
        "If-None-Match, weakly": [("If-None-Match", 'W/"v1"')],
        "If-None-Match, in a list": [("If-None-Match", '"v0", "v1"')],
        "If-None-Match, another": [("If-None-Match", '"v0"')],
        "If-None-Match, any": [("If-None-Match", "*")],
        "If-Modified-Since, the same": [("If-Modified-Since", since)],
        "If-Modified-Since, before": [("If-Modified-Since", before)],
        "If-Modified-Since, no date": [("If-Modified-Since", "yesterday")],
        "both, the tag decides": [("If-None-Match", '"v0"'), ("If-Modified-Since", since)],
        "If-Match, the same": [("If-Match", '"v1"')],
        "If-Match, another": [("If-Match", '"v0"')],
        "If-Unmodified-Since, the same": [("If-Unmodified-Since", since)],
        "If-Unmodified-Since, before": [("If-Unmodified-Since", before)],
    }
    ranges = {
        "the first bytes": [("Range", "bytes=0-9")],
        "from the middle": [("Range", "bytes=100-")],
        "the last bytes": [("Range", "bytes=-5")],
        "one byte": [("Range", "bytes=7-7")],
        "beyond the end": [("Range", "bytes=100-999999")],
        "after the end": [("Range", "bytes=999999-")],
        "of another unit": [("Range", "lines=0-1")],
        "the wrong way round": [("Range", "bytes=9-0")],
        "If-Range, the same tag": [("Range", "bytes=0-9"), ("If-Range", '"v1"')],
        "If-Range, another tag": [("Range", "bytes=0-9"), ("If-Range", '"v0"')],
        "If-Range, the same date": [("Range", "bytes=0-9"), ("If-Range", since)],
        "If-Range, another date": [("Range", "bytes=0-9"), ("If-Range", before)],
        "of something the client has": [("Range", "bytes=0-9"), ("If-None-Match", '"v1"')],
    }
    clients = ["curl", "raw", "requests", "node-http", "httpx", "aiohttp", "curl-h2", "fetch"]
    for subject, fields in {**conditions, **ranges}.items():
        for path, what in ((thing, "asked about"), (kept, "kept")):
            rows.add("node", f"{subject}, nothing stored, {what}", call(path, *fields), clients=clients, short=what == "kept")
            rows.add("node", f"{subject}, after a GET, {what}", call(path), call(path, *fields), clients=clients, short=what == "kept")
    rows.add("node", "HEAD with If-None-Match", call(kept, ("If-None-Match", '"v1"'), method="HEAD"), clients=["curl", "raw"], times=2)
    rows.add("node", "HEAD with a range", call(kept, ("Range", "bytes=0-1"), method="HEAD"), clients=["curl", "raw"], times=2)
    preflight = call("/cors?u={u}", ("Origin", "https://shop.example"), ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-a, content-type"), method="OPTIONS")
    rows.add("node", "a preflight and its request", preflight, call("/cors?u={u}", ("Origin", "https://shop.example")), call("/cors?u={u}", ("Origin", "https://other.example")), clients=["curl", "requests", "node-http", "httpx-h2"], times=4)
    rows.add("node", "GraphQL", call("/graphql?u={u}", JSON, method="POST", body=b'{"query": "{ price }"}'), clients=["fetch", "requests", "httpx", "aiohttp"], times=3)
    rows.add("node", "lines of JSON", call("/lines?u={u}"), clients=EVERY, times=4)
    rows.add("node", "a challenge", call("/guarded?u={u}"), call("/guarded?u={u}", ("Authorization", "Basic bm86bm8=")), clients=["curl", "raw", "httpx", "node-http"], times=4)
    rows.add("node", "a challenge, answered", call("/guarded?u={u}", auth=("basic", "user", "pa:ss")), clients=ANSWERING, times=6)
    rows.add("node", "nothing there", call("/nothing/{u}"), clients=EVERY, times=2)


def httpbin(rows):
    """httpbin under gunicorn."""
    say = functools.partial(rows.add, "httpbin")
    for path in ("/get?a=1&a=2", "/headers", "/ip", "/user-agent", "/anything/a%20b/c?x=y", "/json", "/html", "/xml", "/robots.txt", "/deny", "/encoding/utf8", "/base64/bGFyZGVy", "/links/3/1", "/forms/post", "/bytes/1024?seed=1", "/stream-bytes/5000?seed=1&chunk_size=700", "/stream/5", "/range/2048?chunk_size=300", "/response-headers?X-A=1&X-A=2&Cache-Control=max-age%3D60", "/cache/60", "/etag/tag", "/image/png", "/image/svg", "/image", "/status/418", "/status/204", "/status/503", "/status/404", "/status/401", "/status/407", "/status/402", "/status/304", "/spec.json"):
        say(path, call(path + ("&" if "?" in path else "?") + "u={u}"), clients=EVERY, times=2, ignore=("server-timing",))
    for path in ("/gzip", "/deflate", "/brotli"):
        say(path, call(path + "?u={u}"), clients=EVERY, times=2)
        say(f"{path}, decoded", call(path + "?u={u}", decode=True), clients=["curl", "requests", "aiohttp", "fetch", "wget", "curl-h2", "httpx-h2"], times=3)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        path = f"/{method.lower()}?u={{u}}"
        say(f"{method} of a form", call(path, FORM, method=method, body=b"a=1&b=2"), clients=EVERY)
        say(f"{method} of JSON", call(path, JSON, method=method, body=b'{"a": [1, null]}'), clients=EVERY, short=False)
    say("POST of files", call("/post?u={u}", ("Content-Type", "multipart/form-data; boundary=b"), method="POST", body=MULTIPART), clients=EVERY, times=2)
    say("POST in chunks", call("/post?u={u}", method="POST", body=BINARY, chunked=True), clients=CHUNKING, times=3)
    say("OPTIONS", call("/get?u={u}", method="OPTIONS"), clients=["curl", "requests"])
    say("a method that is not allowed", call("/post?u={u}"), clients=EVERY)
    say("HEAD", call("/json?u={u}", method="HEAD"), clients=["curl", "requests", "raw"], times=2)
    say("If-None-Match of an etag", call("/etag/tag?u={u}", ("If-None-Match", '"tag"')), clients=EVERY, times=2)
    say("If-None-Match of another etag", call("/etag/tag?u={u}", ("If-None-Match", '"other"')), clients=EVERY)
    say("If-Match of another etag", call("/etag/tag?u={u}", ("If-Match", '"other"')), clients=EVERY)
    say("If-Modified-Since of anything", call("/cache?u={u}", ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")), clients=EVERY, times=2)
    say("If-None-Match of anything", call("/cache?u={u}", ("If-None-Match", '"x"')), clients=EVERY, times=2)
    for given in ("bytes=0-9", "bytes=100-", "bytes=-7", "bytes=5000-", "bytes=10-5"):
        say(f"Range {given}", call("/range/1024?u={u}", ("Range", given)), clients=["curl", "requests", "httpx", "raw", "fetch"])
        say(f"Range {given} after a GET", call("/range/1024?u={u}"), call("/range/1024?u={u}", ("Range", given)), clients=["curl", "aiohttp", "httpx-h2", "node-http"], short=False)
    for kind in ("redirect", "relative-redirect"):
        say(f"/{kind}/3", call(f"/{kind}/3?u={{u}}"), clients=EVERY)
        say(f"/{kind}/3, followed", call(f"/{kind}/3?u={{u}}", follow=True), clients=FOLLOWING, times=3)
    say("an absolute redirect", call("/absolute-redirect/2?u={u}"), clients=EVERY)
    for status in (301, 302, 303, 307, 308):
        say(f"a POST redirected by {status}", call(f"/redirect-to?url=/anything/there&status_code={status}&u={{u}}", FORM, method="POST", body=b"a=1", follow=True), clients=FOLLOWING, times=2)
    say("cookies, set and sent", call("/cookies/set?a=1&b=2&u={u}"), call("/cookies?u={u}"), call("/cookies/delete?a=&u={u}"), call("/cookies?u={u}"), clients=COOKIE_JARS, times=8)
    say("cookies, followed", call("/cookies/set?a=1&u={u}", follow=True), call("/cookies?u={u}"), clients=["curl", "requests", "httpx", "aiohttp", "httpx-h2"], times=3)
    say("a cookie by path", call("/cookies/set/c/d%20e?u={u}"), call("/cookies?u={u}"), clients=COOKIE_JARS, times=2)
    say("Basic, answered", call("/basic-auth/user/pass?u={u}", auth=("basic", "user", "pass")), clients=ANSWERING, times=6)
    say("Basic, wrong", call("/basic-auth/user/pass?u={u}", auth=("basic", "user", "no")), clients=ANSWERING, times=3)
    say("Basic, hidden", call("/hidden-basic-auth/user/pass?u={u}", ("Authorization", "Basic dXNlcjpwYXNz")), clients=EVERY)
    say("Basic, unasked", call("/basic-auth/user/pass?u={u}"), clients=EVERY, times=2)
    say("Bearer", call("/bearer?u={u}", ("Authorization", "Bearer t")), clients=EVERY)
    say("Bearer, none", call("/bearer?u={u}"), clients=EVERY)
    digest = (r'(nonce|opaque|cnonce|response)="[^"]*"', r"(nonce|opaque|cnonce|response)=[0-9a-f]+", r"fake=fake_value|stale_after=never|last_nonce=[0-9a-f]+")
    for qop in ("auth", "auth-int"):
        for algorithm in ("MD5", "SHA-256"):
            clients = ["curl", "requests", "httpx", "aiohttp"] if qop == "auth" else ["requests", "curl"]
            say(f"Digest {qop} {algorithm}", call(f"/digest-auth/{qop}/user/pass/{algorithm}", auth=("digest", "user", "pass")), clients=clients, times=2, mask=digest)
    say("Digest, unasked", call("/digest-auth/auth/user/pass?u={u}"), clients=["curl", "raw", "fetch"], mask=digest)
    say("what is accepted", call("/image?u={u}", ("Accept", "image/webp")), clients=EVERY)
    say("a drip", call("/drip?duration=0.1&numbytes=5&delay=0&code=200&u={u}"), clients=EVERY, times=3)
    say("a delay", call("/delay/0.1?u={u}"), clients=EVERY)


def asgi(rows):
    """The ASGI application under its servers, with starlette."""
    for server in ("uvicorn", "hypercorn", "uvicorn-h11"):
        say = functools.partial(rows.add, server, short=server != "uvicorn-h11")
        say("a session", call("/login?u={u}"), call("/account?u={u}"), call("/logout?u={u}", method="POST"), call("/account?u={u}"), clients=[client for client in COOKIE_JARS if client != "httpx-h2"], times=3, mask=(r"expires=[^;]* GMT",))
        for status in (301, 302, 303, 307, 308):
            say(f"hops of {status}", call(f"/hop/2?status={status}&u={{u}}"), clients=EVERY)
            say(f"hops of {status}, followed", call(f"/hop/2?status={status}&u={{u}}", follow=True), clients=FOLLOWING)
        say("a POST through hops", call("/hop/1?status=307&u={u}", JSON, method="POST", body=b"{}", follow=True), clients=FOLLOWING, times=2)
        say("Bearer", call("/bearer?u={u}"), call("/bearer?u={u}", ("Authorization", "Bearer s3cret")), clients=EVERY, times=2)
        say("a form with a file", call("/form?u={u}", ("Content-Type", "multipart/form-data; boundary=b"), method="POST", body=MULTIPART), clients=EVERY, times=2)
        say("not found", call("/nothing?u={u}"), call("/form?u={u}"), clients=EVERY)
        say("a slash that is missing", call("/files?u={u}"), clients=EVERY)
        file_rows(rows, server, "/plain-files/", short=server == "uvicorn")
    for n, fields in enumerate(([], [("Range", "bytes=0-9")], [("Range", "bytes=0-4,10-14")], [("Range", "bytes=-3")])):
        rows.add("uvicorn", f"a file response {n}", call("/served/data.bin?u={u}", *fields), clients=EVERY, times=2)
        rows.add("hypercorn", f"a file response {n}, named", call("/served/data.bin?named&u={u}", *fields), clients=EVERY, times=2)
    for name in ("page.html", "style.css", "small.txt", ""):
        for encoding in ("gzip", "identity"):
            rows.add("uvicorn", f"/files/{name} {encoding}", call(f"/files/{name}?u={{u}}", ("Accept-Encoding", encoding)), clients=["curl", "httpx", "raw", "node-http", "aiohttp"])


def file_rows(rows, server, root, short=True):
    """What clients ask of any file server."""
    say = lambda subject, *calls, **more: rows.add(server, f"{root} {subject}", *calls, short=short, **more)
    for name in ("small.txt", "empty.txt", "page.html", "data.bin", "with%20space.txt", "k%C3%A4se.txt", "numbers.bin", "no-such-file", "deep/"):
        say(name, call(f"{root}{name}?u={{u}}"), clients=EVERY)
    say("HEAD", call(f"{root}data.bin?u={{u}}", method="HEAD"), clients=["curl", "requests", "wget", "raw"])
    say("POST", call(f"{root}data.bin?u={{u}}", method="POST", body=b"x"), clients=["curl", "requests"])
    data = f"{root}data.bin?u={{u}}"
    since = "Sun, 06 Nov 1994 08:49:37 GMT"
    for given in ("bytes=0-0", "bytes=100-199", "bytes=102300-", "bytes=-10", "bytes=200000-", "bytes=0-4,100-104", "bytes=0-4, -4", "bytes=4-2", "bytes=abc", "lines=1-2"):
        say(f"Range {given}", call(data, ("Range", given)), clients=["curl", "raw", "requests", "httpx", "node-http", "aiohttp", "fetch"])
    for given in ("bytes=100-199", "bytes=-10", "bytes=200000-", "bytes=0-4,100-104"):
        say(f"Range {given} after a GET", call(data), call(data, ("Range", given)), clients=["raw", "curl", "requests", "node-h2"])
    say("a range, then all", call(data, ("Range", "bytes=100-199")), call(data), clients=["raw", "curl", "httpx"])
    say("two ranges in a row", call(data, ("Range", "bytes=0-99")), call(data, ("Range", "bytes=100-199")), clients=["raw", "curl", "httpx"])
    for subject, fields in {
        "If-Modified-Since, the same": [("If-Modified-Since", since)],
        "If-Modified-Since, before": [("If-Modified-Since", "Sat, 05 Nov 1994 08:49:37 GMT")],
        "If-None-Match, another": [("If-None-Match", '"x"')],
        "If-Range, the same date": [("If-Range", since), ("Range", "bytes=0-9")],
        "If-Range, another date": [("If-Range", "Sat, 05 Nov 1994 08:49:37 GMT"), ("Range", "bytes=0-9")],
        "If-Range, another tag": [("If-Range", '"x"'), ("Range", "bytes=0-9")],
        "If-Unmodified-Since, before": [("If-Unmodified-Since", "Sat, 05 Nov 1994 08:49:37 GMT")],
    }.items():
        say(subject, call(data, *fields), clients=["curl", "raw", "requests", "httpx"])
        say(f"{subject}, after a GET", call(data), call(data, *fields), clients=["curl", "raw", "aiohttp", "node-http"])


def files(rows):
    """File servers of others."""
    for server in ("aiohttp-files", "http-server", "nginx"):
        file_rows(rows, server, "/")
    for root in ("/packed/", "/kept/"):
        file_rows(rows, "nginx", root, short=False)
    for encoding in ("gzip", "identity"):
        rows.add("nginx", f"packed {encoding}", call("/packed/page.html?u={u}", ("Accept-Encoding", encoding)), clients=["curl", "httpx", "raw", "node-http"], times=2)
    rows.add("nginx", "moved", call("/moved/?u={u}"), clients=EVERY)
    rows.add("nginx", "guarded", call("/guarded/?u={u}"), clients=EVERY)
    rows.add("nginx", "a folder", call("/deep?u={u}"), clients=EVERY)


def prometheus(rows):
    say = functools.partial(rows.add, "prometheus")
    query = "/api/v1/query?query=vector(7)&time=1700000000&u={u}"
    say("a query", call(query), clients=EVERY, times=4)
    say("a query, packed", call(query, ("Accept-Encoding", "gzip")), clients=["curl", "raw", "httpx", "node-http"], times=2)
    say("a query with a mistake", call("/api/v1/query?query=up(&u={u}"), clients=["raw", "curl", "node-http"], times=2)
    say("a query by POST", call("/api/v1/query", FORM, method="POST", body=b"query=vector(8)&time=1700000000"), clients=EVERY, times=3)
    say("build information", call("/api/v1/status/buildinfo?u={u}"), clients=EVERY, times=2)
    say("labels", call("/api/v1/labels?start=1700000000&end=1700000001&u={u}"), clients=EVERY)
    say("the start page", call("/?u={u}"), clients=EVERY, times=2)
    say("the start page, followed", call("/?u={u}", follow=True), clients=FOLLOWING)
    say("its metrics", call("/metrics?u={u}"), clients=EVERY, times=2, body=False)
    say("its metrics, packed", call("/metrics?u={u}", ("Accept-Encoding", "gzip")), clients=["curl", "raw", "httpx"], body=False)
    say("a range of time", call("/api/v1/query_range?query=vector(1)&start=1700000000&end=1700003600&step=60&u={u}"), clients=EVERY, times=2)
    say("not there", call("/no-such-thing?u={u}"), clients=EVERY)
    say("ready", call("/-/ready?u={u}"), clients=EVERY)
    say("an admin method", call("/api/v1/admin/tsdb/snapshot?u={u}", method="POST", body=b""), clients=["curl", "raw"])
