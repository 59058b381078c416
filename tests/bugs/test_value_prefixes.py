"""A prefix that only a value uses keeps its declaration: what the receiver gets is as valid as what was sent, or it is refused."""

import re
from hashlib import sha256
from itertools import count
from time import process_time

import pytest
from forms_rig import bus, fetched, forms_certs, gated, refused, waiting  # noqa: F401 - fixtures
from lxml import etree
from soap_rig import OTHER, REPOSITORY, UNIT, Rig, now

from adapters.soap import payloads
from bus import soap, xmlio
from bus.errors import Rejected
from bus.exchange import Exchange
from bus.hollow import Hollow
from bus.message import SENDER, Message
from bus.octets import whole
from bus.proofs.sender import _carried
from bus.signature import wss, xades, xmldsig, xmldsig_by_id
from bus.soap import SOAP_11
from bus.steps import verify
from sandbox import documents

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBERS = count(1)
XS, XSI = "http://www.w3.org/2001/XMLSchema", "http://www.w3.org/2001/XMLSchema-instance"
DECLARED = f' xmlns:xsi="{XSI}" xmlns:xsd="{XS}"'
SCHEMA = REPOSITORY / "schemas" / "edxml" / "v1" / "document.xsd"
LETTER = documents.make(
    size=5_000,
    seed=30,
    sender=documents.Party(UNIT, "Đơn vị", "Bộ", "CQ", "VP"),
    receivers=(documents.Party(OTHER, "Bộ khác", "Bộ", "CQ", "VP"),),
).decode()
INLINE = LETTER.partition("?>")[2].strip()
TYPED = INLINE.replace("<edXML:TypeName>", '<edXML:TypeName xsi:type="xsd:string">', 1)
DEFAULT = INLINE.replace("<edXML:TypeName>", f'<edXML:TypeName xmlns="{XS}" xmlns:xsi="{XSI}" xsi:type="string">', 1)


def valid(body: bytes) -> bool:
    return etree.XMLSchema(etree.parse(SCHEMA)).validate(etree.fromstring(body))


def envelope(document: str, known_as: str, *, on_envelope: str = "", on_body: str = "", on_call: str = "", on_document: str = "") -> bytes:
    """An envelope with declarations where one likes."""
    call = (
        f"<x:SendDocument {payloads.DECLARATION.decode()}{on_call}><x:MessageId>{known_as}</x:MessageId>"
        f"<x:Document{on_document}>{document}</x:Document></x:SendDocument>"
    )
    return f'<s:Envelope xmlns:s="{SOAP_11.namespace}"{on_envelope}><s:Body{on_body}>{call}</s:Body></s:Envelope>'.encode()


async def send(bus: Rig, data: bytes) -> str:  # noqa: F811
    response = await bus.post(wss.sign(data, bus.unit, now()))
    return "" if response.status == 200 else refused(response)


@pytest.mark.parametrize("place", ["on_envelope", "on_body", "on_call", "on_document"])
async def test_a_type_by_a_prefix_of_the_envelope_arrives_valid(gated: Rig, place: str) -> None:  # noqa: F811
    """Wherever above the document it is declared, the receiver's document declares it, and the digest in the receipt is of those octets."""
    known_as = f"above-{next(NUMBERS)}"
    assert await send(gated, envelope(TYPED, known_as, **{place: DECLARED})) == ""
    got = await fetched(gated, known_as)
    assert valid(got)
    assert f' xmlns:xsd="{XS}"'.encode() in got


@pytest.mark.parametrize("target", ["<edXML ", "<edXML:edXMLEnvelope ", "<edXML:TypeName "])
async def test_a_type_by_a_prefix_of_the_document_arrives_valid(gated: Rig, target: str) -> None:  # noqa: F811
    """The same where the document declares it itself, at its root, further down, or at the very element."""
    known_as = f"within-{next(NUMBERS)}"
    assert await send(gated, envelope(TYPED.replace(target, f"{target[:-1]}{DECLARED} ", 1), known_as)) == ""
    assert valid(await fetched(gated, known_as))


async def test_a_default_namespace_that_only_a_type_means_arrives(gated: Rig) -> None:  # noqa: F811
    """`xsi:type="string"` with XML Schema's as the default namespace means xs:string, there as here."""
    assert await send(gated, envelope(DEFAULT, "default")) == ""
    assert valid(await fetched(gated, "default"))


async def test_a_prefix_that_nobody_declared_is_refused(gated: Rig) -> None:  # noqa: F811
    """With xsi declared and xsd not, the document was invalid from the beginning: 5.6.3."""
    assert (await send(gated, envelope(TYPED, "undeclared", on_envelope=f' xmlns:xsi="{XSI}"'))).startswith("5.6.3")
    assert "undeclared" not in await waiting(gated)


async def test_a_document_without_such_values_is_plain_exclusive_c14n(bus: Rig) -> None:  # noqa: F811
    """Nothing changes for anybody else: prefixes of the envelope that stand in texts by chance add nothing."""
    letter = INLINE.replace("<edXML:Subject>", "<edXML:Subject>x:y s:Body wsse:a http://a.b 10:00 cid:xsd:", 1)
    assert await send(bus, envelope(letter, "plain", on_envelope=DECLARED)) == ""
    assert await fetched(bus, "plain") == xmlio.canonicalize(xmlio.parse(letter.encode()))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('<a xmlns:p="urn:p" b="p:c"/>', ("p",)),
        ('<a xmlns:p="urn:p">p:c</a>', ("p",)),
        ('<a xmlns:p="urn:p"><b>x p:c(1)/p:d</b></a>', ("p",)),
        ('<a xmlns:p="urn:p"><b/>p:c</a>', ("p",)),
        ('<a xmlns:p="urn:p"><b xmlns:p="urn:q"><c d="p:c"/></b></a>', ("p",)),
        ('<p:a xmlns:p="urn:p" b="p:c"/>', ()),
        ('<a xmlns:p="urn:p" p:b="p:c"/>', ("p",)),
        ('<p:a xmlns:p="urn:p"><b><c d="p:c"/></b></p:a>', ()),
        ('<p:a xmlns:p="urn:p"><b xmlns:p="urn:q" d="p:c"/></p:a>', ("p",)),
        ('<a xmlns:p="urn:p"><p:b/><c d="p:c"/></a>', ("p",)),
        ('<a xmlns:p="urn:p" b="http://p:80/ p: c :p:c 10:p"/>', ()),
        ('<a xmlns:đơn="urn:p" b="đơn:vị"/>', ("đơn",)),
        (f'<p:a xmlns:p="urn:p" xmlns="urn:d" xmlns:xsi="{XSI}" xsi:type="T"/>', ("#default",)),
        (f'<a xmlns="urn:d" xmlns:xsi="{XSI}" xsi:type="T"/>', ()),
        (f'<a xmlns:xsi="{XSI}" xsi:type="T"/>', ()),
    ],
)
async def test_prefixes_of_values_are_found(written: str, expected: tuple[str, ...]) -> None:
    """Attributes, texts, tails, paths; what the output declares anyway is none of them, and what they mean survives."""
    root = xmlio.parse(written.encode())
    assert xmlio.value_prefixes(root) == expected
    again = xmlio.parse(whole(Hollow().document(root)))
    for before, after in zip(root.iter(), again.iter(), strict=True):
        for prefix in expected:
            key = None if prefix == "#default" else prefix
            assert after.nsmap.get(key) == before.nsmap.get(key)


async def test_many_names_under_many_declarations_take_no_time() -> None:
    """As deep, wide and full of declarations as a document may be, with a name in each value."""
    declared = "".join(f' xmlns:p{number}="urn:{number}"' for number in range(200))
    deep = "".join(f'<a b="p{number % 16}:c">' for number in range(150)) + '<b c="p1:d q:e">p2:f</b>' * 20_000 + "</a>" * 150
    root = xmlio.parse(f"<r{declared}>{deep}</r>".encode())
    began = process_time()
    assert len(xmlio.value_prefixes(root)) == xmlio.MOST_VALUE_PREFIXES
    assert Hollow().document(root)
    assert process_time() - began < 3
    more = xmlio.parse(f"<r{declared} a='{' '.join(f'p{number}:c' for number in range(17))}'/>".encode())
    with pytest.raises(Rejected, match=r"5\.6\.1"):
        xmlio.value_prefixes(more)


async def test_the_proof_finds_the_document_in_the_request(bus: Rig) -> None:  # noqa: F811
    """Evidence compares the request with the message by the door's own rule, and by the rule of before for messages of before."""
    data = wss.sign(envelope(TYPED, "proof", on_envelope=DECLARED), bus.unit, now())
    read = soap.read(data, "text/xml")
    now_is, before_was = _carried(read)
    assert now_is != before_was
    assert await send(bus, envelope(TYPED, "proof", on_envelope=DECLARED)) == ""
    got = await fetched(bus, "proof")
    assert sha256(got).hexdigest() == now_is


async def test_what_we_sign_keeps_them(bus: Rig) -> None:  # noqa: F811
    """XAdES, enveloped and by-Id signatures of ours: the text keeps the declaration, and the signature holds."""
    document = TYPED.replace("<edXML ", f"<edXML{DECLARED} ", 1).encode()
    signed = {
        "xades": (xades.sign(document, bus.unit, now()), xades.verify),
        "xmldsig": (xmldsig.sign_enveloped(document, bus.unit), xmldsig.verify_enveloped),
    }
    for octets, proved in signed.values():
        assert f' xmlns:xsd="{XS}"'.encode() in octets
        assert proved(octets, lambda _: "unit").identity == "unit"
    by_id = xmldsig_by_id.sign(document, "edXMLEnvelope", bus.unit)
    assert f' xmlns:xsd="{XS}"'.encode() in by_id
    assert xmldsig_by_id.verify(by_id, "edXMLEnvelope", lambda _: "unit").identity == "unit"


@pytest.mark.parametrize("signs", [True, False])
async def test_what_we_send_keeps_them(bus: Rig, signs: bool) -> None:  # noqa: F811
    """An envelope of ours around such a payload declares the prefix, and its signature holds for a reader of exclusive C14N."""
    payload = TYPED.replace("<edXML ", f"<edXML{DECLARED} ", 1).encode()
    data = wss.enclose(SOAP_11.namespace, payload, bus.unit if signs else None, now())
    read = soap.read(whole(data), "text/xml")
    if signs:
        wss.verify(read.root, wss.Policy(), lambda *_: "unit", now())
    assert valid(whole(read.hollow.document(read.payload)))


async def test_a_signature_that_does_not_cover_the_declaration_is_refused(bus: Rig) -> None:  # noqa: F811
    """What goes on after `verify` is what was signed: a prefix that is not in it is refused, and named in the refusal."""
    step = verify.build(verify.Options(), bus.site)
    document = TYPED.replace("<edXML ", f"<edXML{DECLARED} ", 1).encode()
    for body, code in ((document, "5.7.7"), (INLINE.encode(), "")):
        message = Message("1", {SENDER: "unit"}, xades.sign(body, bus.unit, now()))
        try:
            step(Exchange(message, message, "r", now()))
        except Rejected as error:
            assert (error.code, "xsd" in error.reason("en")) == (code, True)
        else:
            assert code == ""


async def test_rebinding_a_prefix_outside_the_signature_makes_nothing_valid(gated: Rig) -> None:  # noqa: F811
    """Exclusive C14N does not cover the Envelope's declarations: what an attacker makes of them is judged by the schema."""
    known_as = f"rebound-{next(NUMBERS)}"
    signed = wss.sign(envelope(TYPED, known_as, on_envelope=DECLARED), gated.unit, now())
    for other in ("urn:evil", f"{XS}-instance"):
        rebound = re.sub(rb'xmlns:xsd="[^"]*"', f'xmlns:xsd="{other}"'.encode(), signed, count=1)
        assert refused(await gated.post(rebound)).startswith("5.6.3")
    assert known_as not in await waiting(gated)
