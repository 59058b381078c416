"""An offer of HTTP/2 is passed over: the request is answered in HTTP/1.1, its body read whole, and the connection goes on."""

import itertools
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import attacked_site
import pytest

from bus.soap import SOAP_11
from sandbox.process import BusProcess

#: What Java's HttpClient and ``curl --http2`` send over plain HTTP.
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
OTHER_OFFERS = (
    b"connection: keep-alive, upgrade\r\nUPGRADE: H2C\r\n",
    b"Connection: Upgrade\r\nConnection: HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n",
    b"Connection: upgrade\r\nUpgrade: TLS/1.2, h2c\r\n",
    b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    b"Upgrade: h2c\r\n",
)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"content-length: (\d+)\r\n")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attacked_site.certificates(tmp_path_factory.mktemp("keys") / "certs")


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[BusProcess]:
    site = attacked_site.write(tmp_path_factory.mktemp("offered") / "site", keys, tls=False)
    with BusProcess(site, environment=attacked_site.ENVIRONMENT) as process:
        yield process


@pytest.fixture(scope="module")
def fresh(keys: Path) -> Callable[[], bytes]:
    forger, numbers = attacked_site.forger(keys), itertools.count(1)
    return lambda: forger.signed(SOAP_11, "ours", next(numbers))


def head(line: bytes, *fields: bytes) -> bytes:
    return line + b"\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n" + b"".join(fields) + b"\r\n"


def post(body: bytes, *fields: bytes, chunked: bool = False) -> bytes:
    line = b"POST /soap/documents HTTP/1.1"
    if not chunked:
        return head(line, *fields, b"Content-Length: %d\r\n" % len(body)) + body
    half = len(body) // 2
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:], b""))
    return head(line, *fields, b"Transfer-Encoding: chunked\r\n") + pieces


def replies(bus: BusProcess, octets: bytes, count: int, piece: int = 1 << 20) -> list[tuple[int, bytes]]:
    """Status and body of the first ``count`` replies to what is sent over one connection, ``piece`` octets at a time; fewer at its end."""
    address, got, found = urlsplit(bus.url), b"", []
    with closing(socket.create_connection((address.hostname or "", address.port or 0), timeout=20)) as channel:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(octets), piece):
            channel.sendall(octets[begin : begin + piece])
        while len(found) < count and (more := channel.recv(1 << 16)):
            got = (got + more).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            while (reply := _first(got)) is not None:
                got = got[reply[2] :]
                found.append(reply[:2])
    return found


def _first(got: bytes) -> tuple[int, bytes, int] | None:
    length, status, end = _LENGTH.search(got), _STATUS.match(got), got.find(b"\r\n\r\n") + 4
    if status is None or length is None or end < 4 or len(got) < end + int(length[1]):
        return None
    return int(status[1]), got[end : end + int(length[1])], end + int(length[1])


def accepted(bus: BusProcess) -> int:
    with sqlite3.connect(bus.site / "data" / "bus.db") as store:
        return int(store.execute("SELECT count(*) FROM messages").fetchone()[0])


@pytest.mark.parametrize("offer", [OFFER, *OTHER_OFFERS])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_behind_an_offer_is_read_whole(bus: BusProcess, fresh: Callable[[], bytes], offer: bytes, chunked: bool) -> None:
    """A signed document is accepted with the offer as without, and the next two requests on the connection are answered."""
    before = accepted(bus)
    octets = post(fresh(), offer, chunked=chunked) + head(b"GET /healthz HTTP/1.1", offer) + post(fresh(), offer, chunked=chunked)
    answers = replies(bus, octets, 3)
    assert [status for status, _ in answers] == [200, 200, 200]
    assert accepted(bus) == before + 2


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/soap/documents?wsdl", "/nothing"])
def test_any_path_is_answered_as_without_the_offer(bus: BusProcess, path: str) -> None:
    """Health, contract and 404 are the same with the offer and without."""
    line = f"GET {path} HTTP/1.1".encode()
    assert replies(bus, head(line, OFFER), 1) == replies(bus, head(line), 1) != []


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_offer_may_come_in_pieces(bus: BusProcess, fresh: Callable[[], bytes], piece: int) -> None:
    """Where the network cuts the head or the body makes no difference."""
    octets = post(fresh(), OFFER, b"Expect: 100-continue\r\n" if piece == 1000 else b"")
    assert [status for status, _ in replies(bus, octets, 1, piece)] == [200]


def test_what_the_connection_field_says_beside_the_offer_counts(bus: BusProcess) -> None:
    """`Connection: close` beside the offer closes; HTTP/1.0 is answered, too."""
    offer = OFFER.replace(b"Connection: Upgrade", b"Connection: close, Upgrade")
    assert [status for status, _ in replies(bus, head(b"GET /healthz HTTP/1.1", offer), 2)] == [200]
    assert [status for status, _ in replies(bus, head(b"GET /healthz HTTP/1.0", OFFER), 2)] == [200]


ATTACKS = {
    "a tunnel": head(b"CONNECT localhost:443 HTTP/1.1", OFFER),
    "a WebSocket": head(b"GET /healthz HTTP/1.1", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "a WebSocket in the list": head(b"GET /healthz HTTP/1.1", b"Connection: Upgrade\r\nUpgrade: h2c, websocket/13\r\n"),
    "a second offer of a WebSocket": head(b"GET /healthz HTTP/1.1", OFFER, b"Upgrade: websocket\r\n"),
    "two lengths": head(b"POST /soap/documents HTTP/1.1", OFFER, b"Content-Length: 3\r\nContent-Length: 30\r\n") + b"abc",
    "a length and chunks": head(b"POST /soap/documents HTTP/1.1", OFFER, b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")
    + b"0\r\n\r\n",
    "chunks by half": head(b"POST /soap/documents HTTP/1.1", OFFER, b"Transfer-Encoding: chunked, identity\r\n") + b"0\r\n\r\n",
    "a coding by a bare carriage return": head(b"POST /healthz HTTP/1.1", OFFER, b"X: a\rTransfer-Encoding: chunked\r\n"),
    "a folded offer": head(b"GET /healthz HTTP/1.1", b"Connection: Upgrade\r\nUpgrade: h2c\r\n X: y\r\n"),
    "no Host": head(b"GET /healthz HTTP/1.1", OFFER).replace(b"Host: localhost\r\n", b""),
    "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "HTTP/2 by prior knowledge behind an offer": head(b"PRI * HTTP/2.0", OFFER) + b"SM\r\n\r\n",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_offer_opens_no_other_way(bus: BusProcess, name: str) -> None:
    """Each is one 400 and the end of the connection: what is sent behind it is no request."""
    smuggled = head(b"GET /healthz HTTP/1.1")
    assert [status for status, _ in replies(bus, ATTACKS[name] + smuggled, 2)] == [400]


def test_the_preface_behind_an_offer_is_no_request(bus: BusProcess) -> None:
    """A client that takes the offer for accepted is answered its first request, then told no."""
    octets = head(b"GET /healthz HTTP/1.1", OFFER) + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9) + head(b"GET /healthz HTTP/1.1")
    assert [status for status, _ in replies(bus, octets, 3)] == [200, 400] or [status for status, _ in replies(bus, octets, 3)] == [400]


def test_many_offers_at_once_are_answered(bus: BusProcess) -> None:
    """A thousand requests in one packet, each with the offer, are a thousand answers."""
    answers = replies(bus, head(b"GET /healthz HTTP/1.1", OFFER) * 1000, 1000)
    assert [status for status, _ in answers] == [200] * 1000


def test_a_body_that_looks_like_a_request_is_a_body(bus: BusProcess) -> None:
    """What lies within Content-Length is never read as the next request."""
    inner = head(b"GET /readyz HTTP/1.1")
    answers = replies(bus, post(inner, OFFER) + head(b"GET /healthz HTTP/1.1", b"Connection: close\r\n"), 3)
    assert [status for status, _ in answers] == [500, 200]
