"""The HTTP edge: an ASGI application that bounds what comes in, finds the door, and hands it one ``Request``.

It promises: no body over the limit is ever held, no client can hold a connection open without sending, bytes in flight are bounded
(beyond that: 4.3.2 and ``Retry-After``), and the client's TLS certificate reaches the door (uvicorn does not do that; see
``ClientCertificateProtocol``). Health and metrics live here; protocols live in the adapters.
"""

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bus import log, metrics, points
from bus.endpoint import Door, Request, Response
from bus.errors import BusError, Deferred, Rejected

#: A request body over this is refused: 50 MB of files, as base64, and some room (three client systems of the exchange allow 50 MB).
MOST_BODY = 96 * 1024 * 1024
#: All bodies at the door together. A message in flight costs 4-5 times its size.
MOST_IN_FLIGHT = 256 * 1024 * 1024
#: Silence of a client in mid-body, seconds.
MOST_SILENCE = 30.0

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
#: Names the part that is not well, or returns {} when all is.
Health = Callable[[], Awaitable[Mapping[str, str]]]
#: Brings the gauges up to date before they are read.
Measure = Callable[[], Awaitable[None]]

_log = structlog.get_logger()
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


class ClientCertificateProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, plus the peer's certificate (DER) in ``scope["extensions"]["tls"]``.

    No Python ASGI server exposes it (uvicorn pull requests 1119, 3132, 3133 are open), hence the subclass and the pinned version.
    """

    def shutdown(self) -> None:
        """End an idle connection at once: a polite TLS farewell waits for peers that never answer it."""
        idle = self.cycle is None or self.cycle.response_complete
        super().shutdown()
        if idle:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request's scope as uvicorn does, then add what the TLS layer knows."""
        super().on_message_begin()
        tls = self.transport.get_extra_info("ssl_object")
        if tls is not None:
            extensions = self.scope.setdefault("extensions", {})
            extensions["tls"] = {"client_certificate": tls.getpeercert(binary_form=True)}


class _Gone(Exception):
    """The client went away, or fell silent, in mid-body."""


class Application:
    """The ASGI application. ``doors`` are (path prefix, door); the longest prefix wins."""

    def __init__(
        self,
        doors: Iterable[tuple[str, Door]],
        health: Health,
        ready: Health,
        measure: Measure,
        warnings: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._probes = {"/healthz": health, "/readyz": ready}
        self._measure = measure
        self._warnings = warnings
        self._in_flight = 0
        self.replace_doors(doors)

    def replace_doors(self, doors: Iterable[tuple[str, Door]]) -> None:
        """Swap all doors at once (reload)."""
        self._doors: Sequence[tuple[str, Door]] = sorted(doors, key=lambda door: -len(door[0]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        door = next((door for prefix, door in self._doors if path == prefix or path.startswith(prefix + "/")), None)
        if door is None:
            await _reply(send, await self._own_page(scope["method"], path))
            return
        held = 0
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            body, refusal, held = await self._body(receive, headers)
            points.reach("edge.received")
            answer = await self._answer(door, _request(scope, headers, body, refusal))
            points.reach("edge.answering")
            await _reply(send, answer, close=refusal is not None)
            points.reach("edge.answered")
        except _Gone:
            await _reply(send, Response(408, "text/plain", b"The request body did not arrive.\n"), close=True)
        finally:
            self._hold(-held)

    @staticmethod
    async def _answer(door: Door, request: Request) -> Response:
        try:
            return await door(request)
        except Exception:  # noqa: BLE001 - the edge always answers
            # Doors turn every failure into their protocol's fault; what arrives here is a bug in a door.
            _log.exception(log.UNEXPECTED, path=request.path)
            return Response(500, "text/plain", b"Internal error.\n")

    async def _body(self, receive: Receive, headers: Mapping[str, str]) -> tuple[bytes, BusError | None, int]:
        """The whole body, or why not; and how many bytes the caller must let go of afterwards."""
        chunks: list[bytes] = []
        size = 0
        refusal = self._refusal(int(headers.get("content-length", "0") or "0"))
        more = True
        while more:
            event = await _next(receive)
            chunk: bytes = event.get("body", b"")
            more = event.get("more_body", False)
            size += len(chunk)
            refusal = refusal or self._refusal(size)
            if refusal is not None:
                # Read on for a while without keeping: a client that is still sending would never see the answer.
                chunks.clear()
                if size > 2 * MOST_BODY:
                    break
            else:
                chunks.append(chunk)
        if refusal is not None:
            return b"", refusal, 0
        self._hold(size)
        return (chunks[0] if len(chunks) == 1 else b"".join(chunks)), None, size

    def _refusal(self, size: int) -> BusError | None:
        if size > MOST_BODY:
            return Rejected("xml-limit", limit="bytes", value=size, most=MOST_BODY)
        if self._in_flight + size > MOST_IN_FLIGHT:
            return Deferred("bus-busy", retry_after=5.0)
        return None

    def _hold(self, size: int) -> None:
        self._in_flight += size
        metrics.BYTES_IN_FLIGHT.set(self._in_flight)

    async def _own_page(self, method: str, path: str) -> Response:
        if method not in {"GET", "HEAD"}:
            return Response(404, "text/plain", b"No such endpoint.\n")
        if path == "/metrics":
            await self._measure()
            return Response(200, "text/plain; version=0.0.4; charset=utf-8", metrics.text())
        probe = self._probes.get(path)
        if probe is None:
            return Response(404, "text/plain", b"No such page.\n")
        unwell, warnings = dict(await probe()), dict(self._warnings())
        body = {"status": "unwell" if unwell else "ok", "parts": unwell, "warnings": warnings}
        body = {name: value for name, value in body.items() if value}
        return Response(503 if unwell else 200, "application/json", orjson.dumps(body) + b"\n")


def _request(scope: Scope, headers: dict[str, str], body: bytes, refusal: BusError | None) -> Request:
    host = headers.get("host", "")
    if not _HOST.fullmatch(host):
        # An unusable Host header must not be reflected into the WSDL's address.
        address, port = scope["server"]
        host = f"[{address}]:{port}" if _is_ipv6(address) else f"{address}:{port}"
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
        base_url=f"{scope['scheme']}://{host}",
        peer_certificate=scope.get("extensions", {}).get("tls", {}).get("client_certificate"),
        refusal=refusal,
    )


def _is_ipv6(address: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(address), ipaddress.IPv6Address)
    except ValueError:
        return False


async def _next(receive: Receive) -> dict[str, Any]:
    try:
        async with asyncio.timeout(MOST_SILENCE):
            event = await receive()
    except TimeoutError as error:
        raise _Gone from error
    if event["type"] == "http.disconnect":
        raise _Gone
    return event


async def _reply(send: Send, response: Response, *, close: bool = False) -> None:
    headers = [
        (b"content-type", response.content_type.encode("latin-1")),
        (b"content-length", str(len(response.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def tls_context(certificate: Path, key: Path, client_anchors: Sequence[bytes] = ()) -> ssl.SSLContext:
    """TLS 1.2 and up with our certificate; with ``client_anchors`` (DER) a client may show a certificate issued by one of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_anchors:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata="".join(ssl.DER_cert_to_PEM_cert(anchor) for anchor in client_anchors))
    return context
