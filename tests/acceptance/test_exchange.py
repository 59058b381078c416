"""Documents, mailboxes and receipts between partners that know nothing but the contract: raw requests, zeep, packages, xmlsec1."""

import base64
import hashlib
import re
import secrets
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import xmlsec
import zeep
from black_box import LANG, MEDIA, SOAP, Bus, R, X, envelope, fresh_id, operation, send_content, send_inline, sign, username_token
from lxml import etree
from parties import DIGITAL, OFFICE, PASSWORD, TELECOM, Party, letter
from zeep.transports import Transport
from zeep.wsse.signature import BinarySignature, Signature
from zeep.wsse.utils import WSU, get_security_header

INBOX = "/soap/inbox"
XOP = "http://www.w3.org/2004/08/xop/include"


def delivered(bus: Bus, message_id: str, receiver: Party = DIGITAL) -> dict[str, str]:
    """The mailbox entry of a message that the bus took a moment ago."""
    for _ in range(400):
        answer = bus.call(operation("GetPendingDocumentIds", OrganId=receiver.code, Max=1000), receiver.partner, INBOX)
        for entry in answer.payload:
            row = {etree.QName(field).localname: field.text or "" for field in entry}
            if row["MessageId"] == message_id:
                return row
    raise AssertionError(f"{message_id} never arrived")


@pytest.mark.parametrize("version", SOAP)
@pytest.mark.parametrize("form", [send_content, send_inline])
def test_a_document_travels_from_mailbox_to_confirmation(bus: Bus, version: str, form: type[str]) -> None:
    """Sent, listed, fetched with its digest, confirmed; and the receipts tell that story to both sides and to nobody else."""
    message_id, body = fresh_id(), letter(TELECOM, DIGITAL, seed=21)
    receipt = bus.call(form(body, message_id), version=version).receipts[0]
    assert [receipt.findtext(f"{{{R}}}{name}") for name in ("MessageId", "Status", "Code")] == [message_id, "ACCEPTED", "2.0.0"]
    entry = delivered(bus, message_id)
    assert (entry["Kind"], entry["FromOrganId"]) == ("document", TELECOM.code)
    assert datetime.fromisoformat(entry["ReceivedAt"]).tzinfo
    fetched = bus.call(operation("GetDocument", MessageId=message_id), DIGITAL.partner, INBOX, version)
    octets = base64.b64decode(fetched.texts("Content")[0])
    assert fetched.texts("Sha256") == [hashlib.sha256(octets).hexdigest()]
    assert int(entry["Size"]) == len(octets)
    assert etree.fromstring(octets).findtext(".//{*}Subject") == etree.fromstring(body).findtext(".//{*}Subject")
    if form is send_content:
        assert (octets, receipt.findtext(f"{{{R}}}Sha256")) == (body, hashlib.sha256(body).hexdigest())
    confirm = operation("ConfirmReceived", MessageId=message_id, Status="done")
    confirmed = bus.call(confirm, DIGITAL.partner, INBOX, version)
    assert confirmed.texts("Status") == ["CONFIRMED"]
    assert bus.call(confirm, DIGITAL.partner, INBOX, version).texts("ReceiptId") == confirmed.texts("ReceiptId")
    asked = operation("GetReceipts", MessageId=message_id)
    assert bus.call(asked, TELECOM.partner, INBOX, version).texts("Status") == ["ACCEPTED", "FETCHED", "CONFIRMED"]
    assert "CONFIRMED" in bus.call(asked, DIGITAL.partner, INBOX, version).texts("Status")
    assert bus.call(asked, OFFICE.partner, INBOX, version).receipts == []


def test_a_mailbox_is_its_owners_alone(bus: Bus) -> None:
    """Another partner neither fetches nor confirms nor refuses a message, and learns no more than that it has none of that id."""
    message_id = fresh_id()
    bus.call(send_content(letter(TELECOM, DIGITAL, seed=22), message_id))
    delivered(bus, message_id)
    for request in (
        operation("GetDocument", MessageId=message_id),
        operation("ConfirmReceived", MessageId=message_id, Status="done"),
        operation("ConfirmReceived", MessageId=message_id, Status="fail", Reason="x"),
    ):
        assert bus.call(request, OFFICE.partner, INBOX).fault.code == "5.2.1"
    delivered(bus, message_id)


def test_a_refused_document_is_told_to_its_sender(bus: Bus) -> None:
    """`fail` with its reason becomes a receipt REJECTED that says it."""
    message_id = fresh_id()
    bus.call(send_content(letter(TELECOM, DIGITAL, seed=23), message_id))
    delivered(bus, message_id)
    refusal = operation("ConfirmReceived", MessageId=message_id, Status="fail", Reason="gửi nhầm nơi nhận")
    assert bus.call(refusal, DIGITAL.partner, INBOX).texts("Status") == ["REJECTED"]
    receipts = bus.call(operation("GetReceipts", MessageId=message_id), TELECOM.partner, INBOX).receipts
    reasons = {element.get(LANG): element.text or "" for element in receipts[-1].findall(f"{{{R}}}Reason")}
    assert set(reasons) == {"vi", "en"}
    assert all("gửi nhầm nơi nhận" in reason for reason in reasons.values())
    wrong = operation("ConfirmReceived", MessageId=message_id, Status="maybe")
    assert bus.call(wrong, DIGITAL.partner, INBOX).fault.code == "5.6.5"


@pytest.mark.parametrize(("most", "code"), [("1", ""), (" 2 ", ""), ("999999", ""), ("0", "5.6.5"), ("-1", "5.6.5"), ("x", "5.6.5")])
def test_a_listing_is_as_long_as_was_asked(bus: Bus, most: str, code: str) -> None:
    """`Max` bounds the listing, and must be a positive number."""
    for seed in (24, 25, 26):
        bus.call(send_content(letter(TELECOM, DIGITAL, seed=seed), f"listed-{seed}"))
    delivered(bus, "listed-26")
    answer = bus.call(operation("GetPendingDocumentIds", OrganId=DIGITAL.code, Max=most), DIGITAL.partner, INBOX)
    if code:
        assert answer.fault.code == code
    else:
        assert answer.status == 200
        assert 0 < len(answer.payload) <= int(most)


def test_the_code_book_can_be_asked_for_what_changed(bus: Bus) -> None:
    """Everything, what changed since a day, nothing since a late one; and no day is a fault."""
    counts = [
        len(bus.call(operation("GetOrganizations", ChangedSince=day)).payload.findall(f"{{{X}}}Organization"))
        for day in (None, "2025-04-14", "2025-04-14+07:00", "9999-12-31")
    ]
    assert counts[0] > counts[1] == counts[2] > counts[3] == 0
    assert bus.call(operation("GetOrganizations", ChangedSince="14/04/2025")).fault.code == "5.6.5"


def test_xmlsec1_accepts_a_receipt_fetched_over_the_wire(bus: Bus, tmp_path: Path) -> None:
    """A receipt stands alone: the tool needs the site's authority and nothing else, and refuses it with one character changed."""
    answer = bus.call(send_content(letter(TELECOM, DIGITAL, seed=27)))
    receipt = tmp_path / "receipt.xml"
    receipt.write_bytes(etree.tostring(answer.receipts[0], with_tail=False))

    def verified() -> bool:
        trusted = ["--trusted-pem", str(bus.site / "certs" / "own" / "ca.crt")]
        ids = ["--id-attr:Id", "http://uri.etsi.org/01903/v1.3.2#:SignedProperties"]
        command = ["xmlsec1", "--verify", *trusted, *ids, str(receipt)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert verified()
    receipt.write_bytes(receipt.read_bytes().replace(b"ACCEPTED", b"REJECTED"))
    assert not verified()


def package(root: bytes, root_type: str, part: bytes, encoding: str = "binary") -> bytes:
    """A multipart/related body, as simple as clients write it."""
    heads = (f"Content-Type: {root_type}\r\nContent-ID: <root>", f"Content-Transfer-Encoding: {encoding}\r\nContent-ID: <file@x>")
    pieces = (f"--b\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in zip(heads, (root, part), strict=True))
    return b"".join(pieces) + b"--b--\r\n"


@pytest.mark.parametrize("version", SOAP)
def test_a_signed_document_by_mtom(bus: Bus, version: str) -> None:
    """Signed over the inlined form, sent as an attachment; cut short, changed or without its part it is refused."""
    body, media = letter(TELECOM, DIGITAL, seed=28), MEDIA[version].split(";")[0]
    signed = sign(envelope(send_content(body, fresh_id()), version), bus.identity(TELECOM.partner))
    root = signed.replace(base64.b64encode(body), f'<i:Include xmlns:i="{XOP}" href="cid:file%40x"/>'.encode())
    whole = package(root, f'application/xop+xml; type="{media}"', body)
    kind = f'multipart/related; type="application/xop+xml"; boundary=b; start="<root>"; start-info="{media}"'
    assert bus.post("/soap/documents", whole, kind).texts("Status") == ["ACCEPTED"]
    changed, lost = whole.replace(b"Subject>", b"Subjecx>"), whole.replace(b"<file@x>", b"<x>")
    for spoilt, code in ((whole[:-6], "5.6.6"), (changed, "5.7.7"), (lost, "5.6.6")):
        assert bus.post("/soap/documents", spoilt, kind).fault.code == code


def test_a_document_comes_by_mtom_only_to_who_reads_it(bus: Bus) -> None:
    """With `Accept: multipart/related` the content travels as a part, else as base64; both are the same octets."""
    message_id, body = fresh_id(), letter(TELECOM, DIGITAL, seed=29)
    bus.call(send_content(body, message_id))
    delivered(bus, message_id)
    request = sign(envelope(operation("GetDocument", MessageId=message_id)), bus.identity(DIGITAL.partner))
    plain = bus.post(INBOX, request, Accept="*/*")
    assert base64.b64decode(plain.texts("Content")[0]) == body
    packed = bus.post(INBOX, request, Accept="multipart/related, text/xml")
    assert packed.headers["Content-Type"].startswith("multipart/related")
    assert body in packed.body


@pytest.mark.parametrize("version", SOAP)
@pytest.mark.parametrize("reference", ['<Content href="cid:file@x"/>', "<Content>cid:file@x</Content>"])
def test_soap_with_attachments_where_no_signature_would_miss_them(bus: Bus, version: str, reference: str) -> None:
    """A password proves the whole connection, so a detached part is taken; a signature does not cover it, so there it is refused."""
    body, media = base64.encodebytes(letter(TELECOM, DIGITAL, seed=30)), MEDIA[version].split(";")[0]
    payload, kind = f'<SendDocument xmlns="{X}">{reference}</SendDocument>', f'multipart/related; type="{media}"; boundary=b'
    token = username_token(TELECOM.partner, PASSWORD, secrets.token_bytes(16))
    taken = bus.post("/soap/by-password", package(envelope(payload, version, token), MEDIA[version], body, "base64"), kind)
    assert taken.texts("Status") == ["ACCEPTED"]
    signed = sign(envelope(payload, version), bus.identity(TELECOM.partner))
    assert bus.post("/soap/documents", package(signed, MEDIA[version], body, "base64"), kind).fault.code == "5.7.7"


def _with_timestamp(kind: type) -> type:
    """zeep's signer with the Timestamp that zeep leaves to its users; the reply's signature is checked elsewhere."""

    class Signed(kind):  # type: ignore[misc]
        def apply(self, root: etree._Element, headers: dict[str, str]) -> object:
            stamp = WSU.Timestamp()
            for name, at in (("Created", datetime.now(UTC)), ("Expires", datetime.now(UTC) + timedelta(minutes=5))):
                stamp.append(getattr(WSU, name)(at.strftime("%Y-%m-%dT%H:%M:%SZ")))
            get_security_header(root).append(stamp)
            return super().apply(root, headers)

        def verify(self, root: etree._Element) -> etree._Element:
            return root

    return Signed


@pytest.mark.parametrize("signer", [BinarySignature, Signature])
@pytest.mark.parametrize("version", ["11", "12"])
def test_zeep_needs_nothing_but_the_wsdls_address(bus: Bus, version: str, signer: type) -> None:
    """Both of zeep's ways to name the signer's certificate, both versions, under the endpoint's own path."""
    keys = bus.site / "certs" / "development" / TELECOM.partner
    session = requests.Session()
    session.trust_env = False
    session.verify = str(bus.site / "certs" / "own" / "ca.crt")
    files = str(keys / "system.key"), str(keys / "system.crt")
    wsse = _with_timestamp(signer)(*files, signature_method=xmlsec.Transform.RSA_SHA256, digest_method=xmlsec.Transform.SHA256)
    client = zeep.Client(f"{bus.url}/soap/unit-documents?wsdl", transport=Transport(session=session), wsse=wsse)
    service = client.bind("ExchangeService", f"ExchangeSoap{version}")
    message_id = fresh_id("zeep")
    receipt = service.SendDocument(MessageId=message_id, Content=letter(TELECOM, DIGITAL, seed=31))
    assert (receipt.Status, receipt.MessageId) == ("ACCEPTED", message_id)
    assert service.GetReceipts(MessageId=message_id)[0].Status == "ACCEPTED"
    with pytest.raises(zeep.exceptions.Fault) as raised:
        service.SendDocument(Content=letter(DIGITAL, TELECOM))
    assert raised.value.detail.findtext(".//{urn:govbus:fault:v1}Code") == "5.7.1"


def test_the_contract_is_served_whole_with_the_address_that_was_used(bus: Bus) -> None:
    """Every reference in the WSDL and its schemas leads back here."""
    wanted, seen = ["/soap/documents?wsdl"], set()
    while wanted:
        path = wanted.pop()
        answer = bus.request("GET", path)
        assert answer.status == 200
        seen.add(path)
        found = re.findall(rb'(?:schemaLocation|location)="([^"]+)"', answer.body)
        assert all(address.startswith(bus.url.encode()) for address in found)
        wanted += {place for place in (address.decode().removeprefix(bus.url) for address in found) if "?xsd=" in place} - seen
    assert len(seen) > 3
