"""Who was authenticated, and whom the message names as its sender: the first is in every receipt, and the second must be the first's."""

import json
from collections.abc import Callable

import pytest
from lxml import etree
from soap_rig import MINISTRY, OTHER, REPOSITORY, ROUTES, UNIT, Rig, document, fault_code
from test_soap_refusals import certificate, username
from typer.testing import CliRunner

from adapters.soap import payloads
from bus import soap, xmlio
from bus.cli import app
from bus.daemon import open_evidence
from bus.errors import Rejected
from bus.octets import whole

BECAUSE = "đường trục chuyển văn bản của mọi cơ quan"
RELAYED = ROUTES.replace("name: documents, from", f"name: documents, authorize: none, because: {BECAUSE}, from")
_RECEIPT = "{urn:govbus:receipt:v1}"


async def test_nobody_names_another_as_the_sender_where_the_route_says_nothing_of_it(rig: Rig) -> None:
    """A route without ``authorize``: 5.7.1 for another's code and for nobody's, yes for one's own; nothing of the others is kept."""
    for sender in (OTHER, "G18", MINISTRY, "000.00.99.G99"):
        answer = await rig.post(rig.signed(payloads.send_content("", document(sender=sender))))
        assert fault_code(answer) == "5.7.1"
        assert sender.encode() in whole(answer.body)
    await rig.send(document(sender=UNIT))
    assert [found.organ for found in rig.store.search()] == [UNIT]


async def test_a_route_that_lets_a_partner_relay_says_why_and_the_receipt_says_who_it_was(make_rig: Callable[..., Rig]) -> None:
    """``authorize: none``: the receipt's Sender is the claim, Authenticated the partner; the journal has the reason; lists show both."""
    rig = make_rig(RELAYED)
    await rig.engine.start()
    receipt = payloads.only_receipt((await rig.send(document(sender=OTHER), "m-1")).payload)
    assert _said(receipt) == (OTHER, UNIT, "wss-x509", "ACCEPTED")
    (accepted,) = [row for row in await rig.journal() if row["event"] == "accepted"]
    assert f"authorize none: {BECAUSE}" in json.loads(str(accepted["detail"]))["history"]

    def told(*words: str) -> str:
        return CliRunner().invoke(app, [*words, "--site", str(rig.site.root)], env={"UNIT_PASSWORD": "bí mật", "COLUMNS": "300"}).stdout

    assert f"{OTHER} (unit)" in told("messages")
    ((listed,), (shown,)) = (json.loads(told(*words, "--json")) for words in (("messages",), ("show", "m-1")))
    assert (listed["sender"], listed["organ"]) == ("unit", OTHER)
    assert [(each["sender"], each["authenticated"], each["method"]) for each in shown["receipts"]] == [(OTHER, UNIT, "wss-x509")]
    assert "everything adds up" in told("audit")
    await rig.engine.stop(grace=1)
    rig.store.close()


async def test_every_receipt_of_a_message_names_who_was_authenticated(rig: Rig) -> None:
    """Up to the last: it is true of the message, not of whoever confirms it. The schema knows the element; the signature covers it."""
    schema = etree.XMLSchema(etree.parse(str(REPOSITORY / "schemas" / "receipt" / "v1" / "receipt.xsd")))
    evidence = open_evidence(rig.site)
    await rig.send(document(sender=UNIT), "m-1")
    (waiting,) = await rig.engine.pending("other", 10)
    await rig.engine.fetch("other", waiting.message_id)
    await rig.engine.confirm("other", waiting.message_id, done=True)
    found = await rig.engine.receipts("unit", "m-1")
    assert [_said(xmlio.parse(each)) for each in found] == [
        (UNIT, UNIT, "wss-x509", status) for status in ("ACCEPTED", "FETCHED", "CONFIRMED")
    ]
    for octets in found:
        schema.assertValid(etree.fromstring(octets))
        assert evidence.read(octets).authenticated == UNIT
        for old, new in (
            (b'method="wss-x509"', b'method="mtls"'),
            (f">{UNIT}</Authenticated>".encode(), f">{OTHER}</Authenticated>".encode()),
        ):
            altered = octets.replace(old, new)
            assert altered != octets
            with pytest.raises(Rejected, match=r"5\.7\."):
                evidence.read(altered)


async def test_the_method_is_every_credential_that_was_proved(rig: Rig) -> None:
    """A password over mutual TLS is both, without the certificate's fingerprint, which the message's own record has."""
    sent = username("unit", "bí mật", payload=whole(payloads.send_content("m-1", document(sender=UNIT))))
    reply = await rig.post(sent, "strict", peer=certificate(rig, "unit"))
    receipt = payloads.only_receipt(soap.read(reply.body, reply.content_type).payload)
    assert _said(receipt) == (UNIT, UNIT, "mtls, wss-username", "ACCEPTED")


def _said(receipt: etree._Element) -> tuple[str | None, ...]:
    """Sender, Authenticated with its method, and Status."""
    authenticated = receipt.find(f"{_RECEIPT}Authenticated")
    assert authenticated is not None
    return receipt.findtext(f"{_RECEIPT}Sender"), authenticated.text, authenticated.get("method"), receipt.findtext(f"{_RECEIPT}Status")
