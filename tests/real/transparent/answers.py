"""The answers that our own origins give at `/answer/NAME`, each the same from every one of them.

An answer is a dict: `status`, `reason`, `fields` (name, value; one byte per character), `body` (bytes), `pieces` (sent in
chunks), `trailers`, `early` (1xx before it). `only` names the origins that can send it; `wire` is the whole answer as
bytes, of the script alone, after which the connection is closed unless `stays`.
"""

import gzip
import zlib

TEXT = "text/plain; charset=utf-8"
PAST, LATER = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
BODY = b"What a vendor says.\n"
BYTES = bytes(range(256))
# "What a vendor says.\n" by brotli and zstd, which Python has not.
BROTLI = bytes.fromhex("0b0980") + BODY + bytes.fromhex("03")
ZSTD = bytes.fromhex("28b52ffd2014a10000") + BODY
LARGE = b"".join(b"%07d\n" % n for n in range(1 << 17))
MANY = [(f"X-Many-{n:02}", f"value {n}") for n in range(70)]


def answer(*fields, status=200, body=BODY, kind=TEXT, **more):
    kind = [("Content-Type", kind)] if kind else []
    return {"status": status, "fields": [*kind, *fields], "body": body, **more}


def of_status(status):
    body = b"" if status in (204, 205, 304) else b'{"status": %d}\n' % status
    fields = {
        201: [("Location", "/echo/made")],
        206: [("Content-Range", "bytes 0-14/100")],
        300: [("Link", '</a>; rel="alternate"')],
        301: [("Location", "/echo/moved")],
        302: [("Location", "/echo/found?a=1&b=%20#part")],
        303: [("Location", "../echo/see")],
        304: [("ETag", '"none"')],
        305: [("Location", "http://proxy.invalid/")],
        307: [("Location", "https://elsewhere.invalid/path")],
        308: [("Location", "//elsewhere.invalid/path")],
        401: [("WWW-Authenticate", 'Bearer realm="r", error="invalid_token"')],
        405: [("Allow", "GET, HEAD"), ("Allow", "OPTIONS")],
        406: [("Vary", "Accept")],
        413: [("Retry-After", "10")],
        415: [("Accept-Post", "application/json")],
        416: [("Content-Range", "bytes */100")],
        426: [("Upgrade", "h2c"), ("Connection", "upgrade")],
        429: [("Retry-After", "1"), ("RateLimit", '"default";r=0;t=1')],
        451: [("Link", '<https://law.invalid/>; rel="blocked-by"')],
        503: [("Retry-After", LATER)],
    }.get(status, [])
    return answer(*fields, status=status, body=body, kind="application/json" if body else None)


STATUSES = [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 299, 300, 301, 302, 303, 304, 305, 307, 308, 399]
STATUSES += [400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499]
STATUSES += [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 599]

# Bodies and framing.
FRAMED = {
    "plain": answer(),
    "empty": answer(body=b""),
    "no-type": answer(kind=None),
    "json": answer(kind="application/json", body='{"price": 1.50, "name": "Käse"}'.encode()),
    "bytes": answer(kind="application/octet-stream", body=BYTES * 16),
    "large": answer(kind="application/octet-stream", body=LARGE),
    "chunks": answer(pieces=[b"one\n", b"two\n", b"three\n"]),
    "chunks-empty": answer(pieces=[]),
    "chunks-large": answer(kind="application/octet-stream", pieces=[LARGE[at : at + 40000] for at in range(0, len(LARGE), 40000)]),
    "crlf": answer(body=b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
}

ENCODED = {
    "gzip": answer(("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"), body=gzip.compress(BODY * 9, mtime=0)),
    "gzip-stored": answer(("Content-Encoding", "gzip"), ("Cache-Control", "max-age=60"), body=gzip.compress(BODY * 9, mtime=0)),
    "gzip-chunks": answer(("Content-Encoding", "gzip"), pieces=[gzip.compress(BODY * 9, mtime=0)[:20], gzip.compress(BODY * 9, mtime=0)[20:]]),
    "deflate": answer(("Content-Encoding", "deflate"), body=zlib.compress(BODY * 9)),
    "br": answer(("Content-Encoding", "br"), ("Vary", "accept-encoding"), body=BROTLI),
    "zstd": answer(("Content-Encoding", "zstd"), body=ZSTD),
    "encoded-twice": answer(("Content-Encoding", "deflate"), ("Content-Encoding", "gzip"), body=gzip.compress(zlib.compress(BODY), mtime=0)),
    "encoding-unknown": answer(("Content-Encoding", "aes128gcm"), body=BYTES),
    "identity": answer(("Content-Encoding", "identity")),
}

FIELDS = {
    "cookies": answer(("Set-Cookie", "a=1; Path=/; HttpOnly"), ("Set-Cookie", "b=2; Expires=Fri, 01 Jan 2100 00:00:00 GMT; SameSite=Lax"), ("X-Between", "1"), ("Set-Cookie", "c=\"3, 4\"; Max-Age=60; Secure"), ("Set-Cookie", "a=5; Path=/answer")),
    "cookie-stored": answer(("Set-Cookie", "s=1"), ("Cache-Control", "public, max-age=60")),
    "challenges": answer(("WWW-Authenticate", 'Basic realm="one, two", charset="UTF-8"'), ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth, auth-int", algorithm=SHA-256'), ("WWW-Authenticate", 'Bearer scope="a b", Negotiate'), status=401),
    "repeated": answer(("X-Many", "b"), ("X-Other", "1"), ("x-many", "a"), ("X-MANY", "c, d"), ("X-Many", "")),
    "links": answer(("Link", '</a.css>; rel="preload"; as="style"'), ("Link", '</b>; rel="next", </c>; rel="prev"')),
    "odd-case": answer(("x-ODD-cAsE", "MiXed"), ("ETAG", '"E"'), ("CONTENT-language", "de")),
    "empty-value": answer(("X-Empty", ""), ("X-After", "1")),
    "latin-1": answer(("X-Latin", "K\xe4se \xff"), ("Content-Disposition", 'attachment; filename="K\xe4se.txt"; filename*=UTF-8\'\'K%C3%A4se.txt')),
    "utf-8": answer(("X-Utf", "Preis: 5 €".encode().decode("latin-1"))),
    "long-value": answer(("X-Long", "0123456789" * 800)),
    "many-fields": answer(*MANY),
    "150-fields": answer(*[(f"X-More-{n:03}", "v") for n in range(150)]),
    "huge-value": answer(("X-Huge", "0123456789" * 3000)),
    "tab-inside": answer(("X-Tab", "a\tb  c")),
    "odd-names": answer(("x!#$%&'*+-.^_`|~9", "token"), ("X_Under_Score", "1"), ("7", "seven")),
    "etag": answer(("ETag", '"v1"'), ("Last-Modified", PAST)),
    "etag-weak": answer(("ETag", 'W/"v,1"')),
    "security": answer(("Strict-Transport-Security", "max-age=31536000; includeSubDomains"), ("Content-Security-Policy", "default-src 'self'; img-src *"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"), ("Alt-Svc", 'h3=":443"; ma=86400')),
    "cors": answer(("Access-Control-Allow-Origin", "https://shop.example"), ("Access-Control-Allow-Credentials", "true"), ("Access-Control-Expose-Headers", "X-A, X-B"), ("Vary", "Origin"), ("Vary", "Accept-Encoding, Origin")),
    "content-fields": answer(("Content-Language", "de, en"), ("Content-Location", "/answer/plain"), ("Content-Disposition", 'inline; filename="a b.txt"'), ("Accept-Ranges", "none"), ("Repr-Digest", "sha-256=:AAAA:"), ("Content-MD5", "AAAA==")),
    "gateway-fields": answer(("Via", "1.0 first, 1.1 second (x)"), ("Age", "7"), ("Cache-Status", "cdn; hit; ttl=5"), ("Proxy-Status", "cdn; error=dns_timeout"), ("X-Cache", "HIT"), ("Server-Timing", "db;dur=53")),
    "request-id": answer(("X-Request-Id", "of-the-origin")),
    "other-ids": answer(("X-Correlation-Id", "c"), ("X-Amzn-RequestId", "a"), ("Traceresponse", "00-1-2-01")),
    "forwarded-fields": answer(("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.4"), ("X-Real-IP", "1.2.3.4"), ("X-Http-Method-Override", "PUT"), ("Host", "odd.example")),
    "proxy-auth": answer(("Proxy-Authenticate", 'Basic realm="p"'), status=407),
    "auth-info": answer(("Authentication-Info", 'nextnonce="n"'), ("Proxy-Authentication-Info", 'nextnonce="p"')),
    "warning": answer(("Warning", '199 - "Miscellaneous"'), ("Warning", '214 - "Transformed"')),
    "nominated": answer(("Connection", "X-Hop"), ("X-Hop", "1"), ("X-End", "2")),
    "keep-alive": answer(("Keep-Alive", "timeout=5, max=9")),
    "sunset": answer(("Sunset", LATER), ("Deprecation", "@1700000000"), ("Retry-After", "3"), ("Refresh", "5; url=/echo")),
    "clear-site": answer(("Clear-Site-Data", '"cache", "cookies"'), ("No-Vary-Search", 'params=("u")'), ("Cache-Groups", '"g"'), ("Surrogate-Key", "a b"), ("Cache-Tag", "a,b"), ("Surrogate-Control", "max-age=5"), ("CDN-Cache-Control", "max-age=60"), ("Larder-Cache-Control", "max-age=60")),
    "trailer-named": answer(("Trailer", "X-Sum"), pieces=[BODY]),
}

CACHED = {
    "max-age": answer(("Cache-Control", "max-age=60")),
    "max-age-twice": answer(("Cache-Control", "max-age=60"), ("Cache-Control", "public")),
    "max-age-0": answer(("Cache-Control", "max-age=0"), ("ETag", '"zero"')),
    "s-maxage": answer(("Cache-Control", "public, s-maxage=60, max-age=0")),
    "no-store": answer(("Cache-Control", "no-store")),
    "no-cache": answer(("Cache-Control", "no-cache"), ("ETag", '"nc"')),
    "no-cache-field": answer(("Cache-Control", 'max-age=60, no-cache="x-secret"'), ("X-Secret", "1")),
    "private": answer(("Cache-Control", "private, max-age=60")),
    "private-field": answer(("Cache-Control", 'max-age=60, private="x-secret"'), ("X-Secret", "1")),
    "must-revalidate": answer(("Cache-Control", "max-age=60, must-revalidate, proxy-revalidate, no-transform, immutable")),
    "unknown-directive": answer(("Cache-Control", 'Max-Age="60", x-own="a, b", =, ,')),
    "expires": answer(("Expires", LATER)),
    "expires-0": answer(("Expires", "0"), ("Pragma", "no-cache")),
    "expires-minus": answer(("Expires", "-1"), ("Cache-Control", "max-age=60")),
    "vary-star": answer(("Vary", "*"), ("Cache-Control", "max-age=60")),
    "vary-two": answer(("Vary", "Accept, X-Kind"), ("Vary", "Accept-Language"), ("Cache-Control", "max-age=60")),
    "old-modified": answer(("Last-Modified", PAST)),
    "stored-chunks": answer(("Cache-Control", "max-age=60"), pieces=[b"one\n", b"two\n"]),
    "stored-large": answer(("Cache-Control", "max-age=60"), ("ETag", '"large"'), kind="application/octet-stream", body=LARGE),
    "stored-empty": answer(("Cache-Control", "max-age=60"), body=b""),
    "stored-fields": answer(("Cache-Control", "max-age=60"), ("X-Many", "2"), ("X-Latin", "K\xe4se"), ("X-Many", "1"), ("X-Empty", ""), ("Via", "1.1 v"), ("Cache-Status", "cdn; hit"), ("Link", "<a>"), ("Link", "<b>")),
    "stored-404": answer(("Cache-Control", "max-age=60"), status=404),
    "stored-301": answer(("Cache-Control", "max-age=60"), ("Location", "/echo/x"), status=301),
    "stored-204": answer(("Cache-Control", "max-age=60"), status=204, body=b"", kind=None),
    "stored-410": answer(("Cache-Control", "max-age=60"), status=410, body=b""),
    "stored-299": answer(("Cache-Control", "max-age=60"), status=299),
    "age-given": answer(("Cache-Control", "max-age=60"), ("Age", "7")),
    "stale-directives": answer(("Cache-Control", "max-age=1, stale-while-revalidate=9, stale-if-error=9")),
}

WIRED = ("node", "script")
EXACT = {
    "reason": answer(status=200, reason="Fine, thank you", only=WIRED),
    "reason-404": answer(status=404, reason="No such sku", only=WIRED),
    "reason-299": answer(status=299, reason="Own status", only=WIRED),
    "reason-stored": answer(("Cache-Control", "max-age=60"), reason="Kept", only=WIRED),
    "reason-empty": answer(reason="", only=("script",)),
    "trailers": answer(("Trailer", "X-Sum, X-More"), pieces=[b"one\n", b"two\n"], trailers=[("X-Sum", "abc"), ("X-More", "1"), ("X-More", "2")], only=WIRED),
    "trailers-no-store": answer(("Trailer", "X-Sum"), ("Cache-Control", "no-store"), pieces=[b"one\n"], trailers=[("X-Sum", "abc")], only=WIRED),
    "trailers-stored": answer(("Trailer", "X-Sum"), ("Cache-Control", "max-age=60"), pieces=[b"one\n"], trailers=[("X-Sum", "abc")], only=WIRED),
    "trailers-unnamed": answer(pieces=[b"one\n"], trailers=[("X-Sum", "abc")], only=("script",)),
    "trailers-of-nothing": answer(("Trailer", "X-Sum"), pieces=[], trailers=[("X-Sum", "abc")], only=WIRED),
    "trailers-grpc": answer(("Trailer", "Grpc-Status, Grpc-Message"), kind="application/grpc-web", pieces=[b"\0\0\0\0\5hello"], trailers=[("Grpc-Status", "0"), ("Grpc-Message", "")], only=WIRED),
    "early-hints": answer(early=[(103, [("Link", "</style.css>; rel=preload; as=style")])], only=WIRED),
    "early-hints-twice": answer(early=[(103, [("Link", "</a.css>; rel=preload"), ("Link", "</b.js>; rel=preload")]), (103, [("Link", "</c.css>; rel=preload"), ("X-Own", "1")])], only=WIRED),
    "early-hints-stored": answer(("Cache-Control", "max-age=60"), early=[(103, [("Link", "</s.css>; rel=preload")])], only=WIRED),
    "early-hints-404": answer(early=[(103, [("Link", "</s.css>; rel=preload")])], status=404, only=WIRED),
    "processing": answer(early=[(102, [])], only=WIRED),
    "processing-hints": answer(early=[(102, []), (103, [("Link", "</s.css>; rel=preload")])], only=WIRED),
    "early-unknown": answer(early=[(199, [("X-Early", "1")])], only=("script",)),
    "date-given": answer(("Date", PAST), only=WIRED),
    "date-given-stored": answer(("Date", PAST), ("Cache-Control", "max-age=60"), only=WIRED),
    "server-given": answer(("Server", "Vendor/1.0 (x; y)"), ("X-Powered-By", "PHP/4"), only=WIRED),
}


def wire(text, body=b"", **more):
    """An answer as bytes; the first line's fields follow as written."""
    return {"wire": text.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body, "only": ("script",), **more}


def chunk(data, extension=b""):
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


WIRE = {
    "http10": wire("HTTP/1.0 200 OK\nContent-Type: text/plain\n", b"until the end\n"),
    "http10-length": wire("HTTP/1.0 200 OK\nContent-Type: text/plain\nContent-Length: 4\n", b"four"),
    "http10-keep": wire("HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 4\n", b"four", stays=True),
    "close-delimited": wire("HTTP/1.1 200 OK\nContent-Type: text/plain\n", b"until the end\n" * 99),
    "close-delimited-stored": wire("HTTP/1.1 200 OK\nCache-Control: max-age=60\n", b"until the end\n"),
    "closing": wire("HTTP/1.1 200 OK\nContent-Length: 4\n", b"four"),
    "close-said": wire("HTTP/1.1 200 OK\nConnection: close\nContent-Length: 4\n", b"four"),
    "no-date": wire("HTTP/1.1 200 OK\nContent-Length: 4\n", b"four", stays=True),
    "no-fields": wire("HTTP/1.1 200 OK\n", b"all"),
    "no-reason-space": wire("HTTP/1.1 200\nContent-Length: 4\n", b"four", stays=True),
    "reason-latin-1": wire("HTTP/1.1 200 K\xe4se\nContent-Length: 4\n", b"four", stays=True),
    "reason-other": wire("HTTP/1.1 404 Weg damit\nContent-Length: 4\n", b"four", stays=True),
    "spaces-around": wire("HTTP/1.1 200 OK\nX-Space:   a b \t \nX-None:a\nContent-Length:4\n", b"four", stays=True),
    "length-twice": wire("HTTP/1.1 200 OK\nContent-Length: 4\nContent-Length: 4\n", b"four", stays=True),
    "chunk-extensions": wire("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", chunk(b"one", b";a=1") + chunk(b"two", b';b="x;y"') + b"0;c\r\n\r\n", stays=True),
    "chunk-zeros": wire("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\n", b"0003\r\none\r\n000\r\n\r\n", stays=True),
    "chunk-bytes": wire("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", b"".join(chunk(b"%c" % n) for n in BODY) + b"0\r\n\r\n", stays=True),
    "date-odd": wire("HTTP/1.1 200 OK\nDate: yesterday\nContent-Length: 4\n", b"four", stays=True),
    "date-rfc850": wire("HTTP/1.1 200 OK\nDate: Sunday, 06-Nov-94 08:49:37 GMT\nLast-Modified: Sun Nov  6 08:49:37 1994\nContent-Length: 4\n", b"four", stays=True),
    "folded": wire("HTTP/1.1 200 OK\nX-Folded: a\n  b\nContent-Length: 4\n", b"four", stays=True),
    "204-length": wire("HTTP/1.1 204 No Content\nContent-Length: 0\n", stays=True),
    "304-fields": wire('HTTP/1.1 304 Not Modified\nETag: "a"\nContent-Length: 99\nContent-Type: text/plain\nX-Own: 1\n', stays=True),
    "205-chunked": wire("HTTP/1.1 205 Reset Content\nTransfer-Encoding: chunked\n", b"0\r\n\r\n", stays=True),
    "continue-unasked": wire("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 4\n", b"four", stays=True),
    "cut-length": wire("HTTP/1.1 200 OK\nContent-Length: 100\n", b"cut"),
    "cut-chunks": wire("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", chunk(b"cut") + b"9\r\nhalf"),
    "cut-large": wire(f"HTTP/1.1 200 OK\nCache-Control: no-store\nContent-Length: {2 * len(LARGE)}\n", LARGE),
    "cut-large-chunks": wire("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", chunk(LARGE)),
    "status-999": wire("HTTP/1.1 999 Request denied\nContent-Length: 4\n", b"four", stays=True),
    "status-600": wire("HTTP/1.1 600 Odd\nContent-Length: 4\n", b"four", stays=True),
    "gzip-transfer": wire("HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n", chunk(gzip.compress(BODY, mtime=0)) + b"0\r\n\r\n", stays=True),
    "large-head": wire("HTTP/1.1 200 OK\n" + "".join(f"X-Field-{n}: {'v' * 200}\n" for n in range(90)) + "Content-Length: 4\n", b"four", stays=True),
    "bom-body": wire("HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 7\n", b"\xef\xbb\xbfhtml", stays=True),
    "etag-odd": wire("HTTP/1.1 200 OK\nETag: unquoted\nCache-Control: max-age=60\nContent-Length: 4\n", b"four", stays=True),
    "etag-latin-1": wire('HTTP/1.1 200 OK\nETag: "\xe4"\nCache-Control: max-age=60\nContent-Length: 4\n', b"four", stays=True),
    "cookie-odd": wire("HTTP/1.1 200 OK\nSet-Cookie: a=\xe4; Path=/\nSet-Cookie: =\nSet-Cookie: b\nContent-Length: 4\n", b"four", stays=True),
}

ANSWERS = {str(status): of_status(status) for status in STATUSES} | FRAMED | ENCODED | FIELDS | CACHED | EXACT | WIRE
# Of these larder may answer the second request from its store.
STORED = set(CACHED) | {"gzip-stored", "cookie-stored", "reason-stored", "trailers-stored", "early-hints-stored", "date-given-stored", "close-delimited-stored", "clear-site", "etag-odd", "etag-latin-1"}


def as_json():
    """For the origins that are processes of their own: bytes as text of one byte per character."""
    text = lambda value: value.decode("latin-1") if isinstance(value, bytes) else value
    return {
        name: {**{key: text(value) for key, value in given.items() if key != "pieces"}, **({"pieces": [text(piece) for piece in given["pieces"]]} if "pieces" in given else {})}
        for name, given in ANSWERS.items()
        if "wire" not in given
    }
