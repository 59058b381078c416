"""The files of an edXML document: pairing, base64, and the packing that the exchange's own library applies.

On the wire a file is named twice, in the manifest (``Reference``) and beside its content (``Attachment``), and the two agree less
often than one would wish; content types are often wrong, and single-entry zips wrap some files and not others. So a reader pairs by
id, then by place, then by name, and decides about unpacking from the bytes. What is wrong with one file is that file's ``error``;
it never spoils the message. ``check_files`` is the strict counterpart for gates: Rejected ``schema-invalid``, naming the attachment.
"""

import binascii
import io
import unicodedata
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pybase64
from lxml import etree

from bus import lexical
from bus.edxml.frame import child, children, frame, text
from bus.edxml.model import Attachment, Document
from bus.errors import Phrase, Rejected
from bus.hollow import Hollow
from bus.octets import SMALL, Body, Decoded, Octets, collected, decoded, regrouped

#: Largest file that is unpacked: three client systems of the exchange stop at 50 MB a message (notes 1.6); we leave some room.
MOST_UNPACKED = 64 * 1024 * 1024
#: A small text packs well beyond 100:1; only above this size does the ratio count.
RATIO_FREE = 4 * 1024 * 1024
MOST_RATIO = 100

#: Characters of a file's name: what NTFS can keep.
MOST_NAME = 255
#: Embeddings, overrides and isolates of Unicode's bidirectional algorithm (UAX 9): with them "gpj.exe" is shown as "exe.jpg".
_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

#: Sent as they are, labelled ``application/<extension>``; the Java library's own list, whose xls and xlsx are misspelt there.
RAW = frozenset({"pdf", "doc", "docx", "zip"})
#: Files that are zips themselves and must not be unpacked.
_PACKAGES = frozenset({"zip", "docx", "xlsx", "pptx", "odt", "ods", "odp", "jar", "apk"})
#: Of these, a real one has a content types part; one without it is a wrapped file (the Java library wraps xlsx).
_OFFICE = frozenset({"docx", "xlsx", "pptx"})
_CONTENT_TYPES = "[Content_Types].xml"
_ZIP_MARK = b"PK\x03\x04"
#: Faults reported at once, and characters of a name in one: an answer has to stay small.
_MOST_FAULTS, _MOST_NAME = 20, 80
#: Octets of the directory of a zip with one entry, by far; and the longest end of a zip (APPNOTE 4.3.16): 22 octets and a comment.
_MOST_DIRECTORY = 64 * 1024
_LONGEST_END = 22 + 0xFFFF
#: How writers wrap. Of the others LZMA would let a file say how many gigabytes its reader sets aside.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)

_MEDIA_TYPES = {
    "pdf": "application/pdf",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "zip": "application/zip",
    "txt": "text/plain",
    "xml": "application/xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "tif": "image/tiff",
    "tiff": "image/tiff",
}


def extension(name: str) -> str:
    """The file name's extension, lower-case, without the dot; "" if there is none."""
    stem, dot, last = name.rpartition(".")
    return last.lower() if dot and stem else ""


def media_type(name: str) -> str:
    """The registered media type of a file of that name. (The labels on the wire are neither registered nor reliable.)"""
    return _MEDIA_TYPES.get(extension(name), "application/octet-stream")


def attachments(source: Document | etree._Element) -> tuple[Attachment, ...]:
    """The files of a document, decoded and unpacked; of a status, none."""
    return source.attachments if isinstance(source, Document) else read_attachments(source)[0]


@dataclass(frozen=True, slots=True)
class Attached:
    """A file where it lies in its document. ``data``: its octets, unpacked; a large one that is not packed is decoded as it is read."""

    name: str
    data: Body
    error: str = ""


def each_attachment(tree: etree._Element, hollow: Hollow) -> Iterator[Attached]:
    """The files one after the other, so that none need be held. ``hollow``: what was cut out of the tree."""
    parts = frame(tree)
    elements = list(children(parts.attachments, "Attachment"))
    references = [_Entry.of(reference) for reference in children(parts.manifest, "Reference")]
    entries = [_Entry.of(element) for element in elements]
    pairs = _pair(entries, references)
    for number, (element, entry) in enumerate(zip(elements, entries, strict=True)):
        name = _name(number, entry, references[pairs[number]] if number in pairs else _NOTHING)
        try:
            yield Attached(name, _octets(name, element, hollow))
        except ValueError as problem:
            yield Attached(name, b"", str(problem))


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a ``Reference`` or an ``Attachment`` says about its file."""

    content_id: str
    name: str
    label: str
    description: str

    @classmethod
    def of(cls, element: etree._Element) -> "_Entry":
        content_id, *others = (text(child(element, name)) for name in ("ContentId", "AttachmentName", "ContentType", "Description"))
        return cls(without_cid(content_id), *others)


def without_cid(content_id: str) -> str:
    """The id without ``cid:``, however often a writer put it."""
    while content_id.startswith("cid:"):
        content_id = lexical.trimmed(content_id[4:])
    return content_id


def read_attachments(tree: etree._Element) -> tuple[tuple[Attachment, ...], tuple[str, ...]]:
    """The files, and a warning for each oddity."""
    parts = frame(tree)
    elements = list(children(parts.attachments, "Attachment"))
    references = [_Entry.of(reference) for reference in children(parts.manifest, "Reference")]
    entries = [_Entry.of(element) for element in elements]
    pairs = _pair(entries, references)
    files = tuple(
        _file(number, element, entry, references[pairs[number]] if number in pairs else _NOTHING)
        for number, (element, entry) in enumerate(zip(elements, entries, strict=True))
    )
    warnings = [f"attachment '{file.name}': {file.error}" for file in files if file.error]
    unpaired = (reference for index, reference in enumerate(references) if index not in pairs.values())
    warnings += [f"the manifest names '{reference.name or reference.content_id}', which is not attached" for reference in unpaired]
    if child(parts.envelope, "edXMLAttachments") is not None:
        warnings.append("files inside edXMLAttachments are not read: no receiver on the exchange sees them")
    return files, tuple(warnings)


def _pair(entries: list[_Entry], references: list[_Entry]) -> dict[int, int]:
    """Index of the attachment -> index of its reference: by id, what is left by place, the rest by name."""
    pairs: dict[int, int] = {}
    free = set(range(len(references)))

    for rule in (_same_id, _same_place, _same_name):
        for number, entry in enumerate(entries):
            if number not in pairs:
                index = next((index for index in sorted(free) if rule(entry, number, references[index], index)), None)
                if index is not None:
                    pairs[number] = index
                    free.discard(index)
    return pairs


def _same_id(entry: _Entry, _number: int, reference: _Entry, _index: int) -> bool:
    return bool(entry.content_id) and entry.content_id == reference.content_id


def _same_place(_entry: _Entry, number: int, _reference: _Entry, index: int) -> bool:
    return number == index


def _same_name(entry: _Entry, _number: int, reference: _Entry, _index: int) -> bool:
    return bool(entry.name) and entry.name == reference.name


_NOTHING = _Entry("", "", "", "")


def _name(number: int, entry: _Entry, reference: _Entry) -> str:
    return entry.name or reference.name or f"attachment-{number + 1}"


def _file(number: int, element: etree._Element, entry: _Entry, other: _Entry) -> Attachment:
    name = _name(number, entry, other)
    content_id = entry.content_id or other.content_id
    data, error = b"", ""
    try:
        data = unpack(name, _decoded(element))
    except ValueError as problem:
        error = str(problem)
    return Attachment(name, data, content_id, entry.description or other.description, entry.label or other.label, error)


def _decoded(element: etree._Element) -> bytes:
    content = child(element, "ContentTransferEncoded")
    if content is None:
        raise ValueError("ContentTransferEncoded is missing")
    written = content.text or ""
    try:
        return pybase64.b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        pass  # line breaks and blanks are common and allowed; look again without them
    try:
        return pybase64.b64decode("".join(lexical.words(written)), validate=True)
    except (binascii.Error, ValueError):
        raise _not_base64() from None


def _check_base64(element: etree._Element, hollow: Hollow | None) -> None:
    content = child(element, "ContentTransferEncoded")
    if not hollow or content is None:
        _decoded(element)
        return
    try:
        for _portion in decoded(hollow.text(content)):
            pass
    except ValueError:
        raise _not_base64() from None


def _octets(name: str, element: etree._Element, hollow: Hollow) -> Body:
    content = child(element, "ContentTransferEncoded")
    if not hollow or content is None:
        return unpack(name, _decoded(element))
    try:
        data = Decoded(hollow.text(content))
    except ValueError:
        raise _not_base64() from None
    if len(data) <= SMALL or next(regrouped(Octets(data), len(_ZIP_MARK))) == _ZIP_MARK:
        return unpack(name, collected(data.chunks()))
    return Octets(data)


def _not_base64() -> ValueError:
    return ValueError("ContentTransferEncoded is not valid base64")


def unpack(name: str, data: bytes) -> bytes:
    """The file itself: out of the single-entry zip if a writer wrapped it, else ``data``. ValueError if it unpacks beyond the limits.

    The entry's name is never used for anything.
    """
    if not data.startswith(_ZIP_MARK) or _directory(data) > _MOST_DIRECTORY:
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if not _wrapped(name, archive.namelist()) or archive.infolist()[0].compress_type not in _METHODS:
                return data
            return _bounded(archive, len(data))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return data  # damaged, encrypted or packed in an unknown way: it is not for us to judge, the receiver gets the bytes


def _directory(data: bytes) -> int:
    """How long a zip says that its directory is. zipfile reads all of it, and makes fifty times as much of it."""
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - _LONGEST_END))
    # A 64-bit directory (zip64) is written for packages of more than 4 GB only.
    plain = end >= 0 and data[max(0, end - 20) :][:4] != b"PK\x06\x07"
    return int.from_bytes(data[end + 12 : end + 16], "little") if plain else len(data)


def _wrapped(name: str, entries: list[str]) -> bool:
    kind = extension(name)
    return len(entries) == 1 and (kind not in _PACKAGES or (kind in _OFFICE and entries[0] != _CONTENT_TYPES))


def _bounded(archive: zipfile.ZipFile, packed: int) -> bytes:
    """The one entry's bytes; reads no further than the limit, whatever size the archive claims."""
    most = min(MOST_UNPACKED, max(RATIO_FREE, packed * MOST_RATIO))
    with archive.open(archive.infolist()[0]) as entry:
        data = entry.read(most + 1)
    if len(data) > most:
        raise ValueError(f"the zip unpacks to more than {most} bytes")
    return data


def pack(attachment: Attachment, content_id: str) -> tuple[str, bytes]:
    """(ContentType, bytes) as the Java library sends the file: pdf, doc, docx and zip raw, everything else in a single-entry zip.

    The entry is named by a UUID as there, but one that follows from the id: the same document gives the same octets.
    """
    kind = extension(attachment.name)
    if kind in RAW:
        return f"application/{kind}", attachment.data
    entry = zipfile.ZipInfo(f"{uuid.uuid5(uuid.NAMESPACE_OID, content_id)}.{kind or 'unk'}", _FIXED_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, attachment.data)
    return "application/zip", packed.getvalue()


def _unfit(name: str) -> str:
    """What is wrong with the name of a file: one that a receiver could not keep under it, or would be shown as another, is refused."""
    if not name:
        return "AttachmentName is missing"
    if len(name) > MOST_NAME:
        return f"AttachmentName has more than {MOST_NAME} characters"
    if name in {".", ".."} or any(letter in "/\\" for letter in name):
        return "AttachmentName is a path, not the name of a file"
    if any(unicodedata.category(letter) == "Cc" or letter in _REORDERING for letter in name):
        return "AttachmentName holds control characters, or such as turn the order of its letters"
    return ""


def _ambiguous(element: etree._Element) -> str:
    """What two readers of an Attachment might take differently: the first or the last of two contents, the text around an element."""
    names = [etree.QName(part).localname for part in element.iterchildren(etree.Element)]
    if len(set(names)) < len(names):
        return "the Attachment holds an element twice"
    if any(len(part) for part in element.iterchildren(etree.Element)):
        return "the Attachment holds elements where text belongs"
    return ""


def check_files(tree: etree._Element, schema: str = "edXML", hollow: Hollow | None = None) -> None:
    """Demand that every attachment has a name that is one, and valid base64; Rejected ``schema-invalid`` lists every one that does not.

    Stands in for ``xs:base64Binary``, which costs libxml2 thirty times as much; nothing is unpacked here. ``hollow``: what was cut out of
    the tree, if anything was.
    """
    faults: list[str] = []
    where = ""
    for number, element in enumerate(children(frame(tree).attachments, "Attachment"), 1):
        name = text(child(element, "AttachmentName"))
        path = f"/edXML/AttachmentEncoded/Attachment[{number}]"
        try:
            _check_base64(element, hollow)
            problem = _unfit(name) or _ambiguous(element)
        except ValueError as error:
            problem = str(error)
        if problem:
            faults.append(f"{path} '{name[:_MOST_NAME]}' (line {element.sourceline}): {problem}")
            where = where or path
    if faults:
        more = (Phrase("xsd-more", {"count": len(faults) - _MOST_FAULTS}),) if len(faults) > _MOST_FAULTS else ()
        raise Rejected("schema-invalid", schema=schema, errors=(*faults[:_MOST_FAULTS], *more), at=where)
