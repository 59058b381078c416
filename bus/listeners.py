"""Listeners and the servers behind them: sockets made before any fork, and uvicorn with its signals left to the daemon.

The partners' server (``Doors``) says when the daemon is ready; the operators' (``Server``) says nothing. Raises CannotListen.
"""

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import structlog
import uvicorn

from bus import http, log, operators
from bus.errors import text
from bus.http import ClientCertificateProtocol

_log = structlog.get_logger()


class CannotListen(Exception):
    """The address is taken, or not ours; the text is the system's reason."""


class OperatorsCannotListen(CannotListen):
    """The same for the operators' listener; the text begins with its address."""


class Server(uvicorn.Server):
    """uvicorn, with its signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the daemon handles them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup([])
        self.servers = [await http.listen(self, listener) for listener in sockets or ()]


class Doors(Server):
    """The partners' listener, whose start is the daemon's.

    ``settled``  waits for a reload that was asked for meanwhile: it is done before anybody is told that the daemon is there
    ``ready``    is called when it listens
    """

    url = ""
    operators_url = ""

    def __init__(self, settings: uvicorn.Config, settled: Callable[[], Awaitable[None]], ready: Callable[[], None]) -> None:
        super().__init__(settings)
        self._settled = settled
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await self._settled()
        # A server that is told to end before it began has nothing to listen with.
        await super().startup([] if self.should_exit else sockets)
        if not self.should_exit:
            _log.info(log.READY, url=self.url, operators_url=self.operators_url, pid=os.getpid())
            self._ready()


#: What both servers are told.
COMMON: Final[Mapping[str, Any]] = {
    "http": ClientCertificateProtocol,
    "loop": "uvloop",
    "lifespan": "off",
    "ws": "none",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    # X-Forwarded-* is whatever a client says it is.
    "proxy_headers": False,
    "timeout_keep_alive": 30,
}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before any fork so that all workers share it. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CannotListen(error.strerror or str(error)) from error
    listener.listen(1024)
    listener.set_inheritable(True)
    return listener


def listen_for_operators(wish: str | None) -> socket.socket | None:
    """The operators' listener, or None where it is off. Raises NoAddress, OperatorsCannotListen."""
    address = operators.Address.read(operators.USUAL if wish is None else wish)
    if address is None:
        return None
    try:
        listener = listen(address.host, address.port)
    except CannotListen as error:
        if wish is not None or not operators.is_taken(error.__cause__):
            raise OperatorsCannotListen(f"{address}: {error}") from error
        listener = listen(address.host, 0)
        _log.warning(log.OPERATORS_ELSEWHERE, wanted=str(address), url=operators.url(listener))
    if not address.guarded:
        _log.warning(log.OPERATORS_EXPOSED, address=str(address), en=text("operators-exposed", "en"), vi=text("operators-exposed", "vi"))
    return listener
