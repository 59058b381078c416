"""What is written is what was meant: round trips, the Java library's order, and what the writer refuses."""

import re
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import edxml
from bus.edxml.model import (
    VIETNAM,
    Attachment,
    Business,
    Code,
    Document,
    DocumentChange,
    DocumentType,
    Header,
    Organ,
    OtherInfo,
    PromulgationInfo,
    Receiver,
    Replacement,
    ResponseFor,
    SignerInfo,
    StaffInfo,
    StatusHeader,
    StatusMessage,
    Trace,
    TraceList,
)
from bus.errors import Rejected
from sandbox.documents import GOVERNMENT_OFFICE, PARTNER_AGENCY, Kind, document, statuses

DATA = Path(__file__).parent / "data"
DAY, MOMENT = date(2026, 3, 15), datetime(2026, 3, 15, 9, 12, 33, tzinfo=VIETNAM)
ORGAN = Organ("G14", "Bộ", "Bộ TT&TT <thử>", "18 phố Giả Định", "vt@example.gov.vn", "024", "025", "example.gov.vn")
STAFF = StaffInfo("Văn thư", "VT", "Trần B", "tb", "tb@example.gov.vn", "090")
RESPONSE = ResponseFor("G22", "888/VPCP-KSTT", "G22,2026/02/20,888/VPCP-KSTT", DAY)
EVERYTHING = Document(
    Header(
        ORGAN,
        (ORGAN,),
        "G14,2026/03/15,1/BTTTT-VP",
        Code("1", "BTTTT-VP"),
        PromulgationInfo("Hà Nội", DAY),
        DocumentType(2, 18, "Công văn"),
        "V/v A & B",
        "Nội dung",
        SignerInfo("KT. BỘ TRƯỞNG", "Thứ trưởng", "Nguyễn A"),
        DAY,
        OtherInfo(1, "Liên thông", "TVC", 1, 3, "x", True, "y", ("Phụ lục",)),
        (RESPONSE,),
        2,
        ("NV1",),
        "1",
        ("Lưu: VT",),
    ),
    TraceList(
        "1",
        Business(
            "G14,2026/03/14,0/BTTTT-VP",
            2,
            "đính chính",
            1,
            (DocumentChange(1, 1, (Receiver("G01", 0),)),),
            (Replacement("G14,2026/03/13,9/BTTTT-VP", ("G01",)),),
            (STAFF,),
        ),
        (Trace("G14", MOMENT),),
    ),
    (Attachment("a.pdf", b"%PDF", "x-1", "Văn bản"), Attachment("b.xlsx", b"bang", "x-2", "Phụ lục")),
)
FULL_STATUS = StatusMessage(StatusHeader(ORGAN, RESPONSE, (STAFF,), "02", "Từ chối", MOMENT))


def outline(body: bytes) -> list[str]:
    """Names as literally written, by depth, with a mark where a namespace is declared."""
    lines, depth = [], 0
    for close, name, attributes in re.findall(r"<(/?)([A-Za-z:]+)([^<>]*)>", body.decode()):
        if close:
            depth -= 1
            continue
        lines.append("  " * depth + name + "".join(f" {declared}" for declared in re.findall(r"xmlns(?::\w+)?", attributes)))
        depth += 1
    return lines


@pytest.mark.parametrize(("kind", "body"), [("document", edxml.write_document(EVERYTHING)), ("status", edxml.write_status(FULL_STATUS))])
def test_the_writer_follows_the_java_library(kind: str, body: bytes) -> None:
    """With every field set, names, prefixes, order and namespace declarations are the exchange library's own."""
    expected = (DATA / f"sdk-{kind}-outline.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert outline(body) == expected


def test_everything_survives_writing_and_reading() -> None:
    """read(write(x)) == x with every field set, without a warning, and writing again gives the same octets."""
    for message, write in ((EVERYTHING, edxml.write_document), (FULL_STATUS, edxml.write_status)):
        body = write(message)
        again = edxml.read(edxml.parse(body))
        assert (again, again.warnings, dict(again.raw)) == (message, (), {})
        assert write(again) == body


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("seed", range(5))
def test_sandbox_documents_survive(kind: Kind, seed: int) -> None:
    """So do realistic documents of each kind, and all nine statuses about them."""
    whole = document(kind, 5_000, seed, receivers=(GOVERNMENT_OFFICE, PARTNER_AGENCY))
    assert edxml.read(edxml.parse(edxml.write_document(whole))) == whole
    for code, body in statuses(whole, GOVERNMENT_OFFICE).items():
        again = edxml.read(edxml.parse(body))
        assert edxml.write_status(again) == body, code


_LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cn", "Zs", "Zl", "Zp"), max_codepoint=0x1EFF), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(subject=_LINE, name=_LINE, data=st.binary(max_size=200), ending=st.sampled_from(["pdf", "xlsx", "txt", "docx"]))
def test_any_text_and_any_octets_survive(subject: str, name: str, data: bytes, ending: str) -> None:
    """Whatever letters the subject and whatever octets a file has, they come back (the text in NFC)."""
    file = Attachment("f." + ending, data, "1")
    whole = replace(
        EVERYTHING, header=replace(EVERYTHING.header, subject=subject, to=(replace(ORGAN, organ_name=name),)), attachments=(file,)
    )
    body = edxml.write_document(whole)
    again = edxml.read(edxml.parse(body))
    assert isinstance(again, Document)
    assert again.attachments == (file,)
    assert edxml.read(edxml.parse(edxml.write_document(again))) == again


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"document_id": ""}, "DocumentId is missing"),
        ({"to": ()}, "To is missing"),
        ({"subject": ""}, "Subject is missing"),
        ({"promulgation_info": PromulgationInfo("Hà Nội")}, "PromulgationDate is missing"),
        ({"subject": "a\x00b"}, r"Subject holds U\+0000"),
    ],
)
def test_the_writer_refuses_what_must_not_leave(change: dict[str, object], detail: str) -> None:
    """A missing mandatory field or a character that XML cannot hold is refused by name, before any octet is made."""
    with pytest.raises(Rejected, match=detail):
        edxml.write_document(replace(EVERYTHING, header=replace(EVERYTHING.header, **change)))


def test_two_files_with_one_id_are_refused() -> None:
    """An id ties a file to its reference: the writer does not give one id to two files."""
    file = EVERYTHING.attachments[0]
    with pytest.raises(Rejected, match="two attachments"):
        edxml.write_document(replace(EVERYTHING, attachments=(file, file)))


SAMPLES = [*sorted(DATA.glob("shape-*.edxml"))]
OUTSIDE = Path(__file__).parents[3] / "shared" / "samples"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_thirteen_shapes_are_read(path: Path) -> None:
    """Four documents and nine statuses laid out as outside writers do, with comments: read in full, nothing odd found."""
    message = edxml.read(edxml.parse(path.read_bytes()))
    assert (message.warnings, dict(message.raw)) == ((), {})


def test_shared_samples_are_read() -> None:
    """Where the shared samples lie beside the checkout, each of them is read and described."""
    paths = sorted([*OUTSIDE.glob("edxml/*.edxml"), *OUTSIDE.glob("vxp/*.edxml")])
    if not paths:
        pytest.skip("no samples beside the checkout")
    for path in paths:
        tree = edxml.parse(path.read_bytes())
        assert edxml.describe(tree)["kind"] == ("status" if isinstance(edxml.read(tree), StatusMessage) else "document")
