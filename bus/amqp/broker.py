"""Broker: where to connect, as whom, and what a failure there is called."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import kombu
from amqp.exceptions import AccessRefused, NotAllowed

from bus.errors import BusError, Deferred

#: A connection on which nothing was heard for two of these, in seconds, is dead.
HEARTBEAT: Final = 10.0
#: Most time to wait for a broker's confirm; to connect, a few seconds are enough.
PATIENCE: Final = 30.0
_CONNECT: Final = 5.0
#: How long a farewell may take.
_FAREWELL: Final = 2.0


def check_url(url: str) -> str:
    """``url``, if it is one or several (``;``) AMQP addresses. Raises ValueError, which does not show it: it holds a password."""
    for one in url.split(";"):
        try:
            parts = urlsplit(one)
            good = parts.scheme in {"amqp", "amqps"} and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ValueError("not an AMQP address: write amqp://user:password@host:5672/vhost, or amqps:// for TLS; several joined by ';'")
    return url


@dataclass(frozen=True, slots=True)
class Broker:
    """``url``: one address, or several nodes of one cluster joined by ``;``, which are tried in turn.

    ``name`` stands for the broker in reasons, and for us in the broker's list of connections. ``anchors`` (DER) replace the system's
    TLS authorities where there are any.
    """

    url: str = field(repr=False)
    name: str
    anchors: Sequence[bytes] = ()
    heartbeat: float = HEARTBEAT
    patience: float = PATIENCE

    def connect(self, attempt: int, **callbacks: Callable[..., None]) -> Any:
        """A new connection, py-amqp's, to the node whose turn it is at this ``attempt``; ``callbacks``: on_blocked, on_unblocked."""
        urls = self.url.split(";")
        parts = urlsplit(urls[attempt % len(urls)])
        secure = parts.scheme == "amqps"
        connection = kombu.Connection(
            hostname=parts.hostname,
            port=parts.port or (5671 if secure else 5672),
            userid=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            virtual_host=unquote(parts.path.removeprefix("/")) or "/",
            transport="pyamqp",
            ssl=self._tls(parts) if secure else False,
            heartbeat=self.heartbeat,
            connect_timeout=min(self.patience, _CONNECT),
            transport_options={
                "client_properties": {"connection_name": self.name},
                # py-amqp's own second would end connections that are only slow.
                "socket_settings": {socket.TCP_USER_TIMEOUT: int(self.heartbeat * 2000)},
                **callbacks,
            },
        )
        # Not kombu's own (re)connecting: each of our sessions must know that it begins anew.
        return connection.transport.establish_connection()

    def _tls(self, parts: SplitResult) -> dict[str, object]:
        trusted = "".join(ssl.DER_cert_to_PEM_cert(anchor) for anchor in self.anchors) or None
        return {"server_hostname": parts.hostname, "context": {"check_hostname": True, "cadata": trusted}}

    def failure(self, error: Exception) -> BusError:
        """``error``, in our words."""
        if isinstance(error, BusError):
            return error
        detail = f"{type(error).__name__} {getattr(error, 'reply_text', None) or error}".strip()
        denied = isinstance(error, AccessRefused | NotAllowed)
        return Deferred("partner-credentials" if denied else "partner-unreachable", target=self.name, detail=detail)

    def postponed(self, detail: str) -> Deferred:
        """The broker is there, and does not take it now."""
        return Deferred("partner-postponed", target=self.name, detail=detail)


def part(link: Any, *, orderly: bool) -> None:
    """Let go of a connection; with a farewell only where the other side is expected to hear it."""
    if orderly:
        with contextlib.suppress(Exception), link.transport.having_timeout(_FAREWELL):
            link.close()
    with contextlib.suppress(Exception):
        link.collect()
