"""The WebSocket echo, by the websockets package, on the port of its argument.

`/echo` sends back what it gets; `/close` closes with a code once it got something; `/who` tells what it was asked;
`/no` answers 403; `/plain` answers an ordinary 200; `/first` speaks first.
"""

import asyncio
import http
import json
import sys

from websockets.asyncio.server import serve


async def talk(connection):
    path = connection.request.path.split("?")[0]
    if path == "/who":
        fields = [(name.lower(), value) for name, value in connection.request.headers.raw_items()]
        await connection.send(json.dumps({"target": connection.request.path, "fields": fields}))
    elif path == "/first":
        await connection.send("first")
    async for message in connection:
        if path == "/close":
            return await connection.close(4002, "enough")
        await connection.send(message)


def plain(connection, request):
    if request.path.startswith("/no"):
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
    if request.path.startswith("/plain"):
        return connection.respond(http.HTTPStatus.OK, "not a socket\n")
    return None


def spoken(connection, offered):
    return next((name for name in ("echo", "chat") if name in offered), None)


async def main():
    async with serve(talk, "127.0.0.1", int(sys.argv[1]), process_request=plain, select_subprotocol=spoken, max_size=1 << 24) as server:
        await server.serve_forever()


asyncio.run(main())
