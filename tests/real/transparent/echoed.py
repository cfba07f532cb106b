"""Bodies that show what was asked: without what a gateway adds to a request or keeps from it.

httpbin shows the fields of a request as JSON, packed where that is asked for. A body without them is compared as JSON, and
a length that was right counts as the same.
"""

import gzip
import json
import zlib

from .seen import ADDED_TO_REQUESTS, HOP_BY_HOP


def without_gateway(seen):
    body = unpacked(seen.body, seen.values("content-encoding"))
    try:
        lines = [json.loads(line) for line in (body.splitlines() if body.count(b"\n{") else [body])]
    except ValueError:
        return
    if not any(isinstance(line, dict) and "headers" in line for line in lines):
        return
    for line in lines:
        line["headers"] = {name: value for name, value in line["headers"].items() if name.lower() not in (ADDED_TO_REQUESTS | HOP_BY_HOP)}
    was_right = seen.values("content-length") == [str(len(seen.body))]
    # A client that decodes has no body of that length to compare.
    if was_right or seen.values("content-encoding"):
        seen.fields = [(name, "right" if name == "content-length" else value) for name, value in seen.fields]
    seen.body = "\n".join(json.dumps(line) for line in lines).encode()


def unpacked(body, codings):
    try:
        if codings == ["gzip"]:
            return gzip.decompress(body)
        if codings == ["deflate"]:
            return zlib.decompress(body)
        if codings == ["br"]:
            import brotlicffi  # comes with httpbin

            return brotlicffi.decompress(body)
    except Exception:  # the client has decoded it, or it is broken: compared as it is
        pass
    return body
