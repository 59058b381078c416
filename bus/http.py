"""The HTTP edge: an ASGI application that bounds what comes in, finds the door, and hands it one ``Request``.

It promises: heads and bodies are bounded, each and together (``bus.sources``; ``bus.arriving``, beyond which the answer is 4.3.2 and
``Retry-After``), no client can hold a connection open without sending or reading, connections are bounded and the one that idles longest
makes room, and the client's TLS certificate reaches the door (uvicorn does neither; see ``ClientCertificateProtocol``).
A request that could mean two things to two readers, or that speaks more of HTTP than we do, is refused before any door sees it.
Pages of the daemon itself (``bus.health``) are open to whoever can reach the port; protocols live in the adapters.

Standards: RFC 9112 (HTTP/1.1) sections 2.3, 3.2, 6.1, 6.3; RFC 9110 sections 7.8 (Upgrade), 8.4 (Content-Encoding), 10.1.1 (Expect).
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
import uvicorn
from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from bus import log, points, upgrade
from bus.arriving import MOST_SILENCE, Arrival, Gone, Receive, Space, linger
from bus.endpoint import Door, Page, Request, Response
from bus.errors import BusError
from bus.octets import streamed
from bus.offload import act_for
from bus.sources import HEADS, MOST_FIELDS, source_of

#: Octets of a request's line and headers together. VXP names up to 10 000 receivers there, twice.
MOST_HEADERS = 1 << 20
#: Connections of one process: a hundred systems with twenty each, and 200 MB of TLS state at most.
MOST_CONNECTIONS = 2048
#: Time for a TLS handshake, seconds. uvicorn leaves it at a minute.
MOST_HANDSHAKE = 10.0

_ABORT = "govbus.abort"

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_log = structlog.get_logger()
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


class _Parser(HttpRequestParser):
    """llhttp. Where it stops, because another protocol was offered, a new one begins again with the head without the offer."""

    def __init__(self, protocol: "ClientCertificateProtocol") -> None:
        super().__init__(protocol)
        self._protocol = protocol
        # As uvicorn sets its own: a first request that says `close` may be answered although more was sent behind it.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn feeds bytes
        """Read on, whatever is offered."""
        parser = self
        while data:
            try:
                HttpRequestParser.feed_data(parser, data)
            except HttpParserUpgrade as offered:
                data = self._protocol.declined() + data[offered.args[0] :]
                # Not the same one: it remembers a `Connection: close`.
                parser = self._protocol.parser = _Parser(self._protocol)
            else:
                return


class ClientCertificateProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, plus the peer's certificate (DER) in ``scope["extensions"]["tls"]``, and bounds for heads and connections.

    No Python ASGI server exposes the certificate (uvicorn pull requests 1119, 3132, 3133 are open), and uvicorn waits for the end of a
    request's headers for ever, however many come: hence the subclass and the pinned version.
    """

    _header_timer: asyncio.TimerHandle | None = None
    _header_octets = 0
    _in_headers = False
    _head_held = 0
    _framing = 0
    _worked: RequestResponseCycle | None = None
    _offered = False
    source = ""
    shows_certificate = False
    quiet_since = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request; beyond MOST_CONNECTIONS, the connection that idles longest makes room."""
        super().connection_made(transport)
        self.source = source_of(self.client[0] if self.client else "")
        tls = transport.get_extra_info("ssl_object")
        self.shows_certificate = tls is not None and bool(tls.getpeercert(binary_form=True))
        self.quiet_since = self.loop.time()
        self._await_headers()
        if len(self.connections) > MOST_CONNECTIONS:
            self._making_room().transport.abort()

    def _making_room(self) -> "ClientCertificateProtocol":
        """The connection that goes: without a request, else with one that is still coming, else this one. Strangers' before partners'.

        Of these one of the address that has most of them, and of those the one over which nothing came for longest.
        """
        others = [other for other in self.connections if isinstance(other, ClientCertificateProtocol) and other is not self]
        each = Counter(other.source for other in others)
        waiting = [other for other in others if other.idle] or [other for other in others if other.incoming] or [self]
        return min(waiting, key=lambda other: (other.shows_certificate, -each[other.source], other.quiet_since))

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and tell the request that is worked, too: uvicorn tells the last one of a pipeline only."""
        self._end_wait()
        self._hold_head(0)
        if self._worked is not None and not self._worked.response_complete:
            self._worked.disconnected = True
            self._worked.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound the headers; nearly always all of them come at once, and no timer is needed."""
        self._framing += len(data)
        self.quiet_since = self.loop.time()
        super().data_received(data)
        if not (self._in_headers or self.cycle is None or self.cycle.response_complete):
            self._end_wait()
            if self._framing > MOST_HEADERS:
                # Sizes of chunks, and fields behind the last one, but nothing of a body.
                self.transport.abort()
            return
        if self._header_timer is None:
            self._await_headers()
        self._header_octets += len(data)
        self._hold_head(self._header_octets)
        if self._header_octets > MOST_HEADERS:
            self.transport.abort()

    def _hold_head(self, octets: int) -> None:
        """Count the octets of the head in hand; a large one that is too much for all, or for its address, ends the connection."""
        fits = HEADS.fits(self.source, self._head_held, octets)
        self._head_held = octets
        if not fits:
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field more. Raises, and so answers 400, for one too many."""
        if len(self.headers) >= MOST_FIELDS:
            raise ValueError("too many header fields")
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Something of the body came."""
        self._framing = 0
        super().on_body(body)

    @property
    def idle(self) -> bool:
        """Whether no request is in hand."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def incoming(self) -> bool:
        """Whether the request in hand is not there whole yet."""
        return self.cycle is not None and self.cycle.more_body

    def on_headers_complete(self) -> None:
        """The application begins to read, and bounds what follows. Raises, and so answers 400, for a tunnel or a WebSocket."""
        self._in_headers = False
        self._hold_head(sum(len(name) + len(value) for name, value in self.headers))
        self._offered = self.parser.should_upgrade()
        if not self._offered:
            super().on_headers_complete()
        elif upgrade.is_refused(self.parser.get_method(), self.headers):
            raise ValueError("another protocol is asked for")

    def on_message_complete(self) -> None:
        """A head with an offer is no request yet: it comes again without one."""
        if not self._offered:
            super().on_message_complete()

    def declined(self) -> bytes:
        """The head that was read last, without its offer of another protocol."""
        self._offered = False
        return upgrade.without_offer(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._worked = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """From here on the connection idles, unless another request came already."""
        self.quiet_since = self.loop.time()
        self._hold_head(0)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that nothing came over; abort, for a client that does not read would keep a polite close waiting."""
        self.transport.abort()

    def _await_headers(self) -> None:
        self._header_octets = 0
        self._header_timer = self.loop.call_later(MOST_SILENCE, self.transport.abort)

    def _end_wait(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def shutdown(self) -> None:
        """End an idle connection at once: a polite TLS farewell waits for peers that never answer it."""
        idle = self.idle
        super().shutdown()
        if idle:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request's scope as uvicorn does, then add what the TLS layer knows."""
        super().on_message_begin()
        self._in_headers = True
        # ASGI knows no way to give up on a client in mid-reply but to wait for it.
        extensions = self.scope["extensions"] = {_ABORT: self.transport.abort}  # type: ignore[dict-item]
        tls = self.transport.get_extra_info("ssl_object")
        if tls is not None:
            extensions["tls"] = {"client_certificate": tls.getpeercert(binary_form=True)}


class _Unread(Exception):
    """The client does not read what it asked for."""


class Application:
    """The ASGI application. ``doors`` are (path prefix, door); the longest prefix wins."""

    def __init__(
        self,
        doors: Iterable[tuple[str, Door]],
        pages: Mapping[str, Page],
        scratch: Path | None = None,
        whose: Callable[[bytes], str] = lambda _certificate: "",
    ) -> None:
        """``pages``: the daemon's own, by path. ``scratch``: directory for bodies that are still coming in; the system's by default.

        ``whose``: the partner that a client's certificate (DER) proves, or "".
        """
        self._pages = pages
        self._whose = whose
        self._space = Space(scratch)
        self.replace_doors(doors)

    def replace_doors(self, doors: Iterable[tuple[str, Door]]) -> None:
        """Swap all doors at once (reload)."""
        self._doors: Sequence[tuple[str, Door]] = sorted(doors, key=lambda door: -len(door[0]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        arrival = self._arrival(scope)
        try:
            await self._answered(scope, receive, send, arrival)
        except Gone:
            await _reply(send, Response(408, "text/plain", b"The request body did not arrive.\n"), close=True)
        except _Unread:
            scope["extensions"][_ABORT]()
            await receive()
        finally:
            arrival.end()

    def _arrival(self, scope: Scope) -> Arrival:
        """Room for a request's body; from here on its task acts for whoever the connection shows: a partner, or an address."""
        certificate = scope.get("extensions", {}).get("tls", {}).get("client_certificate")
        partner = self._whose(certificate) if certificate else ""
        name = partner or source_of(str((scope.get("client") or ("",))[0]))
        act_for(name, known=bool(partner))
        return Arrival(self._space, name, known=bool(partner))

    async def _answered(self, scope: Scope, receive: Receive, send: Send, arrival: Arrival) -> None:
        refusal = next(_objections(scope), None)
        if refusal is not None:
            await _reply(send, refusal, close=True, then=partial(linger, receive))
            return
        path: str = scope["path"]
        door = next((door for prefix, door in self._doors if path == prefix or path.startswith(prefix + "/")), None)
        if door is None:
            await _reply(send, await self._own_page(scope["method"], path))
        else:
            await self._through(door, scope, receive, send, arrival)

    async def _through(self, door: Door, scope: Scope, receive: Receive, send: Send, arrival: Arrival) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body, refusal = b"", None
        try:
            body = await arrival.body(receive, int(headers.get("content-length", "0") or "0"))
        except BusError as error:
            refusal = error
            arrival.end()
        points.reach("edge.received")
        answer = await self._answer(door, _request(scope, headers, body, refusal))
        points.reach("edge.answering")
        if refusal is None:
            await _reply(send, answer)
        else:
            await _reply(send, answer, close=True, then=partial(linger, receive))
        points.reach("edge.answered")

    @staticmethod
    async def _answer(door: Door, request: Request) -> Response:
        try:
            return await door(request)
        except Exception:  # noqa: BLE001 - the edge always answers
            # Doors turn every failure into their protocol's fault; what arrives here is a bug in a door.
            _log.exception(log.UNEXPECTED, path=request.path)
            return Response(500, "text/plain", b"Internal error.\n")

    async def _own_page(self, method: str, path: str) -> Response:
        if method not in {"GET", "HEAD"}:
            return Response(404, "text/plain", b"No such endpoint.\n")
        page = self._pages.get(path)
        return Response(404, "text/plain", b"No such page.\n") if page is None else await page()


#: Header fields that two readers of the same request might choose differently from, if there were two of them.
_ONCE = (b"host", b"content-length", b"content-type", b"content-encoding", b"transfer-encoding", b"soapaction", b"expect")
#: A header field, the only values of it that we understand (in lower case), and the answer to any other.
_UNDERSTOOD: tuple[tuple[bytes, frozenset[bytes], int, bytes], ...] = (
    (b"transfer-encoding", frozenset({b"chunked"}), 501, b"Transfer-Encoding must be chunked and nothing else."),
    (b"content-encoding", frozenset({b"", b"identity"}), 415, b"A compressed body is not read here; send it as it is."),
    (b"expect", frozenset({b"100-continue"}), 417, b"Expect must be 100-continue."),
)


def _objections(scope: Scope) -> Iterator[Response]:
    """Why no door may see a request: its head is ambiguous, or asks for what we do not do. The first one is the answer."""
    version, values, found = scope["http_version"], dict(scope["headers"]), Counter(name for name, _ in scope["headers"])
    if version not in {"1.0", "1.1"}:
        yield _plain(505, b"This is an HTTP/1.1 server.")
    if quote(scope["path"]).lower() != scope["raw_path"].decode("ascii").lower():
        # One spelling a door: a filter before us that reads "%2f" as it stands must not be got round by it.
        yield _plain(404, b"No such page.")
    for name in _ONCE:
        if found[name] > 1:
            yield _plain(400, name + b" must not be repeated.")
    if version == "1.1" and b"host" not in found:
        yield _plain(400, b"A Host header is needed.")
    if version == "1.0" and b"transfer-encoding" in found:
        yield _plain(400, b"HTTP/1.0 has no Transfer-Encoding.")
    for name, understood, status, words in _UNDERSTOOD:
        if name in values and values[name].strip().lower() not in understood:
            yield _plain(status, words)


def _plain(status: int, words: bytes) -> Response:
    return Response(status, "text/plain", words + b"\n")


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


async def _reply(send: Send, response: Response, *, close: bool = False, then: Callable[[], Awaitable[None]] | None = None) -> None:
    """Send the response; ``then``: what to wait for, once it is sent, before the connection is closed. Raises _Unread."""
    headers = [
        (b"content-type", response.content_type.encode("latin-1")),
        (b"content-length", str(len(response.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await _read(send({"type": "http.response.start", "status": response.status, "headers": headers}))
    if isinstance(response.body, bytes) and then is None:
        await _read(send({"type": "http.response.body", "body": response.body}))
        return
    async for chunk in streamed(response.body):
        await _read(send({"type": "http.response.body", "body": chunk, "more_body": True}))
    if then is not None:
        await then()
    await _read(send({"type": "http.response.body", "body": b""}))


async def _read(sending: Awaitable[None]) -> None:
    """Send, which waits for the client to read what it was sent before: on a used connection from the very first octet on."""
    try:
        async with asyncio.timeout(MOST_SILENCE):
            await sending
    except TimeoutError as error:
        raise _Unread from error


async def listen(server: uvicorn.Server, listener: socket.socket) -> asyncio.Server:
    """Take the connections of ``listener`` for a server that has started; who begins TLS and falls silent is let go."""
    config, made = server.config, {"server_state": server.server_state, "app_state": server.lifespan.state}
    protocol: Callable[[], asyncio.Protocol] = partial(ClientCertificateProtocol, config=config, **made)
    return await asyncio.get_running_loop().create_server(
        protocol,
        sock=listener,
        ssl=config.ssl,
        backlog=config.backlog,
        ssl_handshake_timeout=MOST_HANDSHAKE if config.ssl else None,
    )


def tls_context(certificate: Path, key: Path, client_anchors: Sequence[bytes] = ()) -> ssl.SSLContext:
    """TLS 1.2 and up with our certificate; with ``client_anchors`` (DER) a client may show a certificate issued by one of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    present(context, certificate, key, client_anchors)
    return context


def present(context: ssl.SSLContext, certificate: Path, key: Path, client_anchors: Sequence[bytes] = ()) -> None:
    """From the next handshake on, show this certificate and know these authorities too; who a client is, is decided at its door."""
    context.load_cert_chain(certificate, key)
    if client_anchors:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata="".join(ssl.DER_cert_to_PEM_cert(anchor) for anchor in client_anchors))
