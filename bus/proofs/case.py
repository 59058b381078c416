"""Case: one evidence under examination. Its container's signature is verified; nothing else is believed yet.

Octets are found by their SHA-256 and by nothing else: a name in the container says to people what a file is, a digest proves it.
Raises Rejected ``evidence-invalid``, naming the part.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson

from bus.asic import Container
from bus.errors import Quoted, Rejected
from bus.octets import Body, digest
from bus.proofs import manifest
from bus.proofs.authorities import Authorities, Role, party
from bus.proofs.lines import Line
from bus.proofs.manifest import MOST_SMALL, Inclusion, Manifest, invalid, octets_of

#: One question about a case, answered in lines. Raises Rejected for what does not hold.
Topic = Callable[["Case"], Iterator[Line]]


@dataclass(frozen=True, slots=True)
class JournalRow:
    """A journal row, and its file. ``hash`` is the file's own SHA-256: that of the row, by which the chain and a checkpoint know it."""

    file: str
    hash: str
    values: Mapping[str, Any]
    detail: Mapping[str, Any]
    proof: Inclusion | None

    @property
    def at(self) -> datetime:
        """When it was journalled."""
        return datetime.fromisoformat(self.values["at"])


@dataclass(frozen=True)
class Case:
    """``container``: whose signature holds; ``authorities``: whom to believe."""

    container: Container[bytes]
    manifest: Manifest
    authorities: Authorities

    @property
    def files(self) -> Mapping[str, Body]:
        """Everything in the container."""
        return self.container.files

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """By SHA-256 (lower-case hex), the file that has it."""
        return {digest(body).hex(): name for name, body in self.files.items()}

    @cached_property
    def rows(self) -> tuple[JournalRow, ...]:
        """The message's journal rows, in order."""
        return tuple(self._row(row.file, row.proof) for row in self.manifest.rows)

    @cached_property
    def message(self) -> Mapping[str, Any]:
        """The message's own row, which the journal's ``accepted`` row must vouch for."""
        accepted = self.the_row("accepted")
        if accepted.detail.get("message") != self.digest_of(manifest.MESSAGE):
            raise invalid(manifest.MESSAGE, "the journal vouches for another row")
        return self.json(manifest.MESSAGE)

    def the_row(self, event: str) -> JournalRow:
        """The one journal row of this event."""
        found = [row for row in self.rows if row.values["event"] == event]
        if len(found) != 1:
            raise invalid(manifest.NAME, f"there are {len(found)} journal rows '{event}' where there must be one")
        return found[0]

    def party(self, name: str, *codes: str) -> Role:
        """A partner's role, by the codes that the container lists for it; one of the first form lists none: by ``codes`` of the rows."""
        listed = next((one.codes for one in self.manifest.parties if one.name == name), codes)
        return party(name, listed)

    def body(self, digest: str) -> Body | None:
        """The octets with this digest, if they are here."""
        name = self.digests.get(digest)
        return None if name is None else self.files[name]

    def json(self, name: str) -> dict[str, Any]:
        """A row's file."""
        octets = self.octets(name)
        try:
            found = orjson.loads(octets)
        except ValueError as error:
            raise invalid(name, f"it is not JSON ({error})") from None
        if not isinstance(found, dict):
            raise invalid(name, "it is not a row")
        return found

    def octets(self, name: str, most: int = MOST_SMALL) -> bytes:
        """A file that must be here, and be small."""
        return octets_of(self.files, name, most)

    def digest_of(self, name: str) -> str:
        """The SHA-256 of a file that must be here."""
        return digest(self.octets(name)).hex()

    def _row(self, name: str, proof: Inclusion | None) -> JournalRow:
        values = self.json(name)
        try:
            if values["message_id"] != self.manifest.message:
                raise invalid(name, "it is about another message")
            row = JournalRow(name, self.digest_of(name), values, orjson.loads(values["detail"]), proof)
            _ = row.at, int(values["seq"]), values["chain"] + values["event"] + values["delivery_id"] + values["previous"]
        except (LookupError, TypeError, ValueError) as error:
            raise invalid(name, f"it is no journal row ({type(error).__name__} {error})") from None
        return row


def within(part: str, error: Rejected) -> Rejected:
    """The same refusal, with the part that it is about."""
    reasons = {language: f"{error.code} {reason}" for language, reason in error.reasons.items()}
    return Rejected("evidence-invalid", part=part, detail=Quoted(reasons))
