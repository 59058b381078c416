"""The floor's HTTPS: uvicorn with a trivial application in a process of its own, aiohttp against it, keep-alive, many at once.

One exchange gives two figures: what the server's process pays for a request (the door), and what the client's pays (the sending).
"""

import asyncio
import multiprocessing
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import uvloop

from bench import accounting

CONCURRENCY = 16


def _serve(listener: socket.socket, certificate: Path, key: Path, reply: bytes) -> None:
    headers = [(b"content-type", b"text/xml; charset=utf-8"), (b"content-length", str(len(reply)).encode())]

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    config = uvicorn.Config(
        application, loop="uvloop", http="httptools", lifespan="off", ws="none", log_config=None, access_log=False,
        ssl_certfile=str(certificate), ssl_keyfile=str(key),
    )  # fmt: skip
    uvloop.run(uvicorn.Server(config).serve(sockets=[listener]))


@contextmanager
def server(certificate: Path, key: Path, reply: bytes) -> Iterator[tuple[str, int]]:
    """A running server: its address and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, certificate, key, reply), daemon=True)
        process.start()
        assert process.pid is not None
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}/", process.pid
        finally:
            process.terminate()
            process.join()


def exchange(url: str, pid: int, authority: Path, body: bytes, messages: int) -> tuple[float, float]:
    """Post ``body`` ``messages`` times; CPU milliseconds a message of the server and of the client."""
    return uvloop.run(_exchange(url, pid, ssl.create_default_context(cafile=authority), body, messages))


async def _exchange(url: str, pid: int, tls: ssl.SSLContext, body: bytes, messages: int) -> tuple[float, float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=CONCURRENCY)) as session:

        async def post(times: int) -> None:
            for _ in range(times):
                async with session.post(url, data=body, headers={"Content-Type": "text/xml; charset=utf-8"}) as response:
                    await response.read()

        # The first round opens the connections.
        await asyncio.gather(*(post(4) for _ in range(CONCURRENCY)))
        theirs, ours = accounting.cpu_seconds(pid), time.process_time()
        await asyncio.gather(*(post(messages // CONCURRENCY) for _ in range(CONCURRENCY)))
        done = messages // CONCURRENCY * CONCURRENCY
        return (accounting.cpu_seconds(pid) - theirs) * 1000 / done, (time.process_time() - ours) * 1000 / done
