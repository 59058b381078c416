"""The generator of fictitious documents: real files, asked-for sizes, the same octets every time."""

import io
import re
import zipfile

import pytest
from lxml import etree

from bus import edxml
from sandbox import files
from sandbox.documents import PUBLIC_SECURITY, TELECOM_AUTHORITY, Kind, document, make, wrong_sender

LINES = ("CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", "Độc lập - Tự do - Hạnh phúc", "Số: 12/CVT-VP & <thử>")


@pytest.mark.parametrize("kind", files.MAKERS)
@pytest.mark.parametrize("size", [5_000, 100_000, 1_000_000])
def test_files_have_the_size_asked_for(kind: str, size: int) -> None:
    """Within one row of the scan above the size, and the same every time."""
    made = files.MAKERS[kind](LINES, size, 1)
    assert size <= len(made) <= size + 1_100
    assert made == files.MAKERS[kind](LINES, size, 1)
    assert made != files.MAKERS[kind](LINES, size, 2)


def test_a_pdf_is_a_pdf() -> None:
    """The cross-reference table points at the objects, stream lengths are true, every letter can be copied out."""
    made = files.pdf(LINES, 5_000, 1)
    start = int(re.findall(rb"startxref\n(\d+)\n%%EOF\n$", made)[0])
    offsets = [int(entry) for entry in re.findall(rb"(\d{10}) 00000 n \n", made[start:])]
    assert made[start:].startswith(b"xref\n")
    assert [made[offset:].startswith(b"%d 0 obj\n" % number) for number, offset in enumerate(offsets, 1)] == [True] * len(offsets)
    for match in re.finditer(rb"/Length (\d+) >>\nstream\n", made):
        assert made[match.end() + int(match[1]) :].startswith(b"\nendstream")
    letters = {chr(int(code, 16)) for code in re.findall(rb"<[0-9A-F]{2}> <([0-9A-F]{4})>", made)}
    assert letters == set("".join(LINES))


@pytest.mark.parametrize(("kind", "part"), [("docx", "word/document.xml"), ("xlsx", "xl/worksheets/sheet1.xml")])
def test_packages_are_packages(kind: str, part: str) -> None:
    """Content types first, every part well-formed and every relationship's target there; the text is in the main part."""
    with zipfile.ZipFile(io.BytesIO(files.MAKERS[kind](LINES, 5_000, 1))) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "[Content_Types].xml"
        for name in archive.namelist():
            etree.fromstring(archive.read(name))
        assert LINES[1] in "".join(etree.fromstring(archive.read(part)).itertext())


def test_ten_megabytes() -> None:
    """A 10 MB document is made, and is about that large on the wire (base64 adds a third)."""
    assert 13_000_000 < len(make(size=10_000_000, seed=3)) < 15_000_000


def test_a_seed_is_a_document() -> None:
    """The same seed gives the same octets, another one another document."""
    assert make(seed=5) == make(seed=5)
    assert document(seed=5).header.document_id != document(seed=6).header.document_id


def test_variants_speak_of_the_same_document() -> None:
    """Recall and update name this seed's document, a replacement lists it, a reply answers the first receiver."""
    fresh = document(seed=9).header
    recall, update = document(Kind.RECALL, seed=9), document(Kind.UPDATE, seed=9)
    assert recall.trace_list.business.document_id == recall.header.response_for[0].document_id == fresh.document_id
    assert update.header.document_id == update.trace_list.business.document_id == fresh.document_id
    replacement = document(Kind.REPLACE, seed=9)
    assert [item.document_id for item in replacement.trace_list.business.replacements] == [fresh.document_id]
    assert replacement.header.document_id != fresh.document_id
    reply = document(Kind.REPLY, seed=9).header
    assert (reply.response_for[0].organ_id, reply.steering_type) == ("000.00.00.G22", 3)


def test_a_wrong_sender() -> None:
    """Only the sender's code is another one."""
    spoilt = edxml.describe(edxml.parse(wrong_sender(make())))
    assert spoilt == {**edxml.describe(edxml.parse(make())), "from": PUBLIC_SECURITY.code}
    assert TELECOM_AUTHORITY.code in spoilt["document-id"]
