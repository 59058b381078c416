"""What a gate lets pass is what the receiver gets: a letter is refused with place and cause, or delivered valid, whatever its order."""

import hashlib
import re
import sqlite3
from contextlib import closing
from itertools import count

import pytest
from forms_rig import call, fetched, forms_certs, gated, refused, waiting  # noqa: F401 - fixtures
from lxml import etree
from soap_rig import OTHER, REPOSITORY, UNIT, Rig

from adapters.soap import payloads
from bus import edxml
from bus.octets import whole
from sandbox import documents

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBERS = count(1)
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
XS = 'xmlns:xs="http://www.w3.org/2001/XMLSchema"'
SCHEMAS = REPOSITORY / "schemas" / "edxml" / "v1"


def party(code: str) -> documents.Party:
    return documents.Party(code, f"Cơ quan {code}", "Bộ", "CQ", "VP")


LETTER = documents.make(size=5_000, seed=30, sender=party(UNIT), receivers=(party(OTHER),)).decode()


def after(old: str, new: str) -> tuple[str, str]:
    return old, old + new


def before(old: str, new: str) -> tuple[str, str]:
    return old, new + old


BODY = '<edXML:edXMLBody><edXML:edXMLManifest version="1.0"/></edXML:edXMLBody>'
#: What is replaced, once, and by what: each breaks document.xsd in one way that is none of order.
SPOILT: dict[str, tuple[str, str]] = {
    "an unknown attribute": ("<edXML:Subject>", '<edXML:Subject foo="x">'),
    "an unknown attribute of a namespace": ("<edXML:Subject>", '<edXML:Subject xmlns:n="urn:n" n:foo="x">'),
    "an unknown attribute of a group": ("<edXML:From>", '<edXML:From foo="x">'),
    "an unknown attribute of the header": ("<edXML:MessageHeader>", '<edXML:MessageHeader id="x">'),
    "an unknown attribute of the root": ("<edXML ", '<edXML foo="x" '),
    "an unknown attribute of the manifest": ("<edXML:edXMLManifest ", '<edXML:edXMLManifest foo="x" '),
    "an unknown attribute of an attachment": ("<Attachment>", '<Attachment foo="x">'),
    "xml:lang": ("<edXML:Subject>", '<edXML:Subject xml:lang="vi">'),
    "xml:base": ("<edXML:From>", '<edXML:From xml:base="http://a.example/">'),
    "an unknown xsi:type": ("<edXML:Subject>", f'<edXML:Subject {XSI} xsi:type="nope:string">'),
    "an xsi:type that does not fit": ("<edXML:Subject>", f'<edXML:Subject {XSI} {XS} xsi:type="xs:integer">'),
    "an xsi:type of a group": ("<edXML:From>", f'<edXML:From {XSI} {XS} xsi:type="xs:string">'),
    "xsi:nil": ("<edXML:Subject>", f'<edXML:Subject {XSI} xsi:nil="true">'),
    "xsi:nil of a group": ("<edXML:SignerInfo>", f'<edXML:SignerInfo {XSI} xsi:nil="true">'),
    "text between elements": before("<edXML:Subject>", "chữ"),
    "text at the end of a group": before("</edXML:MessageHeader>", "chữ"),
    "text at the beginning of a group": after("<edXML:From>", "chữ"),
    "text in the envelope": before("</edXML:edXMLEnvelope>", "chữ"),
    "text in the root": after("</edXML:edXMLEnvelope>", "chữ"),
    "another blank between elements": before("<edXML:Subject>", "\u00a0"),
    "a second body": before("</edXML:edXMLEnvelope>", "<edXML:edXMLBody/>"),
    "a second body with a manifest": before(
        "</edXML:edXMLEnvelope>", '<edXML:edXMLBody><edXML:edXMLManifest version="1.0"/></edXML:edXMLBody>'
    ),
    "a second manifest": before("</edXML:edXMLBody>", '<edXML:edXMLManifest version="1.0"/>'),
    "a second trace list": before("</edXML:edXMLHeader>", "<edXML:TraceHeaderList/>"),
    "a second subject": after("</edXML:Subject>", "<edXML:Subject>khác</edXML:Subject>"),
    "a second, empty subject": after("</edXML:Subject>", "<edXML:Subject/>"),
    "an empty child of the root": before("</edXML>", "<Extra/>"),
    "a child of the root": before("</edXML>", "<Extra>x</Extra>"),
    "a child of the root of another namespace": before("</edXML>", '<x:Extra xmlns:x="urn:x"/>'),
    "a second attachment list": before("</edXML>", "<AttachmentEncoded/>"),
    "a child of the envelope": before("</edXML:edXMLEnvelope>", "<edXML:Extra/>"),
    "an unknown element of the header": before("</edXML:MessageHeader>", "<edXML:Extra/>"),
    "an element of another namespace": before("</edXML:MessageHeader>", '<x:Subject xmlns:x="urn:x">khác</x:Subject>'),
    "an element of no namespace": before("</edXML:MessageHeader>", '<Subject xmlns="">khác</Subject>'),
    "an element within a text": after("<edXML:Subject>", "<edXML:b/>"),
    "an unknown element in a group": before("</edXML:From>", "<edXML:Zip>10000</edXML:Zip>"),
    "a signature of something": before("</edXML:MessageHeader>", '<s:Signature xmlns:s="http://www.w3.org/2000/09/xmldsig#"/>'),
    "a letter for a number": (r"<edXML:PageAmount>\d+", "<edXML:PageAmount>x"),
    "no subject": (r"<edXML:Subject>.*?</edXML:Subject>", ""),
}


def changed(text: str, old: str, new: str) -> str:
    found = re.search(old if "\\" in old or "*" in old else re.escape(old), text, re.DOTALL)
    assert found, old
    return text[: found.start()] + new + text[found.end() :]


def in_the_standards_order(text: str) -> str:
    """DocumentId last, as the standard numbers it."""
    found = re.search(r"<edXML:DocumentId>.*?</edXML:DocumentId>", text)
    assert found
    return (text[: found.start()] + text[found.end() :]).replace("</edXML:MessageHeader>", f"{found[0]}</edXML:MessageHeader>", 1)


def valid(body: bytes, schema: str = "document") -> bool:
    return etree.XMLSchema(etree.parse(SCHEMAS / f"{schema}.xsd")).validate(etree.fromstring(body))


async def send(bus: Rig, letter: str, known_as: str) -> str:
    """ "" for what was accepted, else code and reason."""
    response = await bus.post(bus.signed(whole(payloads.send_content(known_as, letter.encode()))))
    return "" if response.status == 200 else refused(response)


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "in the standard's order"])
@pytest.mark.parametrize("name", SPOILT)
async def test_a_spoilt_letter_is_refused(gated: Rig, name: str, ordered: bool) -> None:  # noqa: F811
    """Each is invalid not only for its order: 5.6.3, with a place and a cause, and nothing of it lies in the mailbox."""
    known_as = f"spoilt-{next(NUMBERS)}"
    letter = changed(LETTER, *SPOILT[name])
    assert not valid(letter.encode())
    said = await send(gated, letter if ordered else in_the_standards_order(letter), known_as)
    assert said.startswith("5.6.3")
    assert re.search(r"/\w+", said)
    assert known_as not in await waiting(gated)


#: What producers of the field write, and a gate that asks for content alone lets pass.
TOLERATED: dict[str, tuple[str, str]] = {
    "nothing else": ("<edXML:Subject>", "<edXML:Subject>"),
    "empty fields": before("</edXML:MessageHeader>", "<edXML:ResponseFor/><edXML:ResponseForTask/>"),
    "an empty group": before("</edXML:MessageHeader>", "<edXML:ResponseForTask><edXML:TaskCode/></edXML:ResponseForTask>"),
    "an empty signature": before("</edXML:edXMLHeader>", "<edXML:DigitalSignature/>"),
    "XLink attributes": (
        "<edXML:Reference>",
        '<edXML:Reference xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="cid:a" xlink:type="simple">',
    ),
    "an undeclared XLink prefix": ("<edXML:Reference>", '<edXML:Reference xlink:href="cid:a" xlink:role="XLinkRole">'),
    "attributes of the trace list": (
        "<edXML:TraceHeaderList>",
        '<edXML:TraceHeaderList id="1" version="1.0" mustUnderstand="1" actor="a">',
    ),
    "a place of the schema": ("<edXML ", f'<edXML {XSI} xsi:schemaLocation="{edxml.NAMESPACE} a.xsd" '),
    "a comment": after("<edXML:From>", "<!-- từ -->"),
    "white space": after("<edXML:From>", "\n\t \r\n"),
    "a code with blanks": (f"<edXML:OrganId>{UNIT}<", f"<edXML:OrganId>\n {UNIT} <"),
    "another version of the manifest": ('version="1.0">', 'version="1.1">'),
}


@pytest.mark.parametrize("name", TOLERATED)
async def test_a_letter_that_is_only_in_another_order_is_delivered_valid(gated: Rig, name: str) -> None:  # noqa: F811
    """What lies in the mailbox is valid and says the same; the receipt states the digest of what the sender sent, which is kept."""
    known_as = f"tolerated-{next(NUMBERS)}"
    letter = in_the_standards_order(changed(LETTER, *TOLERATED[name]))
    assert not valid(letter.encode()) if "xlink" not in letter else True
    assert await send(gated, letter, known_as) == ""
    got = await fetched(gated, known_as)
    assert valid(got)
    assert edxml.read(edxml.parse(got)) == edxml.read(edxml.parse(letter.encode()))
    with closing(sqlite3.connect(gated.site.root / "data" / "bus.db")) as store:
        ((kept, left),) = store.execute(
            "SELECT m.digest, d.digest FROM messages m JOIN deliveries d ON m.id = d.message_id WHERE m.public_id = ? AND owner = 'other'",
            [known_as],
        ).fetchall()
    assert (kept, left) == tuple(hashlib.sha256(octets).hexdigest() for octets in (letter.encode(), got))
    (receipt,) = (await call(gated, "GetReceipts", MessageId=known_as)).payload
    assert receipt.findtext("{urn:govbus:receipt:v1}Status") == "FETCHED"
    assert "normalise.xsl sha256:" in str(await gated.journal())


async def test_a_valid_letter_keeps_every_octet(gated: Rig) -> None:  # noqa: F811
    """Where nothing has to be put in order, the receiver gets what the sender wrote, octet for octet."""
    assert await send(gated, LETTER, "octets") == ""
    assert await fetched(gated, "octets") == LETTER.encode()


@pytest.mark.parametrize("front", ["HTTP rubbish\r\n", "\n\n", "\ufeff\r\n", "\ufeff"])
async def test_a_letter_behind_stray_text_is_delivered_as_it_was_read(gated: Rig, front: str) -> None:  # noqa: F811
    """What is no XML for others is read past, and cut off for the receiver; a byte order mark in its place is XML, and stays."""
    known_as = f"stray-{next(NUMBERS)}"
    assert await send(gated, front + LETTER, known_as) == ""
    assert await fetched(gated, known_as) == (front + LETTER if front == "\ufeff" else LETTER).encode()


async def test_a_letter_with_an_undeclared_prefix_is_delivered_without_it(gated: Rig) -> None:  # noqa: F811
    """In the schema's order it is no more well-formed than in another."""
    assert await send(gated, changed(LETTER, *TOLERATED["an undeclared XLink prefix"]), "undeclared") == ""
    assert valid(await fetched(gated, "undeclared"))


async def test_a_status_in_another_order_is_delivered_valid(gated: Rig) -> None:  # noqa: F811
    """The same for statuses; with an empty body, which a status has not, too."""
    document = documents.document(size=5_000, sender=party(OTHER), receivers=(party(UNIT),))
    status = next(iter(documents.statuses(document, party(UNIT)).values())).decode()
    found = re.search(r"<edXML:StatusCode>.*?</edXML:StatusCode>", status)
    assert found
    moved = status.replace(found[0], "").replace("</edXML:MessageHeader>", f"{found[0]}</edXML:MessageHeader>")
    moved = moved.replace(
        "</edXML:edXMLEnvelope>", '<edXML:edXMLBody><edXML:edXMLManifest version="1.0"/></edXML:edXMLBody></edXML:edXMLEnvelope>'
    )
    assert not valid(moved.encode(), "status")
    assert await send(gated, moved, "status") == ""
    assert valid(await fetched(gated, "status"), "status")


async def test_an_envelope_as_root_is_delivered_valid(gated: Rig) -> None:  # noqa: F811
    """Its files inside it, as some write them: what the receiver gets has the root that the schema wants."""
    inner = LETTER.partition("<edXML:edXMLEnvelope")[2].partition("</edXML:edXMLEnvelope>")
    files = inner[2].partition("</edXML>")[0]
    letter = f'<edXML:edXMLEnvelope xmlns="{edxml.NAMESPACE}"{inner[0]}{files}</edXML:edXMLEnvelope>'
    assert await send(gated, letter, "envelope") == ""
    got = await fetched(gated, "envelope")
    assert valid(got)
    assert edxml.read(edxml.parse(got)) == edxml.read(edxml.parse(LETTER.encode()))


async def test_many_empty_siblings_take_no_time(gated: Rig) -> None:  # noqa: F811
    """Thousands of elements that might be left out, side by side and one in another, are judged in one pass."""
    wide = in_the_standards_order(changed(LETTER, *before("</edXML:MessageHeader>", "<edXML:ResponseFor/>" * 15_000)))
    deep = in_the_standards_order(changed(LETTER, *before("</edXML:MessageHeader>", "<edXML:ToPlaces>" * 150 + "</edXML:ToPlaces>" * 150)))
    for letter in (wide, deep):
        assert (await send(gated, letter, f"many-{next(NUMBERS)}")).startswith("5.6.3") or valid(
            await fetched(gated, (await waiting(gated))[-1])
        )
