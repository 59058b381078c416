"""Real files of the kinds that officials attach, made with the standard library only: PDF, DOCX, XLSX.

They open in ordinary programs. ``size`` is met closely from above by content such files really carry (a scanned page, a custom XML
part) that compression cannot shrink away. The same arguments give the same octets. PDF 1.4 (ISO 32000-1); ECMA-376 packages.
"""

import base64
import io
import random
import zipfile
from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape

_FIXED_TIME = (2026, 1, 1, 0, 0, 0)
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SCAN_WIDTH = 1000
_FIRST_FREE_CODE = 33
_MOST_LETTERS = 256 - _FIRST_FREE_CODE


def pdf(lines: Sequence[str], size: int, seed: int) -> bytes:
    """A page with ``lines``, and a page with a "scan" as large as it takes.

    The font is Helvetica, not embedded, with an encoding made of the letters used: viewers draw Vietnamese as far as their own
    Helvetica goes, and copying and searching work everywhere through the ToUnicode map.
    """
    letters = sorted({letter for line in lines for letter in line} - {" "})
    codes = {letter: code for code, letter in enumerate(letters, _FIRST_FREE_CODE)}
    if len(codes) > _MOST_LETTERS:
        raise ValueError("more different letters than one simple font can hold")
    bare = len(_pdf(lines, codes, b"")) - _SCAN_WIDTH
    rows = max(1, (size - bare) // _SCAN_WIDTH + 1)
    return _pdf(lines, codes, _noise(seed, rows * _SCAN_WIDTH))


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _pdf(lines: Sequence[str], codes: Mapping[str, int], scan: bytes) -> bytes:
    """The objects in order (their numbers are their places), the cross-reference table, the trailer."""
    height = max(1, len(scan) // _SCAN_WIDTH)
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << {} >> /Contents {} 0 R >>"
    encoding = f"/Encoding << /Type /Encoding /Differences [{_differences(codes)}] >> /ToUnicode 6 0 R"
    image = f"/Type /XObject /Subtype /Image /Width {_SCAN_WIDTH} /Height {height} /ColorSpace /DeviceGray /BitsPerComponent 8"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (vi-VN) >>",
        b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>",
        page.format("/Font << /F1 5 0 R >>", 7).encode(),
        page.format("/XObject << /Scan 9 0 R >>", 8).encode(),
        f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica {encoding} >>".encode(),
        _stream("", _to_unicode(codes)),
        _stream("", _text(lines, codes)),
        _stream("", b"q 515 0 0 742 40 50 cm /Scan Do Q"),
        _stream(image, scan or bytes(_SCAN_WIDTH)),
    ]
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n" % number + content + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % offset for offset in offsets))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def _stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _differences(codes: Mapping[str, int]) -> str:
    """Glyph names by code; ``uniXXXX`` names any letter (Adobe Glyph List Specification, section 2)."""
    return f"32 /space {_FIRST_FREE_CODE} " + " ".join(f"/uni{ord(letter):04X}" for letter in codes)


def _to_unicode(codes: Mapping[str, int]) -> bytes:
    pairs = "\n".join(f"<{code:02X}> <{ord(letter):04X}>" for letter, code in codes.items())
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Letters def /CMapType 2 def\n"
        "1 begincodespacerange\n<00> <FF>\nendcodespacerange\n"
        f"1 beginbfchar\n<20> <0020>\nendbfchar\n{len(codes)} beginbfchar\n{pairs}\nendbfchar\n"
        "endcmap CMapName currentdict /CMap defineresource pop end end"
    ).encode()


def _text(lines: Sequence[str], codes: Mapping[str, int]) -> bytes:
    shown = "\n".join("<" + "".join(f"{codes.get(letter, 32):02X}" for letter in line) + "> Tj T*" for line in lines)
    return f"BT /F1 11 Tf 60 780 Td 16 TL\n{shown}\nET".encode()


def docx(lines: Sequence[str], size: int, seed: int) -> bytes:
    """A text document with one paragraph a line."""
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    paragraphs = "".join(f'<w:p><w:r><w:t xml:space="preserve">{escape(line)}</w:t></w:r></w:p>' for line in lines)
    main = f'{_DECLARATION}<w:document xmlns:w="{space}"><w:body>{paragraphs}<w:sectPr/></w:body></w:document>'
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return _sized({"word/document.xml": (kind, main)}, "word/document.xml", {}, size, seed)


def xlsx(lines: Sequence[str], size: int, seed: int) -> bytes:
    """A workbook with one sheet: each line numbered, with a made-up figure."""
    figures = _noise(seed, len(lines))
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rows = "".join(
        f'<row r="{number}"><c r="A{number}"><v>{number}</v></c><c r="B{number}" t="inlineStr"><is><t>{escape(line)}</t></is></c>'
        f'<c r="C{number}"><v>{figures[number - 1]}</v></c></row>'
        for number, line in enumerate(lines, 1)
    )
    sheets = '<sheets><sheet name="Số liệu" sheetId="1" r:id="rId1"/></sheets>'
    book = f'{_DECLARATION}<workbook xmlns="{space}" xmlns:r="{_OFFICE}">{sheets}</workbook>'
    sheet = f'{_DECLARATION}<worksheet xmlns="{space}"><sheetData>{rows}</sheetData></worksheet>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml."
    parts = {"xl/workbook.xml": (f"{kind}sheet.main+xml", book), "xl/worksheets/sheet1.xml": (f"{kind}worksheet+xml", sheet)}
    return _sized(parts, "xl/workbook.xml", {"rId1": ("worksheet", "worksheets/sheet1.xml")}, size, seed)


_Parts = Mapping[str, tuple[str, str]]


def _sized(parts: _Parts, main: str, related: Mapping[str, tuple[str, str]], size: int, seed: int) -> bytes:
    bare = _package(parts, main, related, "")
    missing = max(0, size - len(bare)) * 3 // 4 + 1
    return _package(parts, main, related, base64.b64encode(_noise(seed, missing)).decode())


def _package(parts: _Parts, main: str, related: Mapping[str, tuple[str, str]], custom: str) -> bytes:
    """An OPC package: content types, relationships, parts, and a custom XML part that holds ``custom``."""
    folder, _, file = main.rpartition("/")
    overrides = "".join(f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, (kind, _) in parts.items())
    kinds = {"rels": "application/vnd.openxmlformats-package.relationships+xml", "xml": "application/xml"}
    defaults = "".join(f'<Default Extension="{ending}" ContentType="{kind}"/>' for ending, kind in kinds.items())
    files = {
        "[Content_Types].xml": f'{_DECLARATION}<Types xmlns="{_PACKAGE}/content-types">{defaults}{overrides}</Types>',
        "_rels/.rels": _relationships({"rId1": ("officeDocument", main)}),
        **{name: text for name, (_, text) in parts.items()},
        f"{folder}/_rels/{file}.rels": _relationships({**related, "rIdCustom": ("customXml", "../customXml/item1.xml")}),
        "customXml/item1.xml": f'{_DECLARATION}<data xmlns="urn:example:padding">{custom}</data>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _FIXED_TIME), text)
    return out.getvalue()


def _relationships(targets: Mapping[str, tuple[str, str]]) -> str:
    items = "".join(f'<Relationship Id="{key}" Type="{_OFFICE}/{kind}" Target="{target}"/>' for key, (kind, target) in targets.items())
    return f'{_DECLARATION}<Relationships xmlns="{_PACKAGE}/relationships">{items}</Relationships>'


#: Extension -> maker.
MAKERS: Mapping[str, Callable[[Sequence[str], int, int], bytes]] = {"pdf": pdf, "docx": docx, "xlsx": xlsx}
