"""What `tests/real/transparency` is made of, in the order of an exchange.

`calls` says what a client asks; `clients` and `wire` ask it; `servers` starts what answers (`asgi.py`, `node.mjs`,
`script.py`, `files.py` and what others wrote); `seen` says what came, and what differs; `rows` is the table of exchanges;
`flows` are those that one table row cannot tell: streams, large bodies, WebSockets.
"""
