"""Attacks by the files of an edXML document: names that are none, base64 that is none, crowds; and zips that explode (APPNOTE 6.3)."""

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from attacker import CONTENT_TYPES, Case, Forger
from soap_rig import document

from adapters.soap import payloads
from bus.octets import whole
from bus.soap import SOAP_11

GOOD = base64.b64encode(b"%PDF-1.7\n").decode()
NAMES = (
    "",
    " ",
    ".",
    "..",
    "../../../../etc/cron.d/x",
    "..\\..\\windows\\system32\\x.dll",
    "/etc/passwd",
    "\\\\server\\share\\x",
    "C:\\x.exe",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x.pdf",
    "a/b.pdf",
    "a\\b.pdf",
    "a&#10;b.pdf",
    "a&#13;b.pdf",
    "a&#9;b.pdf",
    "a\x7fb.pdf",
    "a\u0085b.pdf",
    "a\u009bb.pdf",
    "cong-van-\u202egpj.exe",
    "\u2067fdp.exe\u2069",
    "a\u202afdp.exe",
    "\u200fa.pdf",
    "\u2066a\u2069.pdf",
    "a" * 256,
    "a" * 100_000,
    "\u1ebf" * 256,
    ("../" * 1000) + "x",
)
CONTENTS = {
    "nothing like base64": "!!!",
    "base64 with a stray octet": f"{GOOD[:4]}*{GOOD[4:]}",
    "base64 without its padding": base64.b64encode(b"abcd").decode().rstrip("="),
    "padding in the middle": "QQ==QQ==",
    "too much padding": "QUJD====",
    "only padding": "====",
    "base64 for URLs": "_-_-",
    "one letter": "A",
    "full width letters": "\uff21\uff22\uff23\uff24",
    "a path": "file:///etc/passwd",
    "a NUL by number": "QUJD&amp;#0;",
    "hexadecimal": "0x255044462",
    "an element": f"{GOOD}<x/>",
    "an Include": '<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="file:///etc/passwd"/>',
    "a megabyte of what is not base64": "-" * (1 << 20),
}


def attachment(name: str = "a.pdf", content: str = GOOD, content_id: str = "cid:a", more: str = "") -> str:
    """An Attachment, its parts raw XML text."""
    return (
        f"<Attachment><ContentId>{content_id}</ContentId><AttachmentName>{name}</AttachmentName><ContentType>application/pdf</ContentType>"
        f"<ContentTransferEncoded>{content}</ContentTransferEncoded>{more}</Attachment>"
    )


def letter(number: int, attachments: str) -> bytes:
    """A document with these Attachment elements."""
    head, end, tail = document(number).rpartition(b"</edXML>")
    return head + f"<AttachmentEncoded>{attachments}</AttachmentEncoded>".encode() + end + tail


def packets(forger: Forger) -> Iterator[Case]:
    """Documents that a gate with ``files: true`` must refuse."""
    made = {f"the name {name[:20]!r}": attachment(name) for name in NAMES}
    made |= {f"content that is {words}": attachment(content=content) for words, content in CONTENTS.items()}
    made |= {f"a good file before the name {name[:20]!r}": attachment() + attachment(name, content_id="cid:b") for name in NAMES[:8]}
    made["two contents"] = attachment(more=f"<ContentTransferEncoded>{GOOD}</ContentTransferEncoded>")
    made["two names"] = attachment(more="<AttachmentName>b.pdf</AttachmentName>")
    made["no content"] = "<Attachment><ContentId>cid:a</ContentId><AttachmentName>a.pdf</AttachmentName></Attachment>"
    made["no name"] = f"<Attachment><ContentTransferEncoded>{GOOD}</ContentTransferEncoded></Attachment>"
    made["an attachment in an attachment"] = attachment(more=attachment())
    made["100,000 attachments without a name"] = attachment("") * 100_000
    for number, (words, attachments) in enumerate(made.items()):
        payload = whole(payloads.send_content(f"packet-{number}", letter(number, attachments)))
        sender = Forger(forger.partner, forger.stranger, forger.home, lambda _number, payload=payload: payload)  # type: ignore[misc]
        yield Case("attachment", words, sender.signed(SOAP_11, "ours", number), CONTENT_TYPES[SOAP_11])


# --- zips -------------------------------------------------------------------------------------------------------------


def _zip(*entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data, compress_type=method)
    return out.getvalue()


def _single(packed: bytes, size: int, *, method: int = 8, name: bytes = b"a.txt", flags: int = 0, crc: int = 0, count: int = 1) -> bytes:
    """One local header and its data, and a directory of ``count`` entries that all say it is theirs."""
    fields = (20, flags, method, 0, 0, crc, min(len(packed), 0xFFFFFFFF), min(size, 0xFFFFFFFF), len(name))
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields, 0) + name + packed
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), len(entry) * count, len(local), 0)
    return local + entry * count + end


@cache
def ten_gigabytes() -> bytes:
    """Raw deflate of 10 GB of zeros: one flushed block of 64 MB again and again."""
    maker = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = maker.compress(bytes(1 << 26)) + maker.flush(zlib.Z_FULL_FLUSH)
    return block * 160 + maker.flush()


def _nested(depth: int) -> bytes:
    data = bytes(1 << 20)
    for _ in range(depth):
        data = _zip(("a.zip", data))
    return data


def _symbolic_link() -> bytes:
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    return _zip((link, b"/etc/passwd"))


_LZMA = struct.pack("<BBHBI", 9, 20, 5, 0x5D, 0xFFFFFFFF) + bytes(100)
#: Files that pass through, for they may be somebody's honest package: what matters is what opening one of them costs.
ZIPS: dict[str, Callable[[], bytes]] = {
    "10 GB of zeros": lambda: _single(ten_gigabytes(), 10 << 30),
    "10 GB that say they are one octet": lambda: _single(ten_gigabytes(), 1),
    "64 MB of zeros": lambda: _zip(("a.txt", bytes(1 << 26))),
    "one zip in another, twenty deep": lambda: _nested(20),
    "a directory of a million entries": lambda: _single(b"", 0, count=1_000_000),
    "sixty thousand entries over one": lambda: _single(zlib.compress(bytes(1 << 20))[2:-4], 1 << 20, count=60_000),
    "a symbolic link": _symbolic_link,
    "an entry named as a path": lambda: _zip(("../../../etc/cron.d/x", b"x")),
    "an entry with an absolute name": lambda: _zip(("/etc/passwd", b"x")),
    "an encrypted entry": lambda: _single(b"x" * 100, 100, flags=1, method=0),
    "a wrong checksum": lambda: _single(b"abc", 3, method=0, crc=1),
    "an unknown method": lambda: _single(b"abc", 3, method=99),
    "an LZMA entry that wants 4 GB": lambda: _single(_LZMA, 10, method=14),
    "a bzip2 bomb": lambda: _zip(("a.txt", bytes(1 << 24)), method=zipfile.ZIP_BZIP2),
    "a broken bzip2 entry": lambda: _single(b"BZh9" + bytes(50), 10, method=12),
    "a size of 2^32 - 1": lambda: _single(b"abc", 0xFFFFFFFF, method=0),
    "a name with a NUL": lambda: _single(b"abc", 3, method=0, name=b"a\0b", crc=zlib.crc32(b"abc")),
    "a name that is no text": lambda: _single(b"abc", 3, method=0, name=b"\xff\xfe", flags=0x800),
    "no directory": lambda: b"PK\x03\x04" + bytes(1000),
    "a directory beyond the end": lambda: _single(b"abc", 3)[:-6] + struct.pack("<IH", 0xFFFFFFF0, 0),
    "a 64-bit directory": lambda: _single(b"abc", 3)[:-22] + b"PK\x06\x07" + bytes(16) + _single(b"abc", 3)[-22:],
    "a comment of 64 kB with another end in it": lambda: _zip(("a", b"x"))[:-2] + b"\xff\xff" + b"PK\x05\x06" * 16383 + b"PK\x05",
    "cut in half": lambda: _zip(("a.txt", bytes(range(256)) * 100))[:150],
}
