"""The calling side against real sockets: a second bus that answers well, and partners that answer badly."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from soap_rig import OTHER, UNIT, Rig, document, now, until

from adapters.soap.adapter import Adapter
from bus import soap
from bus.endpoint import Pending, Request
from bus.errors import BusError, Deferred, Rejected
from bus.message import Message
from bus.octets import whole
from bus.receipt import Status
from bus.signature import wss
from bus.soap import SOAP_11, SOAP_12
from sandbox.unit import Unit

Serve = Callable[..., Awaitable[str]]

#: The ministry's bus calls partner ``other`` at PARTNER_URL.
CALLER = """\
site: {organisation: 000.00.00.G14, name: Bộ Thông tin và Truyền thông}
partners:
  other: {codes: [000.00.00.G18], trust: trust/other}
endpoints:
  documents: {soap: {path: /soap/documents, security: {verify: wss-x509, sign: own/bus}}}
  agency: {soap: {url: "env:PARTNER_URL", partner: other, timeout: 2s, security: {verify: wss-x509, sign: own/bus}}}
routes:
  - {name: documents, from: documents, to: [agency]}
"""


@pytest.fixture
async def agency(make_rig: Callable[..., Rig]) -> AsyncIterator[Callable[[str], Adapter]]:
    """The calling endpoint, pointed at an address."""
    made: list[tuple[Rig, Adapter]] = []

    def point(url: str) -> Adapter:
        rig = make_rig(CALLER, environment={"PARTNER_URL": url})
        adapter = rig.endpoints["agency"]
        made.append((rig, adapter))  # type: ignore[arg-type]
        return adapter  # type: ignore[return-value]

    yield point
    for rig, adapter in made:
        await adapter.stop()
        rig.store.close()


def message(body: bytes | None = None) -> Message:
    return Message("0190-message", {"kind": "document"}, body or document())


def door_of(rig: Rig, endpoint: str = "documents") -> Callable[[web.Request], Awaitable[web.Response]]:
    """A bus's door behind a socket."""

    async def handle(request: web.Request) -> web.Response:
        ((path, door),) = rig.endpoints[endpoint].doors()
        headers = {name.lower(): value for name, value in request.headers.items()}
        response = await door(Request(request.method, path, request.query_string, headers, await request.read(), "https://b"))
        return web.Response(
            status=response.status, body=whole(response.body), headers={"Content-Type": response.content_type, **dict(response.headers)}
        )

    return handle


def as_other(certs: Path) -> None:
    """Turn a site's keys around: it is ``other`` now, and its partner ``unit`` is the ministry."""
    shutil.copy(certs / "own" / "ca.crt", certs / "trust" / "unit" / "ca.crt")
    for suffix in ("key", "crt"):
        shutil.copy(certs / "development" / "other" / f"system.{suffix}", certs / "own" / f"bus.{suffix}")


@pytest.fixture
async def partner(make_rig: Callable[..., Rig]) -> AsyncIterator[Rig]:
    """The partner's own bus, running."""
    made = make_rig(arrange=as_other)
    await made.engine.start()
    yield made
    await made.engine.stop(grace=1)
    made.store.close()


async def attempt(
    agency: Callable[[str], Adapter], serve: Serve, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> BusError:
    """What sending to that handler raises."""
    with pytest.raises((Rejected, Deferred)) as raised:
        await agency(await serve(handler)).send(message())
    return raised.value


def answer(
    status: int, body: bytes | str, content_type: str = "text/xml", **headers: str
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_request: web.Request) -> web.Response:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(status=status, body=data, headers={"Content-Type": content_type, **headers})

    return handle


FAULT = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault><faultcode>e:{}</faultcode>'
    "<faultstring>because</faultstring>{}</e:Fault></e:Body></e:Envelope>"
)
OURS = '<detail><f:Fault xmlns:f="urn:govbus:fault:v1"><f:Code>{}</f:Code></f:Fault></detail>'


@pytest.mark.parametrize(
    ("handler", "key", "retry_after"),
    [
        (answer(200, "<html>maintenance</html>", "text/html"), "partner-error", None),
        (answer(200, ""), "partner-error", None),
        (answer(202, "", "text/plain"), "partner-error", None),
        (answer(302, "", "text/plain", Location="/elsewhere"), "partner-error", None),
        (answer(404, "no", "text/plain"), "partner-error", None),
        (answer(503, "busy", "text/html", **{"Retry-After": "120"}), "partner-busy", 120.0),
        (answer(429, "", "text/plain", **{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), "partner-busy", None),
        (answer(502, "", "text/html"), "partner-busy", None),
        (answer(500, FAULT.format("Server", "")), "partner-postponed", None),
        (answer(500, FAULT.format("Client", "")), "partner-refused", None),
        (answer(200, FAULT.format("Client", "")), "partner-refused", None),
        (answer(500, FAULT.format("Client", OURS.format("4.3.1")), **{"Retry-After": "7"}), "partner-postponed", 7.0),
        (answer(500, FAULT.format("Server", OURS.format("5.6.3"))), "partner-refused", None),
        (answer(200, soap.envelope(SOAP_11, b"<x:SendDocumentResponse xmlns:x='urn:govbus:exchange:v1'/>")), "partner-error", None),
    ],
)
async def test_every_bad_answer_means_later_or_never(
    agency: Callable[[str], Adapter],
    serve: Serve,
    handler: Callable[[web.Request], Awaitable[web.Response]],
    key: str,
    retry_after: float | None,
) -> None:
    """HTML with 200, unsigned replies, busy servers, faults of every kind."""
    error = await attempt(agency, serve, handler)
    assert (error.key, getattr(error, "retry_after", None)) == (key, retry_after)


async def test_nobody_there_is_unreachable(agency: Callable[[str], Adapter]) -> None:
    """No listener on the port."""
    with pytest.raises(Deferred) as raised:
        await agency("https://127.0.0.1:1/soap").send(message())
    assert raised.value.key == "partner-unreachable"


async def test_a_partner_that_never_answers_is_given_up_in_time(agency: Callable[[str], Adapter], serve: Serve) -> None:
    """It takes the connection and stays silent."""
    gone = asyncio.Event()

    async def silent(_request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    error = await attempt(agency, serve, silent)
    gone.set()
    assert error.key == "partner-unreachable"


async def test_a_server_with_a_certificate_of_someone_else_is_not_talked_to(agency: Callable[[str], Adapter], serve: Serve) -> None:
    """Only the partner's own anchors are trusted for its TLS."""
    heard: list[web.Request] = []

    async def impostor(request: web.Request) -> web.Response:
        heard.append(request)
        return web.Response()

    with pytest.raises(Deferred) as raised:
        await agency(await serve(impostor, "development/unit")).send(message())
    assert (raised.value.key, heard) == ("partner-unreachable", [])


async def test_an_unsigned_fault_over_plain_http_is_not_believed(agency: Callable[[str], Adapter], serve: Serve) -> None:
    """Anyone on the way could have put it there and ended the delivery for good."""
    url = await serve(answer(500, FAULT.format("Client", "")), tls=False)
    with pytest.raises(Deferred) as raised:
        await agency(url).send(message())
    assert raised.value.key == "partner-error"


@pytest.mark.parametrize("who", ["unit", "other"])
async def test_a_reply_without_a_receipt_or_by_someone_else_proves_nothing(
    agency: Callable[[str], Adapter], serve: Serve, make_rig: Callable[..., Rig], who: str
) -> None:
    """The signature must be the partner's, and the receipt there."""
    rig = make_rig()
    signer = rig.other if who == "other" else rig.unit
    reply = wss.sign(soap.envelope(SOAP_11, b"<x:SendDocumentResponse xmlns:x='urn:govbus:exchange:v1'/>"), signer, now())
    error = await attempt(agency, serve, answer(200, reply))
    rig.store.close()
    assert error.key == "partner-error"


# --- a partner that is a bus too ---------------------------------------------------------------------------------------


async def test_a_document_pushed_to_another_bus_comes_back_with_its_receipt(
    agency: Callable[[str], Adapter], serve: Serve, partner: Rig
) -> None:
    """The digest in the partner's receipt is that of what left; a retry is the same message there."""
    adapter = agency(await serve(door_of(partner)))
    first = await adapter.send(message())
    assert first.digest == hashlib.sha256(document()).hexdigest()
    assert b"0190-message" in first.reply
    again = await adapter.send(message())
    assert (again.digest, len(await _waiting(partner))) == (first.digest, 1)


@pytest.mark.parametrize("namespace", ["urn:govbus:exchange:v1", SOAP_11.namespace])
@pytest.mark.parametrize("prefix", ["x", "soap"])
async def test_a_document_may_repeat_what_its_envelope_declares(
    agency: Callable[[str], Adapter], serve: Serve, partner: Rig, prefix: str, namespace: str
) -> None:
    """The signature holds, and what arrives is what left, whether or not the envelope has the same prefix and namespace in scope."""
    foreign = f'<edXML:edXMLBody><{prefix}:y xmlns:{prefix}="{namespace}"></{prefix}:y>'
    body = document().replace(b"<edXML:edXMLBody>", foreign.encode())
    sent = await agency(await serve(door_of(partner))).send(message(body))
    assert sent.digest == hashlib.sha256(body).hexdigest()


async def _waiting(partner: Rig) -> list[Pending]:
    async def waiting() -> list[Pending]:
        return list(await partner.engine.pending("other", 10))

    return await until(waiting)


async def test_what_is_not_edxml_travels_as_content_and_the_refusal_is_final(
    agency: Callable[[str], Adapter], serve: Serve, partner: Rig
) -> None:
    """The partner's code says that it will never take it."""
    with pytest.raises(Rejected, match=r"5\.6\.3") as raised:
        await agency(await serve(door_of(partner))).send(message(b"<report/>"))
    assert raised.value.key == "partner-refused"


async def test_a_receipt_for_another_message_proves_nothing(agency: Callable[[str], Adapter], serve: Serve, partner: Rig) -> None:
    """A genuine reply, replayed to the next message."""
    genuine = door_of(partner)
    replies: list[web.Response] = []

    async def replaying(request: web.Request) -> web.Response:
        if not replies:
            replies.append(await genuine(request))
        return web.Response(status=200, body=replies[0].body, headers={"Content-Type": replies[0].headers["Content-Type"]})

    adapter = agency(await serve(replaying))
    await adapter.send(message())
    with pytest.raises(Deferred, match="another message"):
        await adapter.send(message(document(2)))


async def test_a_literal_payload_is_the_message_itself(make_rig: Callable[..., Rig], serve: Serve) -> None:
    """For partners with a contract of their own: any proved reply that is no fault is a delivery."""
    seen: list[soap.Envelope] = []
    rig = make_rig()

    async def own_contract(request: web.Request) -> web.Response:
        seen.append(soap.read(await request.read(), request.headers["Content-Type"]))
        reply = wss.sign(soap.envelope(SOAP_12, b"<taken/>"), rig.other, now())
        return web.Response(body=reply, headers={"Content-Type": "application/soap+xml"})

    literal = CALLER.replace("timeout: 2s", "payload: literal, action: 'urn:their/Take', version: '1.2'")
    caller = make_rig(literal, environment={"PARTNER_URL": await serve(own_contract)})
    sent = await caller.endpoints["agency"].send(message(b"<report><a/></report>"))
    await caller.endpoints["agency"].stop()
    assert (seen[0].payload.tag, seen[0].actions, seen[0].version) == ("report", ("urn:their/Take",), SOAP_12)
    assert b"<taken/>" in sent.reply
    rig.store.close()
    caller.store.close()


# --- a unit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["content", "mtom", "inline"])
async def test_a_unit_sends_fetches_and_confirms(rig: Rig, serve: Serve, way: str) -> None:
    """The integrator's example against a real bus, each way of handing a document over, small and over a megabyte."""
    url = (await serve(door_of(rig), "own")).removesuffix("/soap")
    certs = rig.site.root / "certs"
    body = document(1, subject="x" * (1 << 21 if way == "mtom" else 10))
    sender = Unit.connect(url, UNIT, keys=certs / "development" / "unit", trust=certs / "own", documents="/soap", inbox="/soap")
    receiver = Unit.connect(url, OTHER, keys=certs / "development" / "other", trust=certs / "own", documents="/soap", inbox="/soap")
    async with sender, receiver:
        accepted = await (sender.send_inline(body, "a") if way == "inline" else sender.send(body, "a", mtom=way == "mtom"))
        assert (accepted.status, accepted.digest) == (Status.ACCEPTED, hashlib.sha256(body).hexdigest())
        (entry,) = await until(receiver.pending)
        assert (await receiver.fetch(entry.message_id)).digest == accepted.digest
        assert (await receiver.confirm(entry.message_id)).status is Status.CONFIRMED
        assert await receiver.pending() == []
        assert [receipt.status for receipt in await sender.receipts("a")] == [Status.ACCEPTED, Status.FETCHED, Status.CONFIRMED]
        assert {entry.kind for entry in await sender.pending()} == {"receipt"}
        with pytest.raises(Rejected, match=r"5\.2\.1"):
            await sender.fetch("nothing")
        assert await sender.organisations() == list(rig.site.organisations)
