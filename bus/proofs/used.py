"""By what a message was checked, changed and routed: what its journal rows name with a digest, and the site's files of that digest.

A history entry such as ``transform schemas/edxml/v1/normalise.xsl sha256:…`` identifies a file for good. The file itself is here only as
long as the site has it unchanged; a route is the block of routes.yaml, written one way (``bus.config.building``).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bus.schemas import Library

#: The end of a history entry that names something by its digest; before it may stand through which routes the message came there.
_NAMED = re.compile(r"(?:^|\s)(route|validate|transform) (\S+) sha256:([0-9a-f]{64})$")
_SCHEMAS = "schemas/"


@dataclass(frozen=True, slots=True)
class Named:
    """What a history names. ``digest``: lower-case hex."""

    note: str
    kind: str
    name: str
    digest: str


def named(details: Iterable[Mapping[str, Any]]) -> Iterator[Named]:
    """What the journal rows with these details name, each once, in order."""
    notes = dict.fromkeys(note for detail in details for note in detail.get("history", ()))
    seen: set[tuple[str, str, str]] = set()
    for note in notes:
        found = _NAMED.search(note)
        if found and found.groups() not in seen:
            seen.add(found.groups())  # type: ignore[arg-type]  # three groups, none optional
            yield Named(found[0].strip(), found[1], found[2], found[3])


def octets(one: Named, routes: Mapping[str, bytes], library: Library) -> bytes | None:
    """What it names, or None where the site has it no more, or another by that name."""
    if one.kind == "route":
        found = routes.get(one.name)
    else:
        try:
            found = library.read(one.name.removeprefix(_SCHEMAS))
        except OSError:
            found = None
    return found if found is not None and sha256(found).hexdigest() == one.digest else None
