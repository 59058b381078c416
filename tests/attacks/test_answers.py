"""Hostile answers: what a partner's server or a hub may send back to us. Nothing counts but a proved reply with the right receipt in it."""

import asyncio
import contextlib
import gzip
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attacked_site
import pytest
import pytest_asyncio
from packets import ten_gigabytes
from soap_rig import Rig, build

from adapters.soap import payloads
from adapters.vxp import Account, Client
from bus import soap
from bus.endpoint import Adapter
from bus.errors import BusError, Deferred, Rejected
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.message import Message
from bus.octets import whole
from bus.receipt import Receipt, Status
from bus.signature import wss
from bus.signer import Signer
from bus.soap import SOAP_11
from sandbox.unit import read_signer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_SECONDS, MOST_GROWTH_MB, LEAST_FORGERIES = 5.0, 400, 25
_AWAY = """
  away: {soap: {url: "URL", partner: other, timeout: 500ms, security: {verify: wss-x509, sign: own/bus}}}
"""
MESSAGE = Message("our-message", {}, b"not edXML, and so sent as it is")
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n"


def framed(body: bytes, *headers: bytes, head: bytes = _OK) -> bytes:
    """An HTTP answer."""
    return head + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass
class Server:
    """Answers every request with the same octets, however false; then closes, or goes on as ``after`` says."""

    answer: bytes = b""
    after: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
    asked: list[bytes] = field(default_factory=list)
    url: str = ""

    def answers(self, octets: bytes, after: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None) -> None:
        """Answer so from now on, and forget what was asked."""
        self.answer, self.after, self.asked = octets, after, []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            self.asked.append(head + await reader.readexactly(int(length.partition(b":")[2])))
            writer.write(self.answer)
            await writer.drain()
            if self.after is not None:
                await self.after(writer)
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Server]:
    """A partner's server, wholly in the attacker's hands."""
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = "http://{}:{}/door".format(*listening.sockets[0].getsockname())
    yield made
    listening.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def away(server: Server, tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[tuple[Rig, Adapter]]:
    """A bus that pushes to it."""
    routes = attacked_site.ROUTES.replace("TLS", "none").replace("\nroutes:", _AWAY.replace("URL", server.url) + "routes:")
    routes = routes.replace(
        "from: shown, gate: [authorize: {sender: From/OrganId}], to: [{documents: To/OrganId}]", "from: shown, to: [away]"
    )
    rig = build(tmp_path_factory.mktemp("away"), certs, routes, attacked_site.ENVIRONMENT)
    yield rig, rig.endpoints["away"]
    await rig.endpoints["away"].stop()
    rig.store.close()


async def _endless(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1 << 20))
        await writer.drain()


async def _dripping(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _continuing(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        await writer.drain()
        await asyncio.sleep(0.01)


async def _silent(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


def _xml(inside: bytes) -> bytes:
    return framed(b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>' + inside + b"</s:Body></s:Envelope>")


def _answers() -> Iterator[tuple[str, bytes, Callable[[asyncio.StreamWriter], Awaitable[None]] | None]]:
    """Answers that are no reply, by name, and what comes after them."""
    laughs = b"".join(b'<!ENTITY l%d "%b">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 9))
    yield "nothing", b"", None
    yield "silence", b"", _silent
    yield "noise", bytes(range(256)) * 100, None
    yield "HTTP/0.9", b"<html/>", None
    yield "HTTP/3.7", b"HTTP/3.7 200 OK\r\n\r\n", None
    yield "continue for ever", b"", _continuing
    yield "a status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", None
    yield "a body without end", _OK + b"\r\n", _endless
    yield "a chunked body without end", _OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"fffffff\r\n", _endless
    yield "a body that drips", _OK + b"Content-Length: 1000000\r\n\r\n", _dripping
    yield "headers that drip", _OK + b"X-a: ", _dripping
    yield "headers without end", _OK + b"X-a: ", _endless
    yield "a body that is shorter than it says", _OK + b"Content-Length: 1000000\r\n\r\n<a/>", None
    yield "a body of 2^63", _OK + b"Content-Length: 9223372036854775808\r\n\r\n<a/>", None
    yield "a negative length", _OK + b"Content-Length: -1\r\n\r\n<a/>", None
    yield "two lengths", _OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n<a/>x", None
    yield "a length and a coding", _OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n<a/>\r\n0\r\n\r\n", None
    yield "100,000 headers", _OK + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)) + b"\r\n", None
    yield "a header of 2 MB", _OK + b"X-a: " + b"y" * (2 << 20) + b"\r\n\r\n", None
    for coding, made in (
        ("gzip", gzip.compress(b"<a/>")),
        ("deflate", ten_gigabytes()),
        ("br", b"x"),
        ("zstd", b"x"),
        ("gzip, gzip", b"x"),
    ):
        yield f"a body in {coding}", framed(made, f"Content-Encoding: {coding}".encode()), None
    yield "a page", framed(b"<html><body>OK</body></html>", head=b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"), None
    yield "JSON that explodes", framed(b"[" * 1_000_000, head=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"), None
    yield "a DOCTYPE", framed(b"<!DOCTYPE a><a/>"), None
    yield "a billion laughs", framed(b'<!DOCTYPE a [<!ENTITY l0 "ha">' + laughs + b"]><a>&l8;</a>"), None
    yield "depth 100,000", _xml(b"<a>" * 100_000 + b"</a>" * 100_000), None
    yield "300,000 elements", _xml(b"<a/>" * 300_000), None
    yield "500,000 attributes", _xml(b"<a" + b"".join(b' b%d=""' % n for n in range(500_000)) + b"/>"), None
    yield "UTF-7", framed('<?xml version="1.0" encoding="UTF-7"?><a/>'.encode("utf-7")), None
    yield "an unsigned reply", _xml(b"<a/>"), None
    yield "an unsigned fault", _xml(b"<s:Fault><faultcode>s:Client</faultcode><faultstring>no</faultstring></s:Fault>"), None
    yield "200 and no body", framed(b""), None
    yield "401", framed(b"", b'WWW-Authenticate: Basic realm="x"', head=b"HTTP/1.1 401 Unauthorized\r\n"), None
    yield "407", framed(b"", b'Proxy-Authenticate: Basic realm="x"', head=b"HTTP/1.1 407 Proxy\r\n"), None
    yield (
        "multipart without end",
        framed(b"--b\r\n\r\n", head=b'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary="b"\r\n'),
        None,
    )


ANSWERS = {words: (answer, after) for words, answer, after in _answers()}


async def judged(outcome: Awaitable[object]) -> str:
    """The code that the attempt ended with, or "taken"."""
    try:
        await outcome
    except BusError as error:
        return error.code
    return "taken"


@pytest.mark.parametrize("words", ANSWERS)
async def test_an_answer_that_proves_nothing_is_tried_again(away: tuple[Rig, Adapter], server: Server, words: str) -> None:
    """Never delivered, never refused for good: 4.x, in time and memory, and the next call is none the worse for it."""
    server.answers(*ANSWERS[words])
    began, size = time.monotonic(), _resident_mb()
    assert (await judged(away[1].send(MESSAGE)))[:2] == "4."
    assert time.monotonic() - began < MOST_SECONDS
    assert _resident_mb() - size < MOST_GROWTH_MB


@pytest.mark.parametrize("words", ANSWERS)
async def test_an_answer_of_a_hub_that_is_none_is_asked_for_again(server: Server, words: str) -> None:
    """The same for a hub's lists and files."""
    server.answers(*ANSWERS[words])
    client = Client(Account(server.url, "000.00.01.G14", "a-secret", timeout=timedelta(milliseconds=500)), name="hub", clock=_now)
    began, size = time.monotonic(), _resident_mb()
    try:
        assert (await judged(client.received("edoc")))[:2] == "4."
        if server.after is None:
            assert (await judged(client.fetch("x")))[:2] == "4."
    finally:
        await client.close()
    assert time.monotonic() - began < 2 * MOST_SECONDS
    assert _resident_mb() - size < MOST_GROWTH_MB
    assert all(b"a-secret" not in asked for asked in server.asked)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
@pytest.mark.parametrize("where", ["/elsewhere", "http://127.0.0.1:9/", "file:///etc/passwd", "//127.0.0.1:9/"])
async def test_a_redirect_is_not_followed(away: tuple[Rig, Adapter], server: Server, status: int, where: str) -> None:
    """Nobody leads a signed document, or a hub's secret, to another address: one request, and 4.x."""
    server.answers(framed(b"", f"Location: {where}".encode(), head=b"HTTP/1.1 %d Moved\r\n" % status))
    assert (await judged(away[1].send(MESSAGE)))[:2] == "4."
    client = Client(Account(server.url, "000.00.01.G14", "a-secret"), name="hub", clock=_now)
    assert (await judged(client.received("edoc")))[:2] == "4."
    await client.close()
    assert len(server.asked) == 2


async def test_cookies_are_not_kept(away: tuple[Rig, Adapter], server: Server) -> None:
    """A partner cannot mark us, nor fill our memory one cookie at a time."""
    server.answers(framed(b"<a/>", b"Connection: close", b"Set-Cookie: a=b; Path=/"))
    for _ in range(2):
        await judged(away[1].send(MESSAGE))
    assert len(server.asked) == 2
    assert b"cookie" not in server.asked[1].lower().partition(b"\r\n\r\n")[0]


# --- receipts ---------------------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


def _receipt(**changed: object) -> Receipt:
    right = Receipt(
        id="0190",
        message_id=MESSAGE.id,
        document_id="",
        sender="000.00.00.G14",
        recipient="000.00.00.G18",
        status=Status.ACCEPTED,
        code="2.0.0",
        reasons={"vi": "Đã nhận.", "en": "Accepted."},
        at=_now(),
        digest=MESSAGE.digest,
        previous="0" * 64,
    )
    return replace(right, **changed)  # type: ignore[arg-type]


def _sealed(signer: Signer, **changed: object) -> bytes:
    return Evidence(signer, lambda _certificate: True, _now).seal(_receipt(**changed))


def _reply(receipts: list[bytes], signer: Signer | None, at: datetime | None = None) -> bytes:
    envelope = whole(soap.envelope(SOAP_11, payloads.receipts_reply("SendDocument", receipts)))
    return framed(wss.sign(envelope, signer, at or _now()) if signer else envelope)


@pytest.fixture(scope="module")
def signers(certs: Path) -> dict[str, Signer]:
    """Everybody's keys, ours included: the forger may have seen anything that anybody signed."""
    named = {name: read_signer(certs / "development" / name) for name in ("unit", "other", "thief")}
    stranger = Keyring.load(certs / "development" / "stranger", {}).signer("own/system")
    return named | {"stranger": stranger, "us": Keyring.load(certs, {}).signer("own/bus")}


async def test_the_right_receipt_is_taken(away: tuple[Rig, Adapter], server: Server, signers: dict[str, Signer]) -> None:
    """What the forgeries are made of would have been good."""
    other = signers["other"]
    server.answers(_reply([_sealed(other)], other))
    assert await judged(away[1].send(MESSAGE)) == "taken"


async def test_a_forged_or_foreign_receipt_ends_nothing(away: tuple[Rig, Adapter], server: Server, signers: dict[str, Signer]) -> None:
    """By an outsider, by an insider, replayed, altered, doubled or wrapped: 4.x, and the message is still owed."""
    other = signers["other"]
    good, foreign = _sealed(other), _sealed(other, message_id="another-message")
    forgeries = {
        **{f"an envelope of {who}": _reply([good], signer) for who, signer in signers.items() if who != "other"},
        **{f"a receipt of {who}": _reply([_sealed(signer)], other) for who, signer in signers.items() if who != "other"},
        **{f"an unsigned envelope, a receipt of {who}": _reply([_sealed(signer)], None) for who, signer in signers.items()},
        "for another message": _reply([foreign], other),
        "for another content": _reply([_sealed(other, digest="0" * 64)], other),
        "for no content": _reply([_sealed(other, digest="")], other),
        "an id in another case": _reply([_sealed(other, message_id=MESSAGE.id.upper())], other),
        "no receipt": _reply([], other),
        "two receipts": _reply([good, good], other),
        "two receipts, one foreign": _reply([foreign, good], other),
        "an unsigned receipt": _reply([good[: good.index(b"<ds:Signature")] + b"</Receipt>"], other),
        "an altered status": _reply([good.replace(b"ACCEPTED", b"DELIVERED")], other),
        "an altered message": _reply([foreign.replace(b"another-message", MESSAGE.id.encode())], other),
        "a receipt in a receipt": _reply([good[: good.index(b"<ds:Signature")] + good + b"</Receipt>"], other),
        "a second status before": _reply([good.replace(b"<Status>", b"<Status>CONFIRMED</Status><Status>", 1)], other),
        "a stale envelope": _reply([good], other, _now() - timedelta(hours=2)),
        "an envelope of tomorrow": _reply([good], other, _now() + timedelta(days=1)),
    }
    wrong = []
    for words, answer in forgeries.items():
        server.answers(answer)
        code = await judged(away[1].send(MESSAGE))
        if not code.startswith("4."):
            wrong.append(f"{words}: {code}")
    assert wrong == []
    assert len(forgeries) >= LEAST_FORGERIES


async def test_a_refusal_counts_only_when_the_partner_signed_it(
    away: tuple[Rig, Adapter], server: Server, signers: dict[str, Signer]
) -> None:
    """A negative receipt ends a message for good, so nobody else's does."""
    other = signers["other"]
    server.answers(_reply([_sealed(other, status=Status.REJECTED, code="5.6.3")], other))
    with pytest.raises(Rejected):
        await away[1].send(MESSAGE)
    for who in ("unit", "thief", "stranger", "us"):
        server.answers(_reply([_sealed(signers[who], status=Status.REJECTED, code="5.6.3")], other))
        with pytest.raises(Deferred):
            await away[1].send(MESSAGE)


def _resident_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
