"""Receipts as evidence: what is sealed is what is read, and nothing that was touched is read at all."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from bus import pki, xmlio
from bus.errors import Rejected
from bus.evidence import Evidence, write
from bus.keys import Keyring
from bus.receipt import Receipt, Status, legible

NOW = datetime(2026, 1, 31, 8, 0, 0, 123456, tzinfo=UTC)
SCHEMAS = Path(__file__).resolve().parent.parent / "schemas" / "receipt" / "v1"
RECEIPT = Receipt(
    id="01934f6e-0000-7000-8000-000000000001",
    message_id="unit-1",
    document_id="000.00.07.G14,2026/01/31,00000001",
    sender="000.00.07.G14",
    recipient="000.00.00.G14",
    status=Status.ACCEPTED,
    code="2.0.0",
    reasons={"vi": "Đã tiếp nhận và lưu bền vững.", "en": "Accepted and stored durably."},
    at=NOW,
    digest="ab" * 32,
    previous="0" * 64,
)


def _evidence(certs: Path, key_type: str = "ec-p256") -> Evidence:
    pki.development(certs, organisation_name="Bộ Thử nghiệm", partners={}, now=NOW, key_type=key_type)
    keyring = Keyring.load(certs, {})
    return Evidence(keyring.signer("own/bus"), keyring.own, lambda: NOW)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return _evidence(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SCHEMAS / "receipt.xsd"))


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_a_receipt_is_read_as_it_was_sealed(tmp_path: Path, schema: etree.XMLSchema, key_type: str) -> None:
    """Whatever the key: the sealed XML is valid against the published schema and says exactly what was stated."""
    evidence = _evidence(tmp_path, key_type)
    xml = evidence.seal(RECEIPT)
    schema.assertValid(etree.fromstring(xml))
    assert evidence.read(xml) == RECEIPT


@pytest.mark.parametrize(
    "changed",
    [
        {"document_id": ""},
        {"reasons": {"vi": "Bên nhận báo: <không> & \"thiếu\"\r\n\t]]> 'ừ'", "en": legible("\x00\x0b\ud800\ufffe kept legible")}},
        {"message_id": "  a&b<c>  "},
        {"sender": "", "recipient": "a b"},
        {"status": Status.CANCELLED, "code": "5.7.0"},
    ],
)
def test_texts_survive_whatever_they_hold(evidence: Evidence, changed: dict[str, object]) -> None:
    """Markup, white space and line ends of a partner's words come back as they were."""
    receipt = replace(RECEIPT, **changed)
    assert evidence.read(evidence.seal(receipt)) == receipt


@given(*[st.text().map(legible)] * 3)
def test_a_receipt_is_written_in_canonical_form(document_id: str, vi: str, en: str) -> None:
    """Whatever its texts hold, the octets that are sealed are the receipt's exclusive C14N."""
    written = write(replace(RECEIPT, document_id=document_id, reasons={"vi": vi, "en": en}))
    assert written == xmlio.canonicalize(xmlio.parse(written))


def test_a_receipt_changed_anywhere_is_refused(evidence: Evidence) -> None:
    """No letter of what is stated can be changed without the signature failing."""
    xml = evidence.seal(RECEIPT)
    for stated in (b"unit-1", b"000.00.07.G14<", b"ACCEPTED", b"2.0.0", b"durably", b"08:00:00.1", b"abab", b"0000000"):
        at = xml.index(stated) + 1
        changed = xml[:at] + (b"7" if xml[at : at + 1] != b"7" else b"8") + xml[at + 1 :]
        with pytest.raises(Rejected, match=r"5\.7\."):
            evidence.read(changed)


def test_a_receipt_of_another_site_is_refused(evidence: Evidence, tmp_path: Path) -> None:
    """A good signature is not enough: it must be one of our own certificates, named by fingerprint in the refusal."""
    with pytest.raises(Rejected, match=r"5\.7\.8 .*SHA-256 [0-9a-f]{64}"):
        evidence.read(_evidence(tmp_path).seal(RECEIPT))


def test_an_unsigned_receipt_is_refused(evidence: Evidence) -> None:
    """Words without a signature prove nothing."""
    with pytest.raises(Rejected, match=r"5\.7\."):
        evidence.read(write(RECEIPT))


@pytest.mark.parametrize(
    "document", [b"<Other/>", b'<Receipt xmlns="urn:govbus:receipt:v1"/>', write(RECEIPT).replace(b"ACCEPTED", b"LOST")]
)
def test_what_we_signed_but_is_no_receipt_is_refused(evidence: Evidence, document: bytes) -> None:
    """Our own signature on something else does not make it a receipt: 5.6.7."""
    from bus.signature import xades

    with pytest.raises(Rejected, match=r"5\.6\.7"):
        evidence.read(xades.sign(document, evidence.signer, NOW))


@pytest.mark.parametrize("path", sorted((SCHEMAS / "examples").glob("*.xml")), ids=lambda path: path.stem)
def test_the_schemas_examples_are_what_their_names_say(schema: etree.XMLSchema, path: Path) -> None:
    """valid-* is valid, invalid-* is not."""
    assert schema.validate(etree.parse(path)) == path.name.startswith("valid-")
