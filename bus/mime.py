"""MIME: media types, and the multipart/related packages that SOAP with attachments travels in.

``media_type`` reads a Content-Type, ``related`` cuts a package into its root and its parts by Content-ID, ``package`` writes one.

Promise: every byte of a package is in a part that is returned, or was required by the grammar, or is a preamble or epilogue, which mean
nothing (RFC 2046, 5.1.1). What the reader cannot account for (headers before the first boundary, a boundary after the last, a missing
closing boundary, a second part of the same name) is refused, never dropped: the standard library's ``email`` accepts a truncated package
and loses the rest of it.

Raises Rejected ``mime-invalid`` with what is wrong.

Standards: RFC 2045 and 2046 (5.1, 5.1.1 boundaries; 6 transfer encodings), RFC 2387 (multipart/related), RFC 2392 (cid URLs).
"""

import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from bus.errors import Rejected
from bus.octets import Body, collected, decoded, joined

#: Parts in one package. The largest seen in the field carried 40 files.
MOST_PARTS = 100
#: Octets of one part's header. Real ones are under 500.
MOST_HEADER = 8192

_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9!#$&^_.+*-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_END_OF_DELIMITER = re.compile(rb"(--)?[ \t]*(\r?\n|\Z)")
_FOLD = re.compile(r"\r?\n[ \t]+")
_LINE_END = re.compile(r"\r?\n")
#: A header's line (RFC 5322, 2.2): a name, and a text without control characters, a bare carriage return among them.
_LINE = re.compile(r"([!-9;-~]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
#: A header where a preamble may stand: the real Content-Type is inside the package (Mono's WCF), which two readers would cut in two ways.
_HEADER_WITHIN = re.compile(rb"^Content-", re.IGNORECASE | re.MULTILINE)
#: What surrounds a header's value (RFC 822, LWSP).
_BLANK = " \t\r\n"


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type: ``name`` in lower case, ``parameters`` with lower-case names and unquoted values."""

    name: str
    parameters: Mapping[str, str]

    def parameter(self, name: str) -> str:
        """The parameter's value, or ""."""
        return self.parameters.get(name, "")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type, its Content-ID (without brackets, percent-decoded; "" if none) and its decoded octets.

    ``data`` is a view of the package where nothing had to be decoded.
    """

    media: MediaType
    content_id: str
    data: memoryview


@dataclass(frozen=True, slots=True)
class Related:
    """A multipart/related package: the root part, and every other part's octets, and its media type, by Content-ID."""

    root: Part
    parts: Mapping[str, memoryview]
    media: Mapping[str, MediaType]


def media_type(value: str) -> MediaType:
    """Read a Content-Type value as lenient as real clients need: odd quotes, spaces and stray semicolons are forgiven."""
    if len(value) > MOST_HEADER:
        raise _invalid(f"a media type is longer than {MOST_HEADER} characters")
    name, semicolon, rest = value.partition(";")
    found = _PARAMETER.findall(semicolon + rest)
    parameters: dict[str, str] = {}
    for key, quoted, plain in found:
        text = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain.strip(_BLANK).strip("'")
        if parameters.setdefault(key.lower(), text) != text:
            raise _invalid(f"the parameter '{key[:60]}' of a media type is given twice")
    return MediaType(name.strip(_BLANK).lower(), parameters)


def content_id(value: str) -> str:
    """The comparable form of a Content-ID header or of what follows ``cid:``: no angle brackets, percent-encoding undone."""
    return unquote(value.strip(_BLANK).removeprefix("<").removesuffix(">"))


def related(media: MediaType, body: bytes) -> Related:
    """Cut a multipart/related body into its root (``start``, else the first part) and the other parts."""
    cut = [_part(chunk) for chunk in _chunks(body, _boundary(media))]
    start = content_id(media.parameter("start"))
    root = next((part for part in cut if part.content_id == start), None) if start else cut[0]
    if root is None:
        raise _invalid(f"no part has the Content-ID <{start}> that 'start' names")
    parts: dict[str, memoryview] = {}
    for part in cut:
        if part is root:
            continue
        if not part.content_id:
            raise _invalid("a part beside the root has no Content-ID")
        if part.content_id in parts or part.content_id == root.content_id:
            raise _invalid(f"two parts have the Content-ID <{part.content_id}>")
        parts[part.content_id] = part.data
    return Related(root, parts, {part.content_id: part.media for part in cut})


def package(root: Body, root_type: str, start_info: str, parts: Mapping[str, Body]) -> tuple[str, Body]:
    """Write an XOP package (binary parts, no transfer encoding): its Content-Type and its body."""
    boundary = f"govbus-{secrets.token_hex(16)}"
    pieces: list[Body] = [_heading(boundary, root_type, "root@govbus"), root]
    for name, data in parts.items():
        pieces += [b"\r\n", _heading(boundary, "application/octet-stream", name), data]
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    content_type = f'multipart/related; boundary="{boundary}"; type="application/xop+xml"; start="<root@govbus>"; start-info="{start_info}"'
    return content_type, joined(*pieces)


def _heading(boundary: str, content_type: str, name: str) -> bytes:
    lines = (f"--{boundary}", f"Content-Type: {content_type}", "Content-Transfer-Encoding: binary", f"Content-ID: <{name}>", "", "")
    return "\r\n".join(lines).encode()


def _invalid(detail: str) -> Rejected:
    return Rejected("mime-invalid", detail=detail)


def _boundary(media: MediaType) -> bytes:
    boundary = media.parameter("boundary")
    if not _BOUNDARY.fullmatch(boundary):
        raise _invalid("the Content-Type has no usable 'boundary'")
    return b"--" + boundary.encode()


def _chunks(body: bytes, delimiter: bytes) -> list[memoryview]:
    """What stands between the delimiter lines, header and all; without the line end that belongs to the next delimiter."""
    chunks: list[memoryview] = []
    view = memoryview(body)
    begin = -1
    position = 0
    while (position := body.find(delimiter, position)) >= 0:
        line = _END_OF_DELIMITER.match(body, position + len(delimiter))
        if line is None or body[max(position - 1, 0) : position] not in (b"", b"\n"):
            # The same octets within a part, or a longer boundary that begins alike.
            position += len(delimiter)
            continue
        if begin >= 0:
            chunks.append(view[begin : _before_line_end(body, position)])
        elif _HEADER_WITHIN.search(body, 0, position):
            raise _invalid("there are headers before the first boundary: the Content-Type names another one")
        if line[1]:
            return _closed(chunks, body, line.end(), delimiter)
        if len(chunks) == MOST_PARTS:
            raise _invalid(f"more than {MOST_PARTS} parts")
        begin = position = line.end()
    raise _invalid("the boundary is nowhere in the body" if begin < 0 else "the closing boundary is missing: the package is cut short")


def _closed(chunks: list[memoryview], body: bytes, end: int, delimiter: bytes) -> list[memoryview]:
    if body.find(b"\n" + delimiter, max(end - 1, 0)) >= 0:
        # Whoever reads on would find a part more than whoever stops here.
        raise _invalid("there is a boundary after the closing one")
    if not chunks:
        raise _invalid("the package has no parts")
    return chunks


def _before_line_end(body: bytes, position: int) -> int:
    return position - 2 if body[position - 2 : position] == b"\r\n" else position - 1


def _part(chunk: memoryview) -> Part:
    blank = _BLANK_LINE.search(chunk, 0, MOST_HEADER)
    if blank is None:
        raise _invalid(f"a part's header does not end within {MOST_HEADER} octets")
    headers = _headers(bytes(chunk[: blank.start()]))
    media = media_type(headers.get("content-type", "text/plain"))
    if media.name.startswith("multipart/"):
        raise _invalid("a package within a package is not accepted")
    data = _decoded(chunk[blank.end() :], headers.get("content-transfer-encoding", "binary").lower())
    return Part(media, content_id(headers.get("content-id", "")), data)


def _headers(raw: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    # Not by splitlines(), which knows eight more ends of a line: two readers must not see two headers.
    for line in _LINE_END.split(_FOLD.sub(" ", raw.decode("utf-8", "replace"))) if raw else ():
        found = _LINE.fullmatch(line)
        if found is None or found[1].lower() in headers:
            raise _invalid(f"a part's header line '{line[:60]}' is malformed or repeated")
        headers[found[1].lower()] = found[2].strip(_BLANK)
    return headers


def _decoded(data: memoryview, encoding: str) -> memoryview:
    """Undo the transfer encoding. SOAP::Lite and others send binary files as base64, text as quoted-printable."""
    if encoding in {"binary", "8bit", "7bit", ""}:
        return data
    if encoding == "quoted-printable":
        return memoryview(binascii.a2b_qp(data))
    if encoding != "base64":
        raise _invalid(f"Content-Transfer-Encoding '{encoding}' is unknown")
    try:
        return memoryview(collected(decoded(data)))
    except ValueError as error:
        raise _invalid("a part's base64 is damaged") from error
