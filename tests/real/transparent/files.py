"""aiohttp's file server, on the port and for the folder of its arguments."""

import sys

from aiohttp import web

app = web.Application()
app.add_routes([web.static("/", sys.argv[2], show_index=False)])
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
