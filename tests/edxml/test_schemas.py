"""The edXML schemas: their examples, their agreement with the codec, and what they cost on large files."""

from pathlib import Path

import pytest
from lxml import etree

from bus import edxml
from bus.edxml.model import DocumentType, Header, Kind, Organ, OtherInfo, StatusHeader, TraceList, specs
from bus.errors import Rejected
from sandbox.documents import GOVERNMENT_OFFICE, SPOILT, document, invalid, make, statuses
from sandbox.documents import Kind as DocumentKind

EXAMPLES = Path(__file__).parents[2] / "schemas" / "edxml" / "v1" / "examples"
DATA = Path(__file__).parent / "data"
XS = "{http://www.w3.org/2001/XMLSchema}"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("valid-*.xml")), ids=lambda path: path.stem)
def test_valid_examples_pass(path: Path, schemas: dict[str, etree.XMLSchema]) -> None:
    """Each ``valid-<schema>-…`` is valid against that schema; documents and statuses are received as well."""
    tree, schema = edxml.parse(path.read_bytes()), schemas[path.stem.split("-")[1]]
    assert schema.validate(tree), schema.error_log
    if not path.stem.startswith("valid-agency"):
        assert schemas["received"].validate(tree)
        assert edxml.describe(tree)["from"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("invalid-*.xml")), ids=lambda path: path.stem)
def test_invalid_examples_fail_as_they_say(path: Path, schemas: dict[str, etree.XMLSchema]) -> None:
    """Each ``invalid-<schema>-…`` says in a comment which error it shows."""
    expected = path.read_text(encoding="utf-8").split("<!-- expect: ")[1].split(" -->")[0]
    schema = schemas[path.stem.split("-")[1]]
    assert not schema.validate(edxml.parse(path.read_bytes()))
    assert any(expected in error.message for error in schema.error_log), schema.error_log


@pytest.mark.parametrize("path", sorted(DATA.glob("shape-*.edxml")), ids=lambda path: path.stem)
def test_the_thirteen_shapes_are_valid(path: Path, schemas: dict[str, etree.XMLSchema]) -> None:
    """The shapes that outside writers send pass the strict schema of their kind, hops first or not."""
    schema = schemas[path.stem.split("-")[1]]
    assert schema.validate(edxml.parse(path.read_bytes())), schema.error_log


@pytest.mark.parametrize("kind", DocumentKind)
def test_what_we_write_is_valid(kind: DocumentKind, schemas: dict[str, etree.XMLSchema]) -> None:
    """Every kind of document and every status that the sandbox writes is strictly valid, and its files are in order."""
    for seed in range(8):
        tree = edxml.parse(make(kind, 5_000, seed))
        assert schemas["document"].validate(tree), schemas["document"].error_log
        edxml.check_files(tree)
    for body in statuses(document(kind, 5_000), GOVERNMENT_OFFICE).values():
        assert schemas["status"].validate(edxml.parse(body)), schemas["status"].error_log


@pytest.mark.parametrize("what", SPOILT)
def test_spoilt_messages_are_refused(what: str, schemas: dict[str, etree.XMLSchema]) -> None:
    """Each way of spoiling a message is caught by the parser, the frame, the schema or the check of files."""
    try:
        tree = edxml.parse(invalid(what))
        edxml.describe(tree)
        refused = not schemas["document"].validate(tree)
        edxml.check_files(tree)
    except Rejected:
        refused = True
    assert refused


@pytest.mark.parametrize(
    ("schema", "name", "model"),
    [
        ("document", "MessageHeader", Header),
        ("document", "OtherInfo", OtherInfo),
        ("status", "MessageHeader", StatusHeader),
        ("common", "Organ", Organ),
    ],
)
def test_the_schema_and_the_codec_agree(schema: str, name: str, model: type) -> None:
    """The order of elements and what is mandatory are the same in the schema and in the codec's table."""
    tree = etree.parse(EXAMPLES.parent / f"{schema}.xsd")
    declared = tree.xpath(f"/*/*[local-name() = 'complexType'][@name = '{name}']/*/*[local-name() = 'element']")
    expected = [spec for _, spec in specs(model)]
    assert [element.get("name") for element in declared] == [spec.element for spec in expected]
    mandatory = {element.get("name") for element in declared if element.get("minOccurs") != "0"}
    assert {spec.element for spec in expected if spec.required} <= mandatory


def test_fields_know_their_elements() -> None:
    """Every field of the model stands for an element; numbers and records are told apart from texts."""
    assert [spec.kind for _, spec in specs(DocumentType)] == [Kind.INTEGER, Kind.INTEGER, Kind.TEXT]
    assert [spec.element for _, spec in specs(TraceList)] == ["Paper", "Bussiness", "TraceHeader"]
