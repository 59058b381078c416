"""The HTTP edge with one door, on a loopback socket, for tests that hold its connections in their own hands."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from bus import http, listeners
from bus.endpoint import Door, Response

Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@contextlib.asynccontextmanager
async def edge(door: Door, scratch: Path, **settings: Any) -> AsyncIterator[Dial]:
    """Serves ``door`` at /door, as the daemon does; what is given opens connections to it, which are all ended with it."""

    async def well() -> Response:
        return Response(200, "application/json", b"{}\n")

    application = http.Application([("/door", door)], {"/healthz": well}, scratch=scratch)
    protocol = {"http": http.ClientCertificateProtocol, "lifespan": "off", "ws": "none", "log_config": None, "access_log": False}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = listeners.Server(uvicorn.Config(application, **protocol, **settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        writers: list[asyncio.StreamWriter] = []

        async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writers.append(writer)
            return reader, writer

        yield dial
        for writer in writers:
            writer.transport.abort()
        server.should_exit = True
        await serving


async def ended(reader: asyncio.StreamReader, seconds: float = 10.0) -> bytes:
    """What still comes until the other side ends the connection, politely or not."""
    got = bytearray()
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionError):
            while octets := await reader.read(1 << 20):
                got += octets
    return bytes(got)
