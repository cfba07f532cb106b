"""All flows."""

from .commands import commands
from .large import large
from .sockets import websockets
from .streams import connections, streams, uploads


def flows():
    return [*streams(), *uploads(), *connections(), *commands(), *large(), *websockets()]
