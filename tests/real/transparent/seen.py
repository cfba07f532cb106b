"""Seen: what a client got and what an origin was asked, and what differs between two of them.

Nothing here opens a socket. What RFC 9110 and 9111 let a gateway add or change is left out of the comparison, each with
its section beside it; everything else has to be the same, byte by byte, in the order within a name.
"""

import dataclasses
import email.utils
import re
import time

# A gateway speaks for itself on its own connection (RFC 9110 7.6.1).
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
# What larder adds to an answer: RFC 9110 7.6.3, RFC 9111 5.1, RFC 9211, RFC 9209.
ADDED_TO_ANSWERS = {"via", "age", "cache-status", "proxy-status", "x-request-id"}
# What it adds to a request; `Host` is the origin's own in the strict profile. `TE` and the fields of an upgrade to HTTP/2
# are about the connection.
ADDED_TO_REQUESTS = {"via", "x-request-id", "host", "te", "http2-settings"}
# Of a 304 or 206 from the store these have to be as in the whole answer (RFC 9110 15.4.5, 15.3.7).
PROMISED = {"date", "etag", "vary", "cache-control", "expires", "content-location", "content-range", "set-cookie"}
CONDITIONS = {"if-none-match", "if-modified-since", "if-range", "range"}
DATE_SLACK_SECS = 5


@dataclasses.dataclass
class Seen:
    """An answer as a client sees it. Names of fields are in lower case; values are text of one byte per character."""

    status: int = 0
    reason: str | None = None
    fields: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    trailers: list | None = None
    # (status, fields) of each 1xx before it; None where the client does not tell.
    informational: list | None = None
    # (status, Location) of what was followed.
    hops: list = dataclasses.field(default_factory=list)
    # Why there is no whole answer.
    error: str | None = None
    # Of the body as it came, where `body` was changed for the comparison.
    length: int | None = None

    def values(self, name):
        return [value for field, value in self.fields if field == name]


@dataclasses.dataclass
class Asked:
    """A request as an origin sees it."""

    method: str
    target: str
    fields: list
    body: str
    body_bytes: int
    trailers: list | None = None


def by_name(fields):
    grouped = {}
    for name, value in fields or ():
        # White space around a value is none of it (RFC 9110 5.5); some clients show it.
        grouped.setdefault(name.lower(), []).append(value.strip(" \t"))
    return grouped


def differences(direct, through, from_store=False, ignore=(), expects=True):
    """What is not the same in two answers, as lines.

    `from_store`: the second may come from a cache. `expects`: the client asked for a 100; else it is to be discarded, and
    nobody need pass it on (RFC 9110 15.2.1).
    """
    if direct.error or through.error:
        return errors(direct, through)
    found = []
    if direct.status != through.status:
        found.append(f"status {direct.status} -> {through.status}")
    is_ours = from_store and direct.status in (206, 304, 416)  # of what was stored with another status, and its reason
    if direct.reason is not None and through.reason is not None and direct.reason != through.reason and not is_ours:
        found.append(f"reason {direct.reason!r} -> {through.reason!r}")
    if direct.hops != through.hops:
        found.append(f"hops {direct.hops} -> {through.hops}")
    if direct.informational is not None and through.informational is not None and not from_store:
        one, other = (early(seen, expects) for seen in (direct, through))
        if one != other:
            found.append(f"1xx {brief(one)} -> {brief(other)}")
    ignore = set(ignore)
    if from_store and direct.status == through.status == 416:
        # Whoever answers says so in words of its own; how long the whole is, is what RFC 9110 15.5.17 wants said.
        one, other = (seen.values("content-range") for seen in (direct, through))
        return found + ([] if one == other else [f"content-range {one} -> {other}"])
    parts = [parts_of(seen) for seen in (direct, through)]
    if None not in parts:
        # RFC 9110 14.6 leaves the lines between the parts to whoever answers.
        ignore |= {"content-length", "content-type"}
        found += [] if parts[0] == parts[1] else [f"parts {brief(parts[0])} -> {brief(parts[1])}"]
    partly = from_store and direct.status in (206, 304)
    found += field_differences(direct, through, from_store, partly, ignore)
    if None in parts and direct.body != through.body:
        found.append(f"body {digest_of(direct.body)} -> {digest_of(through.body)}")
    if direct.trailers is not None and through.trailers is not None and by_name(direct.trailers) != by_name(through.trailers):
        found.append(f"trailers {direct.trailers} -> {through.trailers}")
    return found


def early(seen, expects):
    """The 1xx; a 100 says no more than that (RFC 9110 10.1.1 has each hop answer for itself)."""
    return [(status, by_name(fields) if status != 100 else {}) for status, fields in seen.informational if expects or status != 100]


def errors(direct, through):
    if bool(direct.error) != bool(through.error):
        return [f"error {direct.error} (status {direct.status}) -> {through.error} (status {through.status}, {digest_of(through.body)})"]
    return [] if direct.status == through.status else [f"status before the error {direct.status} -> {through.status}"]


def field_differences(direct, through, from_store, partly, ignore):
    before, after = by_name(direct.fields), by_name(through.fields)
    nominated = {name.strip().lower() for value in before.get("connection", ()) for name in value.split(",")}
    found = []
    for name in sorted({*before, *after} - HOP_BY_HOP - nominated - ignore):
        old, new = before.get(name), after.get(name)
        if name in ADDED_TO_ANSWERS:
            if old is not None and not is_added_to(name, old, new):
                found.append(f"{name} {old} -> {new}")
        elif name == "content-length":
            if not is_same_length(direct, through, old, new, from_store):
                found.append(f"content-length {old} -> {new}")
        elif name == "date":
            if not is_same_date(old, new, from_store):
                found.append(f"date {old} -> {new}")
        elif name == "trailer" and old is None:
            continue  # RFC 9110 6.6.2 wants said which trailers come
        elif name == "expires" and is_same_lifetime(before, after):
            continue
        elif partly and (old is None or name not in PROMISED):
            # May be left out or added, but not be another one.
            if new is not None and old is not None and new != old:
                found.append(f"{name} {old} -> {new}")
        elif old != new:
            found.append(f"{name} {brief(old)} -> {brief(new)}")
    return found


def is_added_to(name, old, new):
    """Whether `new` still says what `old` said. Lists grow at their end; an age grows."""
    joined = ", ".join(new or ())
    if name == "age":
        ages = (old[0].strip(), joined)
        return all(age.isdigit() for age in ages) and 0 <= int(joined) - int(ages[0]) <= DATE_SLACK_SECS
    if name == "x-request-id":
        return True  # the gateway's own (its documentation says so)
    return joined.startswith(", ".join(old))


def is_same_length(direct, through, old, new, from_store):
    """A body of unknown length may get one, not the other way round (RFC 9112 6.3)."""
    if direct.status in (204, 304) and new is None:
        return True  # RFC 9110 8.6: it must not be in the one, and may be in the other
    if old is None:
        # What is stored has a length also where nothing of it is sent: HEAD, 304.
        is_known = from_store and direct.status != 204 and not through.body and len(new) == 1 and new[0].isdigit()
        return is_known or new == ["right"] or new == [str(len(through.body) if through.length is None else through.length)]
    return old == new or (new == old[:1] and len(set(old)) == 1)  # RFC 9110 8.6: once is enough


def is_same_date(old, new, from_store):
    if old is None:
        return new is not None and len(new) == 1 and seconds_from_now(new[0]) <= DATE_SLACK_SECS  # RFC 9110 6.6.1
    if old == new:
        return True
    if new is None or len(new) != 1 or len(old) != 1:
        return False
    moments = [moment(value[0]) for value in (old, new)]
    if None in moments:
        return False
    slack = 60 if from_store else DATE_SLACK_SECS
    return abs(moments[0] - moments[1]) <= slack and abs(moments[0] - time.time()) <= 60


def is_same_lifetime(before, after):
    """An origin may count `Expires` from now."""
    spans = []
    for fields in (before, after):
        moments = [moment(fields.get(name, [""])[0]) for name in ("date", "expires")]
        if None in moments:
            return False
        spans.append(moments[1] - moments[0])
    return abs(spans[0] - spans[1]) <= 1


def parts_of(seen):
    """Of a `multipart/byteranges`: range, type and bytes of each part; `None` of anything else."""
    boundary = re.fullmatch(r'multipart/byteranges;\s*boundary="?([^"]*)"?', "".join(seen.values("content-type")))
    if not boundary:
        return None
    parts = []
    for part in (b"\r\n" + seen.body.lstrip(b"\r\n")).split(b"\r\n--" + boundary[1].encode("latin-1"))[1:-1]:
        head, _, body = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        fields = by_name([line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line])
        parts.append((fields.get("content-range"), fields.get("content-type"), body))
    return parts


def moment(text):
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None


def seconds_from_now(text):
    when = moment(text)
    return float("inf") if when is None else abs(when - time.time())


def asked_differences(direct, through, http2=False):
    """What is not the same in what an origin was asked, as lines. `http2`: the second client spoke HTTP/2."""
    if len(direct) != len(through):
        return [f"origin saw {len(direct)} request(s) -> {len(through)}"]
    found = []
    for n, (one, other) in enumerate(zip(direct, through)):
        # Once something is stored, a cache asks with conditions of its own (RFC 9111 4.3.1), and for what it has not.
        ignore = CONDITIONS if n and one.method in ("GET", "HEAD") else set()
        found += [f"origin: {line}" for line in one_asked(one, other, ignore, http2)]
    return found


def one_asked(one, other, ignore, http2):
    if one.method != other.method:
        yield f"method {one.method!r} -> {other.method!r}"
    # RFC 9112 3.2.1: what goes to an origin is in origin-form.
    if in_origin_form(one.target) != other.target:
        yield f"target {one.target!r} -> {other.target!r}"
    before, after = by_name(one.fields), by_name(other.fields)
    for name in sorted({*before, *after} - HOP_BY_HOP - ignore):
        old, new = before.get(name), after.get(name)
        if name in ADDED_TO_REQUESTS:
            # What a client sent itself is kept, or added to.
            if old is not None and name in ("via", "x-request-id") and not ", ".join(new or ()).startswith(", ".join(old)):
                yield f"{name} {old} -> {new}"
        elif name == "cookie" and http2:
            # In HTTP/2 it may be in pieces, which nobody else may see (RFC 9113 8.2.3).
            if new != ["; ".join(old or ())]:
                yield f"cookie {old} -> {new}"
        elif name == "content-length" and old is None:
            # Chunks whose number is known may be counted; nothing else may be said of no body.
            if new != [str(other.body_bytes)]:
                yield f"content-length {old} -> {new}"
        elif name == "content-length" and new is None and old == ["0"] and one.method not in ("POST", "PUT", "PATCH"):
            pass  # the same: RFC 9110 8.6 has it said only where a method is expected to have content
        elif old != new:
            yield f"{name} {brief(old)} -> {brief(new)}"
    if (one.body, one.body_bytes) != (other.body, other.body_bytes):
        yield f"body {one.body_bytes} B {one.body[:8]} -> {other.body_bytes} B {other.body[:8]}"
    if one.trailers is not None and other.trailers is not None and by_name(one.trailers) != by_name(other.trailers):
        yield f"trailers {one.trailers} -> {other.trailers}"


def in_origin_form(target):
    return re.sub(r"^http://[^/]*", "", target)


def brief(value, length=160):
    text = repr(value) if not isinstance(value, Seen) else f"{value.status} {value.fields}"
    return text if len(text) <= length else f"{text[:length]}… ({len(text)})"


def digest_of(body):
    return f"{len(body)} B {brief(body, 60)}"
