"""A ZIP file in one spelling: entries stored as they are, no times, no extra fields, no comments, nothing between and nothing behind.

``write`` promises the same octets for the same entries. ``read`` promises that the file is, octet for octet, what ``write`` makes of the
entries that it returns: it writes every header anew and compares. So nothing can hide in a header, two readers cannot see two different
files, nothing is ever decompressed, and what is read is bounded by what the file's own size allows.

Raises Rejected ``container-damaged``, naming the part; ``write`` ValueError for what cannot be written so.

Standard: APPNOTE.TXT 6.3.10 sections 4.3.7 (local file header), 4.3.12 (central directory), 4.3.16 (end of central directory), without
ZIP64 (4.5.3); ISO/IEC 21320-1 allows method 0 (stored).
"""

import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from bus.errors import Rejected
from bus.octets import CHUNK, Body, Chunk, Octets, chunks, whole

#: Entries in one file.
MOST_ENTRIES = 1010
#: Without ZIP64 sizes and offsets have 32 bits.
MOST_OCTETS = (1 << 32) - 1
#: What an entry may be called: a relative path in letters that are the same everywhere, with no step up and no hidden place.
_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
_LONGEST_NAME = 200
#: Up to so many octets an entry is held in memory, a larger one is read each time it is looked at: all of them together stay under 64 MiB.
_HELD = 1 << 16

#: 1980-01-01 00:00, the earliest that the format knows: when a container was made is said by its signature.
_DATE = (1 << 5) | 1
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _MADE_BY = 10, (3 << 8) | 10
#: A plain file that its owner may write and all may read, where the file is unpacked on Unix.
_MODE = 0o100644 << 16
_THE_END = "the end of the central directory"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the headers say of an entry."""

    name: str
    crc: int
    size: int
    offset: int

    def local(self) -> bytes:
        """The header before its octets."""
        name = self.name.encode()
        return _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, self.crc, self.size, self.size, len(name), 0) + name

    def central(self) -> bytes:
        """Its header in the central directory."""
        name = self.name.encode()
        fixed = (b"PK\1\2", _MADE_BY, _VERSION, 0, 0, 0, _DATE, self.crc, self.size, self.size, len(name), 0, 0, 0, 0, _MODE, self.offset)
        return _CENTRAL.pack(*fixed) + name

    @property
    def end(self) -> int:
        """Where the next entry begins."""
        return self.offset + _LOCAL.size + len(self.name) + self.size


def write(entries: Mapping[str, Body]) -> Iterator[Chunk]:
    """The file's octets, in portions; ``entries`` in their order, by their names."""
    if not 0 < len(entries) <= MOST_ENTRIES:
        raise ValueError(f"a file holds 1 to {MOST_ENTRIES} entries")
    directory, offset = [], 0
    for name, body in entries.items():
        if not _named(name):
            raise ValueError(f"{name!r} is no name for an entry")
        entry = _Entry(name, _crc(chunks(body)), len(body), offset)
        if entry.end > MOST_OCTETS:
            raise ValueError(f"the entries come to more than {MOST_OCTETS} octets")
        yield entry.local()
        yield from chunks(body)
        directory.append(entry)
        offset = entry.end
    headers = b"".join(entry.central() for entry in directory)
    yield headers
    yield _end(len(directory), len(headers), offset)


def read(file: IO[bytes]) -> dict[str, Body]:
    """The entries of a file, by their names, in their order. It must be open, and stay unchanged, for as long as they are read."""
    size = file.seek(0, io.SEEK_END)
    entries = _directory(file, size)
    found: dict[str, Body] = {}
    for number, entry in enumerate(entries, start=1):
        if entry.name in found:
            raise damaged(entry.name, "it is there twice")
        header = entry.local()
        if _at(file, entry.offset, len(header)) != header:
            # Whichever of its two headers was changed: its name may have been, so its place names it.
            raise damaged(f"entry {number}, {entry.name}", "its local header is not what the central directory says")
        part = Octets(_Part(file, entry.offset + len(header), entry.size))
        body = part if entry.size > _HELD else whole(part)
        if _crc(chunks(body)) != entry.crc:
            raise damaged(entry.name, "its CRC-32 differs: the content was changed")
        found[entry.name] = body
    return found


def damaged(part: str, detail: str) -> Rejected:
    """The refusal that names the part."""
    return Rejected("container-damaged", part=part, detail=detail)


def _directory(file: IO[bytes], size: int) -> list[_Entry]:
    """The entries that the central directory lists, one after the other without a gap, up to where it begins itself."""
    end = _at(file, max(size - _END.size, 0), _END.size)
    if len(end) != _END.size:
        raise damaged(_THE_END, "it is missing")
    number, length, start = _END.unpack(end)[4:7]
    if end != _end(number, length, start) or start + length + _END.size != size:
        raise damaged(_THE_END, "it is not as it is written here: octets were changed, cut off or added")
    if not 0 < number <= MOST_ENTRIES or length > number * (_CENTRAL.size + _LONGEST_NAME):
        raise damaged(_THE_END, f"there are {number} entries, or their names are too long")
    headers, at, offset = _at(file, start, length), 0, 0
    entries = []
    for place in range(1, number + 1):
        entry = _listed(headers, at, f"entry {place} of the central directory")
        if entry.offset != offset or entry.end > start:
            raise damaged(entry.name, "it does not follow the entry before it")
        entries.append(entry)
        at, offset = at + _CENTRAL.size + len(entry.name), entry.end
    if at != length or offset != start:
        raise damaged(_THE_END, "there is something between the entries and it")
    return entries


def _listed(headers: bytes, at: int, place: str) -> _Entry:
    fixed = headers[at : at + _CENTRAL.size]
    if len(fixed) != _CENTRAL.size:
        raise damaged(place, "it is cut short")
    fields = _CENTRAL.unpack(fixed)
    raw = headers[at + _CENTRAL.size : at + _CENTRAL.size + fields[10]]
    name = raw.decode("ascii", "replace")
    if not _named(name):
        raise damaged(place, f"{name[:_LONGEST_NAME]!r} is no name for an entry")
    entry = _Entry(name, fields[7], fields[9], fields[16])
    if fixed + raw != entry.central():
        raise damaged(name, "its header in the central directory is not as it is written here")
    return entry


def _named(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _end(number: int, length: int, start: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, number, number, length, start, 0)


def _crc(portions: Iterable[Chunk]) -> int:
    found = 0
    for portion in portions:
        found = zlib.crc32(portion, found)
    return found


def _at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


@dataclass(frozen=True, slots=True)
class _Part:
    """An entry's octets as a piece of a body, read when they are needed."""

    file: IO[bytes]
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size

    def chunks(self) -> Iterator[bytes]:
        """The octets in order. Raises Rejected where the file has become shorter."""
        for begin in range(0, self.size, CHUNK):
            wanted = min(CHUNK, self.size - begin)
            octets = _at(self.file, self.offset + begin, wanted)
            if len(octets) != wanted:
                raise damaged(_THE_END, "the file was cut while it was read")
            yield octets
