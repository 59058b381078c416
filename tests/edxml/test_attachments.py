"""Files of a document: the Java library's packing, limits of unpacking, pairing, and the strict check for gates."""

import io
import zipfile
from base64 import b64encode

import pytest
from edxml_letters import attachment, letter, reference

from bus import edxml
from bus.edxml import files as edxml_files
from bus.edxml.model import Attachment
from bus.errors import Rejected


def packed(*entries: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("a.pdf", "application/pdf"),
        ("b.doc", "application/doc"),
        ("c.docx", "application/docx"),
        ("d.xlsx", "application/zip"),
        ("e.txt", "application/zip"),
        ("f.PDF", "application/pdf"),
        ("g.zip", "application/zip"),
        ("noext", "application/zip"),
    ],
)
def test_packing_is_the_java_librarys(name: str, label: str) -> None:
    """The label and whether a file is wrapped follow from its extension exactly as in the exchange's own library."""
    given, data = edxml_files.pack(Attachment(name, b"hello world"), "x")
    wrapped = data.startswith(b"PK")
    assert given == label
    assert wrapped == (label == "application/zip" and name != "g.zip")
    assert edxml_files.unpack(name, data) == b"hello world"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", packed(("x.txt", b"x"))),
        ("a.docx", packed(("[Content_Types].xml", b"<Types/>"))),
        ("a.docx", packed(("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<w/>"))),
        ("a.odt", packed(("content.xml", b"<x/>"))),
        ("a.pdf", packed(("1.pdf", b"x"), ("2.pdf", b"y"))),
        ("a.pdf", b"PK\x03\x04 and then no zip at all"),
        ("a.pdf", b"\xef\xbf\xbd%PDF"),
    ],
)
def test_what_is_no_wrapping_stays_packed(name: str, data: bytes) -> None:
    """Real packages, zips of several files and damaged zips reach the receiver as they are."""
    assert edxml_files.unpack(name, data) == data


def test_a_wrapped_package_is_unpacked_once() -> None:
    """An xlsx that the Java library wrapped comes out as the xlsx, not as its parts."""
    book = packed(("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"<w/>"))
    assert edxml_files.unpack("so_lieu.xlsx", packed(("0c9f.xlsx", book))) == book


def test_a_bomb_is_an_error_of_that_file() -> None:
    """A small zip that unpacks to very much is not unpacked; the message and its other files are read."""
    bomb = b64encode(packed(("a.txt", bytes(20 * 1024 * 1024)))).decode()
    files, warnings = edxml_files.read_attachments(
        edxml.parse(letter(attachments=attachment(bomb, "a.txt") + attachment("YWJj", "b.pdf", "b")))
    )
    assert ("unpacks to more than" in files[0].error, files[0].data, files[1].data) == (True, b"", b"abc")
    assert len(warnings) == 1


def test_pairing_by_id_then_place_then_name() -> None:
    """Ids pair first; what is left pairs by place, the rest by name; a reference without a file is told."""
    references = reference("mot.pdf", "1") + reference("hai.pdf", "2") + reference("ba.pdf", "3") + reference("bon.pdf", "4")
    files = (
        attachment("YQ==", "", "2")
        + attachment("Yg==", "", "unknown")
        + attachment("Yw==", "ba.pdf", "")
        + attachment("ZA==", "mot.pdf", "z")
    )
    read, warnings = edxml_files.read_attachments(edxml.parse(letter(references=references, attachments=files)))
    assert [file.name for file in read] == ["hai.pdf", "attachment-2", "ba.pdf", "mot.pdf"]
    assert warnings == ("the manifest names 'mot.pdf', which is not attached",)


def test_files_where_no_receiver_looks_are_told() -> None:
    """``edXMLAttachments`` inside the envelope is not read, and not passed over in silence."""
    body = letter().replace(b"</edXMLEnvelope>", b"<edXMLAttachments><Attachment/></edXMLAttachments></edXMLEnvelope>")
    message = edxml.read(edxml.parse(body))
    assert "edXMLAttachments" in message.warnings[0]


def test_check_files_lists_every_bad_file() -> None:
    """The gate's check passes good files, and names every bad one with its place."""
    edxml.check_files(edxml.parse(letter(attachments=attachment("YW\nJj"))))
    bad = attachment("YWJj") + attachment("YWJ", "hai.pdf") + attachment("", "ba.pdf") + attachment("YWJj", "")
    with pytest.raises(Rejected) as refused:
        edxml.check_files(edxml.parse(letter(attachments=bad)), "edxml/v1/document.xsd")
    assert refused.value.code == "5.6.3"
    assert refused.value.at == "/edXML/AttachmentEncoded/Attachment[2]"
    errors = str(refused.value.values["errors"])
    assert [f"Attachment[{number}]" in errors for number in (1, 2, 3, 4)] == [False, True, True, True]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("A.PDF", "application/pdf"),
        ("a.b.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (".pdf", "application/octet-stream"),
        ("x", "application/octet-stream"),
    ],
)
def test_media_types_are_the_registered_ones(name: str, kind: str) -> None:
    """For everyone outside the exchange a file has its registered media type."""
    assert edxml.media_type(name) == kind
