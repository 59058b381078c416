"""Meaning: which message a name on the command line stands for. Every command that shows or changes one message asks here.

An exact id of the bus wins. Any other name (the sender's MessageId, the DocumentId, the document's number) counts if one message goes
by it; a name that several go by changes and shows nothing, and its meanings are listed, to choose from. ``partner`` narrows it to what
one partner sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer

from bus.cli.screen import console, emit, say, table
from bus.store import Store
from bus.store.snapshot import Snapshot
from bus.store.tables import Row

PartnerOption = Annotated[str, typer.Option("--partner", help="What this partner sent: narrows a name that several partners use.")]

#: What is said of each message to choose from.
_CHOICE = ("id", "sender", "public_id", "document_id", "accepted", "subject")


@dataclass(frozen=True, slots=True)
class Unclear:
    """A name that stands for no message, or for several. ``why``: ``unknown`` or ``ambiguous``."""

    name: str
    partner: str
    choices: tuple[Mapping[str, Any], ...] = ()

    @property
    def why(self) -> str:
        """One word for programs."""
        return "ambiguous" if self.choices else "unknown"

    def said(self) -> str:
        """The sentence for people, with the cure."""
        if self.choices:
            ids = ", ".join(choice["id"] for choice in self.choices)
            return say("cli-evidence-several", count=len(self.choices), message=self.name, ids=ids)
        if self.partner:
            return say("cli-no-message-of", message=self.name, partner=self.partner)
        return say("cli-no-message", message=self.name)


def find(snapshot: Snapshot, name: str, sent_by: Sequence[str], partner: str) -> str | Unclear:
    """The id of the one message that ``name`` means. ``sent_by``: the names under which ``partner`` sent; none for everybody."""
    rows = snapshot.called(name) or snapshot.numbered(name)
    found = [row for row in rows if not sent_by or row.sender in sent_by]
    exact = [row.id for row in found if row.id == name]
    if exact or len(found) == 1:
        return str(exact[0] if exact else found[0].id)
    return Unclear(name, partner, tuple(map(_choice, found)))


def _choice(row: Row) -> Mapping[str, Any]:
    return {column: getattr(row, column) for column in _CHOICE}


def look(store: Store, name: str, partner: str) -> str | Unclear:
    """The id of the one message that ``name`` means."""
    with store.snapshot() as snapshot:
        return find(snapshot, name, senders(store, partner), partner)


def one(store: Store, name: str, partner: str, *, json: bool) -> str:
    """The id of the one message that ``name`` means; where there is none, says so and ends the command with 1."""
    found = look(store, name, partner)
    if isinstance(found, Unclear):
        refuse([found], json=json)
    return found


def owed(store: Store, names: Sequence[str], partner: str, *, json: bool) -> list[str]:
    """Ids of what ``names`` mean: messages, or single deliveries by their own ids. If one is unclear nothing is, and the command ends."""
    with store.snapshot() as snapshot:
        sent_by = senders(store, partner)
        found = [_owed(snapshot, name, sent_by, partner) for name in names]
    if unclear := [each for each in found if isinstance(each, Unclear)]:
        refuse(unclear, json=json)
    return [each for each in found if isinstance(each, str)]


def _owed(snapshot: Snapshot, name: str, sent_by: Sequence[str], partner: str) -> str | Unclear:
    found = find(snapshot, name, sent_by, partner)
    known = isinstance(found, Unclear) and not found.choices and not partner and snapshot.delivery(name) is not None
    return name if known else found


def senders(store: Store, partner: str) -> Sequence[str]:
    """The names under which a partner sent what the store holds; none when none is asked for."""
    return store.names_of(partner) if partner else ()


def refuse(unclear: Sequence[Unclear], *, json: bool) -> NoReturn:
    """Say which names are unclear, with what there is to choose from, and end the command."""
    if json:
        emit({"refused": [{"name": each.name, "why": each.why, "said": each.said(), "messages": each.choices} for each in unclear]})
        raise typer.Exit(1)
    for each in unclear:
        console.print(each.said(), style="red")
        if each.choices:
            rows = [list(choice.values()) for choice in each.choices]
            table(["id", "partner", "message", "document", "accepted", "subject_line"], rows)
    raise typer.Exit(1)
