"""What `tests/real/transparency` is made of, in the order of an exchange.

`calls` says what a client asks; `clients` (with `client.mjs`) and `wire` ask it; `servers` starts what answers, which is
ours (`script.py`, `node.mjs`, `asgi.py`, `files.py`, `echo.py`; `answers` has what they say) or of others; `seen` and
`echoed` say what came, and what differs; `rows` is the table of exchanges; `flows` are those that no row can tell:
`streams`, `commands`, `large` bodies, WebSocket `sockets`, each a `flow`.
"""
