"""The serving side against a real bus: the six operations, and what is refused at the door."""

import base64
import hashlib
from typing import Any

from soap_rig import OTHER, UNIT, Rig, document, fault_code, until

from adapters.soap import payloads
from bus import evidence, mime, soap, xmlio
from bus.receipt import Receipt, Status
from bus.signature import xades
from bus.soap import SOAP_12


def receipt_in(envelope: soap.Envelope) -> Receipt:
    (octets,) = payloads.receipts(envelope.payload)
    return evidence.parse(xades.verify(octets, lambda certificate: True).octets)


async def mailbox(rig: Rig, kind: str = "document") -> list[Any]:
    """What waits for the other partner, once something does."""
    payload = payloads.request("GetPendingDocumentIds", OrganId=OTHER)

    async def waiting() -> list[Any]:
        reply = rig.read(await rig.post(rig.signed(payload, signer=rig.other)))
        return [entry for entry in payloads.pending(reply.payload) if entry.kind == kind]

    return await until(waiting)


async def test_a_document_sent_is_receipted_waits_is_fetched_and_confirmed(rig: Rig) -> None:
    """The whole life of a document between two partners, every reply and every receipt signed."""
    body = document(7)
    accepted = receipt_in(await rig.send(body, "vt-7"))
    assert (accepted.status, accepted.message_id, accepted.digest) == (Status.ACCEPTED, "vt-7", hashlib.sha256(body).hexdigest())

    (entry,) = await mailbox(rig)
    assert (entry.document_id, entry.from_organ, entry.subject) == (f"{UNIT},2026/03/15,7/CV-TN", UNIT, "V/v báo cáo thử nghiệm")

    reply = rig.read(await rig.post(rig.signed(payloads.request("GetDocument", MessageId=entry.message_id), signer=rig.other)))
    fetched = payloads.fetched(reply.payload, reply.hollow, entry.message_id)
    assert hashlib.sha256(fetched.body).hexdigest() == fetched.digest
    assert b"7/CV-TN" in fetched.body

    confirm = payloads.request("ConfirmReceived", MessageId=entry.message_id, Status="done")
    confirmed = receipt_in(rig.read(await rig.post(rig.signed(confirm, signer=rig.other))))
    assert confirmed.status is Status.CONFIRMED

    reply = rig.read(await rig.post(rig.signed(payloads.request("GetReceipts", MessageId="vt-7"))))
    statuses = [evidence.parse(xades.verify(octets, lambda certificate: True).octets).status for octets in payloads.receipts(reply.payload)]
    assert statuses == [Status.ACCEPTED, Status.FETCHED, Status.CONFIRMED]


async def test_an_inline_document_becomes_exactly_its_canonical_octets(rig: Rig) -> None:
    """What the signature covers is what the bus keeps, wherever namespaces were declared."""
    before, after = payloads.send_document("inline-1")
    body = document(8)
    accepted = receipt_in(rig.read(await rig.post(rig.signed(before + b"\n  " + body + b"\n" + after))))
    assert accepted.digest == hashlib.sha256(xmlio.canonicalize(xmlio.parse(body))).hexdigest()


async def test_sending_again_gives_the_first_receipt_and_other_content_is_refused(rig: Rig) -> None:
    """The sender's MessageId is the idempotency key."""
    first, again = receipt_in(await rig.send(document(9), "same")), receipt_in(await rig.send(document(9), "same"))
    assert again.id == first.id
    payload = payloads.send_content("same", document(10))
    assert fault_code(await rig.post(rig.signed(payload))) == "5.6.9"


async def test_soap_12_is_answered_in_soap_12(rig: Rig) -> None:
    """Media type, namespace and fault status."""
    payload = payloads.request("GetOrganizations")
    good = await rig.post(rig.signed(payload, version=SOAP_12), content_type="application/soap+xml; charset=utf-8")
    assert (good.status, rig.read(good).version) == (200, SOAP_12)
    bad = await rig.post(soap.envelope(SOAP_12, payload), content_type="application/soap+xml")
    assert (bad.status, bad.content_type, fault_code(bad)) == (400, "application/soap+xml; charset=utf-8", "5.7.0")


def mtom(rig: Rig, content: bytes, message_id: str) -> tuple[str, bytes]:
    encoded = base64.b64encode(content)
    signed = rig.signed(payloads.send_content(message_id, content))
    include = b'<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:f%40x"/>'
    root = signed.replace(encoded, include)
    return mime.package(root, 'application/xop+xml; type="text/xml"', "text/xml", {"f@x": content})


async def test_a_signed_mtom_message_is_verified_over_its_inlined_form_and_answered_alike(rig: Rig) -> None:
    """The signature was made before the file was taken out; GetDocument answers an MTOM client by MTOM."""
    content_type, body = mtom(rig, document(11), "mtom-1")
    assert receipt_in(rig.read(await rig.post(body, content_type=content_type))).message_id == "mtom-1"
    (entry,) = await mailbox(rig)
    request = rig.signed(payloads.request("GetDocument", MessageId=entry.message_id), signer=rig.other)
    response = await rig.post(request, accept="multipart/related, text/xml")
    assert response.content_type.startswith("multipart/related")
    assert b"xop:Include" in response.body
    reply = rig.read(response)
    fetched = payloads.fetched(reply.payload, reply.hollow, entry.message_id)
    assert hashlib.sha256(fetched.body).hexdigest() == fetched.digest


async def test_a_changed_attachment_is_refused(rig: Rig) -> None:
    """One octet of the part, and the Body's digest no longer holds."""
    content_type, body = mtom(rig, document(12), "mtom-2")
    assert fault_code(await rig.post(body.replace(b"12/CV-TN", b"13/CV-TN"), content_type=content_type)) == "5.7.7"


async def test_an_attachment_that_no_signature_covers_is_refused_from_a_signer(rig: Rig) -> None:
    """SOAP with Attachments leaves its parts outside the Body."""
    signed = rig.signed(b'<x:SendDocument xmlns:x="urn:govbus:exchange:v1"><x:Content href="cid:f"/></x:SendDocument>')
    body = (
        b"--b\r\nContent-Type: text/xml\r\nContent-ID: <r>\r\n\r\n"
        + signed
        + b"\r\n--b\r\nContent-ID: <f>\r\n\r\n"
        + document(1)
        + b"\r\n--b--\r\n"
    )
    assert fault_code(await rig.post(body, content_type="multipart/related; boundary=b; type=text/xml")) == "5.7.7"


async def test_a_mailbox_opens_for_any_code_of_its_owner(rig: Rig) -> None:
    """Old form and new form are one organisation."""
    payload = payloads.request("GetPendingDocumentIds", OrganId="G18", Max="5")
    assert payloads.pending(rig.read(await rig.post(rig.signed(payload, signer=rig.other))).payload) == []


async def test_the_code_book_is_served(rig: Rig) -> None:
    """All of it, or what changed since a day."""
    everything = payloads.organisations(rig.read(await rig.post(rig.signed(payloads.request("GetOrganizations")))).payload)
    assert everything == list(rig.site.organisations)
    later = payloads.request("GetOrganizations", ChangedSince="2999-01-01")
    assert payloads.organisations(rig.read(await rig.post(rig.signed(later))).payload) == []
