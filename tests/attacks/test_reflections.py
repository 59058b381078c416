"""Rightly signed, and yet not meant for us so: our own words sent back, a partner's sent again, or by another."""

from datetime import UTC, datetime

import attacked_site
import pytest
from attacker import CONTENT_TYPES, Forger
from lxml import etree
from soap_rig import OTHER, UNIT, Rig, document, fault_code
from usernames import DIGEST, TEXT, good, security, token

from adapters.soap import payloads
from bus import soap
from bus.keys import Keyring
from bus.octets import whole
from bus.signature import wss
from bus.soap import SOAP_11, SOAP_12
from sandbox.unit import read_signer

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOORS = ("documents", "named", "shown")


async def kept(rig: Rig) -> int:
    """Journal rows that are no refusals."""
    return sum(row["event"] not in {"refused", "checkpoint"} for row in await rig.journal())


async def test_our_own_replies_are_nobodys_requests(guarded: Rig) -> None:
    """What we signed for a partner, sent back to each door: refused with 5.6 or 5.7, whatever it was the reply to."""
    questions = (
        payloads.request("GetOrganizations"),
        payloads.request("GetPendingDocumentIds", OrganId=UNIT),
        payloads.request("GetReceipts", MessageId="nobody"),
        payloads.request("GetDocument", MessageId="nobody"),
        whole(payloads.send_content("reflected-1", document(1))),
    )
    for version in (SOAP_11, SOAP_12):
        replies = [await guarded.post(guarded.signed(each, version=version), content_type=CONTENT_TYPES[version]) for each in questions]
        before = await kept(guarded)
        for reply in replies:
            for door in DOORS:
                answer = await guarded.post(whole(reply.body), door, content_type=reply.content_type)
                assert fault_code(answer).startswith(("5.6", "5.7"))
        assert await kept(guarded) == before


async def test_our_own_key_opens_no_door(guarded: Rig, certs) -> None:  # type: ignore[no-untyped-def]
    """The site is not its own partner: a request that our own key signed is a stranger's."""
    signer = Keyring.load(certs, {}).signer("own/bus")
    for payload in (whole(payloads.send_content("ours", document(2))), payloads.request("GetPendingDocumentIds", OrganId=UNIT)):
        assert fault_code(await guarded.post(guarded.signed(payload, signer=signer))).startswith("5.7")


async def test_a_receipt_is_no_document(guarded: Rig) -> None:
    """One of our receipts as a document, in either form, or in the place of the envelope."""
    envelope = await guarded.send(document(3), "for-a-receipt")
    (receipt,) = payloads.receipts(envelope.payload)
    bare = receipt.partition(b"?>")[2] if receipt.startswith(b"<?xml") else receipt
    before, after = payloads.send_document("a-receipt")
    for payload in (whole(payloads.send_content("a-receipt", receipt)), before + bare + after, bare):
        assert fault_code(await guarded.post(guarded.signed(payload))).startswith("5.6")
    assert fault_code(await guarded.post(receipt)).startswith(("5.6", "5.7"))


async def test_another_partner_cannot_send_on_what_a_partner_wrote(guarded: Rig, certs) -> None:  # type: ignore[no-untyped-def]
    """The thief puts the unit's document, or its whole signed request, into an envelope of its own: it is not the thief's to send."""
    thief = read_signer(certs / "development" / "thief")
    content = whole(payloads.send_content("stolen", document(4, sender=UNIT)))
    assert fault_code(await guarded.post(guarded.signed(content, signer=thief))) == "5.7.1"
    whole_request = guarded.signed(content)
    inside = whole_request.partition(b"?>")[2] if whole_request.startswith(b"<?xml") else whole_request
    assert fault_code(await guarded.post(guarded.signed(inside, signer=thief))).startswith(("5.6", "5.7"))
    twice = wss.sign(whole(soap.envelope(SOAP_11, content)), thief, datetime.now(UTC))
    header = twice[twice.index(b"<wsse:Security") : twice.index(b"</wsse:Security>") + len(b"</wsse:Security>")]
    both = whole_request.replace(b"<wsse:Security", header + b"<wsse:Security", 1)
    assert fault_code(await guarded.post(both)).startswith(("5.6", "5.7"))


async def test_a_request_sent_again_is_the_same_request(guarded: Rig, forger: Forger) -> None:
    """A signed request that somebody recorded gets the first receipt again, and is no second document; an hour later it is stale."""
    request = forger.signed(SOAP_11, "ours", 50)
    first, again = [payloads.receipts(guarded.read(await guarded.post(request)).payload) for _ in range(2)]
    assert again == first
    old = forger.signed(SOAP_11, "ours", 51, at=datetime.fromtimestamp(datetime.now(UTC).timestamp() - 3600, UTC))
    assert fault_code(await guarded.post(old)) == "5.7.9"


@pytest.mark.parametrize("kind", [TEXT, DIGEST])
async def test_a_token_serves_once(guarded: Rig, kind: str) -> None:
    """The right token is taken; with the same nonce again, for the same or for another document, it is a replay."""
    header = security(token(good(kind, attacked_site.PASSWORD))).encode()
    bodies = [whole(soap.envelope(SOAP_11, payloads.send_content(f"once-{kind[-6:]}-{n}", document(60 + n)), header)) for n in range(2)]
    assert (await guarded.post(bodies[0], "named")).status == 200
    before = await kept(guarded)
    for body in (bodies[0], bodies[1]):
        assert fault_code(await guarded.post(body, "named")) == "5.7.9"
    assert await kept(guarded) == before


async def test_one_partners_id_is_not_anothers(guarded: Rig, certs) -> None:  # type: ignore[no-untyped-def]
    """The same MessageId by two partners is two messages: neither gets the other's receipt, nor is it in the other's way."""
    thief = read_signer(certs / "development" / "thief")
    await guarded.send(document(70, receiver=OTHER), "an-id-of-two")
    mine = whole(payloads.send_content("an-id-of-two", document(71, sender=attacked_site.THIEF, receiver=OTHER)))
    (receipt,) = payloads.receipts(guarded.read(await guarded.post(guarded.signed(mine, signer=thief))).payload)
    assert b"71/CV-TN" in receipt
    asked = guarded.signed(payloads.request("GetReceipts", MessageId="an-id-of-two"), signer=thief)
    documents = [etree.fromstring(each) for each in payloads.receipts(guarded.read(await guarded.post(asked)).payload)]
    assert documents
    assert {each.findtext("{urn:govbus:receipt:v1}DocumentId") for each in documents} == {f"{attacked_site.THIEF},2026/03/15,71/CV-TN"}
