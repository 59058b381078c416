"""The demo's own oracle: what was sent, what arrived, and whether the two are the same, file by file.

It trusts nothing that the bus says of itself: arrivals are what the other side's systems hold in their hands.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pybase64
from lxml import etree

from bus import edxml, xmlio
from bus.edxml.files import unpack

#: What one thing that travels is known by: where it is to arrive, its DocumentId, and "" or, for a status, its code and who reports it.
Key = tuple[str, str, str]
#: A file's name and the SHA-256 of its octets.
Files = tuple[tuple[str, str], ...]

_AGENCY = "{urn:example:agency:incoming:v1}"


@dataclass(slots=True)
class Ledger:
    """Expected and arrived. ``damaged`` lists what arrived with other files than were sent."""

    expected: dict[Key, Files] = field(default_factory=dict)
    arrived: Counter[Key] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    def expect(self, place: str, body: bytes) -> None:
        """Something was accepted that must arrive at ``place`` once."""
        key, files = read(place, body)
        self.expected[key] = files

    def arrive(self, place: str, body: bytes) -> None:
        """Something lies at ``place``."""
        key, files = read(place, body)
        self.arrived[key] += 1
        if key not in self.expected:
            self.strange.append(f"{place}: {key[1]} {key[2]} was never sent")
        elif files != self.expected[key]:
            self.damaged.append(f"{place}: the files of {key[1]} are not those that were sent")

    @property
    def lost(self) -> list[str]:
        """What has not arrived."""
        return [": ".join(key) for key in self.expected if not self.arrived[key]]

    @property
    def duplicated(self) -> list[str]:
        """What arrived more than once."""
        return [f"{': '.join(key)} x{count}" for key, count in self.arrived.items() if count > 1]

    @property
    def complete(self) -> bool:
        """Whether everything has arrived."""
        return not self.lost

    def progress(self, place: str) -> tuple[int, int]:
        """How many things have arrived at ``place``, of how many."""
        keys = [key for key in self.expected if key[0] == place]
        return sum(1 for key in keys if self.arrived[key]), len(keys)


def read(place: str, body: bytes) -> tuple[Key, Files]:
    """What ``body`` is: edXML, or the partner agency's own format."""
    if b"urn:example:agency:incoming:v1" in body[:400]:
        return _read_agency(place, xmlio.parse(body))
    content = edxml.read(edxml.parse(body))
    if isinstance(content, edxml.StatusMessage):
        header = content.header
        return (place, header.response_for.document_id, f"{header.status_code} by {header.sender.organ_id}"), ()
    return (place, content.header.document_id, ""), _files((file.name, file.data) for file in content.attachments)


def _read_agency(place: str, root: etree._Element) -> tuple[Key, Files]:
    files = []
    for file in root.iter(f"{_AGENCY}File"):
        name = file.findtext(f"{_AGENCY}Name") or ""
        data = pybase64.b64decode(file.findtext(f"{_AGENCY}Content") or "", validate=False)
        files.append((name, unpack(name, data) if file.get("packed") == "zip" else data))
    return (place, root.get("id") or "", ""), _files(files)


def _files(files: Iterable[tuple[str, bytes]]) -> Files:
    return tuple(sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files))
