"""The stylesheets: anything tolerable becomes the strict form; a document becomes the agency's own."""

from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
from edxml_letters import HEADER, TRACES, attachment, letter, reference
from lxml import etree

from bus import edxml
from bus.edxml.model import Document
from sandbox.documents import GOVERNMENT_OFFICE, PARTNER_AGENCY, Kind, document, make, statuses

EXAMPLES = Path(__file__).parents[2] / "schemas" / "edxml" / "v1" / "examples"
Transform = Callable[[str, etree._Element], bytes]
Schemas = dict[str, etree.XMLSchema]
AGENCY = "{urn:example:agency:incoming:v1}"

VARIATIONS = {
    "plain": letter(),
    "prefixed": letter().decode().replace("<", "<q:").replace("<q:/", "</q:").replace("<q:?", "<?").replace("xmlns=", "xmlns:q=").encode(),
    "reversed": letter("".join(reversed(HEADER.strip().splitlines()))),
    "spellings": letter(traces=TRACES.replace("Bussiness", "Business") + "<DigitalSignature/>"),
    "dates": letter(HEADER.replace("2026/03/15</Prom", "5/3/2026 08:00:00</Prom") + "<DueDate>2026-04-01T00:00:00</DueDate>"),
    "empty": letter(HEADER + "<ResponseFor/><SignerInfo><Position/></SignerInfo><DueDate/><ToPlaces/>"),
    "steering": letter(HEADER.replace("<SteeringType>1", "<SteeringType>0")),
    "nameless": letter(HEADER.replace("<OrganName>Văn phòng Chính phủ</OrganName>", "")),
    "no traces": letter(traces=""),
    "null hop": letter(traces=TRACES.replace("<OrganId>000.00.01.G14", "<OrganId>null")),
    "files": letter(references=reference("tra loi.pdf", "cid:cid:a"), attachments=attachment("JVBERi0=", "", "a", "application/zip")),
    "leftovers": letter(root="<Boundary>b</Boundary><ContentType>x</ContentType>"),
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_any_variation_becomes_strict(name: str, transform: Transform, schemas: Schemas) -> None:
    """Whatever section 5 tolerates is valid against the strict schema after normalising, and means what it meant."""
    tree = edxml.parse(VARIATIONS[name])
    strict = edxml.parse(transform("normalise", tree))
    assert schemas["document"].validate(strict), schemas["document"].error_log
    before, after = edxml.read(tree), edxml.read(strict)
    assert isinstance(before, Document)
    assert isinstance(after, Document)
    assert (after.warnings, dict(after.raw)) == ((), {})
    if name != "nameless":
        assert after.header == before.header
    assert after.trace_list == before.trace_list
    assert [(file.name, file.data) for file in after.attachments] == [(file.name, file.data) for file in before.attachments]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("valid-received-*.xml")), ids=lambda path: path.stem)
def test_what_others_send_becomes_strict(path: Path, transform: Transform, schemas: Schemas) -> None:
    """The examples of what the gate lets through come out strict."""
    strict = edxml.parse(transform("normalise", edxml.parse(path.read_bytes())))
    assert schemas["document"].validate(strict), schemas["document"].error_log


@pytest.mark.parametrize("kind", Kind)
def test_normalising_changes_no_content_and_rests(kind: Kind, transform: Transform) -> None:
    """Our own documents keep their content, get the literal prefixes, and are not changed by a second pass."""
    body = make(kind, 5_000, 3, receivers=(GOVERNMENT_OFFICE, PARTNER_AGENCY))
    once = transform("normalise", edxml.parse(body))
    assert edxml.read(edxml.parse(once)) == edxml.read(edxml.parse(body))
    assert transform("normalise", edxml.parse(once)) == once
    assert once.startswith(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<edXML xmlns="http://www.mic.gov.vn/TBT/QCVN_102_2016">'
        b'<edXML:edXMLEnvelope xmlns:edXML="http://www.mic.gov.vn/TBT/QCVN_102_2016"><edXML:edXMLHeader><edXML:MessageHeader><edXML:From>'
    )


def test_statuses_become_strict(transform: Transform, schemas: Schemas) -> None:
    """All nine statuses pass unchanged in content; a one-digit code gets its zero."""
    for code, body in statuses(document(size=5_000), GOVERNMENT_OFFICE).items():
        sloppy = body.replace(f"StatusCode>{code}".encode(), f"StatusCode>{code.lstrip('0')}".encode())
        strict = edxml.parse(transform("normalise", edxml.parse(sloppy)))
        assert schemas["status"].validate(strict), schemas["status"].error_log
        assert edxml.read(strict) == edxml.read(edxml.parse(body))


@pytest.mark.parametrize(
    ("name", "content", "written", "label"),
    [
        ("a.pdf", "UEsDBA==", "text/plain", "application/zip"),
        ("a.xlsx", "UEsDBA==", "application/zip", "application/zip"),
        ("a.docx", "UEsDBA==", "application/docx", "application/docx"),
        ("a.pdf", "JVBERi0=", "application/zip", "application/pdf"),
        ("a.pdf", "JVBERi0=", "", "application/pdf"),
        ("a.doc", "0M8R4A==", "application/zip", "application/octet-stream"),
    ],
)
def test_labels_are_made_true(name: str, content: str, written: str, label: str, transform: Transform) -> None:
    """A label that would make the exchange's reader lose the message, or keep a file packed, is put right in both places."""
    tree = edxml.parse(
        transform("normalise", edxml.parse(letter(references=reference(name), attachments=attachment(content, name, label=written))))
    )
    assert {element.text for element in tree.iter(f"{{{edxml.NAMESPACE}}}ContentType")} == {label}


def test_what_is_missing_is_not_made_up(transform: Transform, schemas: Schemas) -> None:
    """A document without a subject is still without one afterwards, and the strict schema says so."""
    strict = edxml.parse(transform("normalise", edxml.parse(letter(HEADER.replace("<Subject>V/v số liệu</Subject>", "")))))
    assert not schemas["document"].validate(strict)


@pytest.mark.parametrize("kind", Kind)
def test_the_agencys_form(kind: Kind, transform: Transform, schemas: Schemas) -> None:
    """Every kind of document becomes a valid entry of the agency's register, with every file."""
    whole = document(kind, 5_000, 4, receivers=(PARTNER_AGENCY,))
    tree = edxml.parse(transform("agency", edxml.parse(edxml.write_document(whole))))
    assert schemas["agency"].validate(tree), schemas["agency"].error_log
    header = whole.header
    assert tree.findtext(f"{AGENCY}ReferenceNumber") == str(header.code)
    assert tree.findtext(f"{AGENCY}Subject") == header.subject
    files = [
        (file.findtext(f"{AGENCY}Name"), file.get("packed"), b64decode(file.findtext(f"{AGENCY}Content") or ""))
        for file in tree.iter(f"{AGENCY}File")
    ]
    assert [(name, data) for name, packed, data in files if packed is None] == [
        (file.name, file.data) for file in whole.attachments if not file.name.endswith("xlsx")
    ]
    assert {name for name, packed, _ in files if packed} == {file.name for file in whole.attachments if file.name.endswith("xlsx")}


def test_a_stylesheet_reaches_nothing(transform: Transform) -> None:
    """A document that names itself a stylesheet or an include has no effect on the transformation."""
    body = letter().replace(b"?>\n", b'?>\n<?xml-stylesheet href="file:///etc/passwd" type="text/xsl"?>', 1)
    assert transform("normalise", edxml.parse(body)) == transform("normalise", edxml.parse(letter()))
