"""Debts: how a delivery comes to be and how it changes. Every other unit goes through ``owe`` and ``change``.

The table ``bus.delivery.TRANSITIONS`` is enforced here and only here. A delivery's ``revision`` counts its changes; the journal row of a
change carries the same number and the new state, so that the audit can tell the true state of every delivery.

The fence (D8): a change is written only where the delivery still has the revision that the unit decided on. A claim and its end are
changes, so a worker whose lease ran out finds another revision, and LostClaim is raised when the change is written. A delivery that is
claimed as it is recorded is inserted as what the claim would have made of it, and has its journal row as any claim.

Order: among the active (READY, CLAIMED) deliveries to one target with the same order key, only the one that was created first may be
claimed. That one has ``claimable = 1``; it is worked out when something changes, not when something is claimed, so that a claim costs
the same however many deliveries stand blocked. A new delivery works it out as it is inserted (``INSERT_DELIVERY``).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bus.delivery import TRANSITIONS, State
from bus.errors import Deferred
from bus.message import KIND, KIND_OTHER, RECEIVERS
from bus.receipt import legible
from bus.store import blobs, filling, statements
from bus.store.model import Debt, Owed, Subject
from bus.store.tables import FIXED, Row, canonical, columns, deliveries, fingerprint, stamp
from bus.store.transaction import Transaction, Turn


def subject_of(tx: Transaction, message_id: str) -> Subject:
    """The subject of a stored message."""
    return Subject.of(columns(tx.ask(statements.MESSAGE, id=message_id).one()))


def owe(tx: Transaction, subject: Subject, owed: Owed, digest: str, *, kept: bool = False) -> dict[str, Any]:
    """Record a debt: WAITING in its owner's mailbox, else READY or at once CLAIMED; ``kept``: its octets are here. Gives its row.

    Raises Deferred 4.2.2 for a mailbox that has no room for it.
    """
    if owed.owner:
        filling.enter(tx, owed.owner, len(owed.message.body), owed.receiver)
    if not kept:
        blobs.keep(tx, digest, owed.message.body)
    values = _values(subject, owed, digest)
    if owed.owner:
        names = (subject.public_id, subject.id)
        values["public_id"] = next((name for name in names if not _taken(tx, owed.owner, name)), "")
    elif owed.lease is not None and _first_of_its_key(tx, owed):
        values |= {"state": State.CLAIMED, "revision": 1, **claim(tx, 0, owed.lease)}
    return insert(tx, values)


def wait(tx: Transaction, subject: Subject, owed: Owed, digest: str, why: Deferred) -> dict[str, Any]:
    """Record a debt that is put off as it is recorded, for as long as ``why`` wishes. Its octets are here. Gives its row."""
    due = stamp(tx.now + timedelta(seconds=why.retry_after or 0))
    reasons = {f"last_reason_{language}": legible(reason) for language, reason in why.reasons.items()}
    return insert(tx, {**_values(subject, owed, digest), "due": due, "last_code": why.code, **reasons})


def _values(subject: Subject, owed: Owed, digest: str) -> dict[str, Any]:
    headers = owed.message.headers
    return {
        "message_id": subject.id,
        "route": owed.route,
        "target": owed.target,
        "owner": owed.owner,
        "order_key": owed.order_key,
        "kind": headers.get(KIND, KIND_OTHER),
        "public_id": "",
        "receipt_id": "",
        "receivers": headers.get(RECEIVERS, ""),
        "digest": digest,
        "size": len(owed.message.body),
        "headers": canonical(headers),
        "expires": stamp(owed.expires),
    }


def claim(tx: Transaction, attempt: int, lease: timedelta) -> dict[str, Any]:
    """The columns that a claim by this chain sets on a delivery that was claimed ``attempt`` times before."""
    return {"attempt": attempt + 1, "claimed_by": tx.context.chain, "lease_until": stamp(tx.now + lease)}


def _first_of_its_key(tx: Transaction, owed: Owed) -> bool:
    if not owed.order_key:
        return True
    name = _order_name(owed.target, owed.order_key)
    # Where another node decides for this key at this moment nobody waits for it: the delivery is recorded, and claimed later.
    if not tx.try_order(owed.target, owed.order_key):
        return False
    return not tx.ask_of(name, statements.ACTIVE, target=owed.target, order_key=owed.order_key).scalar_one()


def _order_name(target: str, order_key: str) -> tuple[str, str]:
    """What the active deliveries of one order go by among the collected rows: no sender and no owner has such a name."""
    return f"\0{target}", order_key


def _taken(tx: Transaction, owner: str, name: str) -> bool:
    mailboxes = tx.context.names.of(owner)
    return any(tx.ask_of((each, name), statements.IN_MAILBOX, owner=each, public_id=name).first() is not None for each in mailboxes)


def insert(tx: Transaction, values: Mapping[str, Any]) -> dict[str, Any]:
    """Insert a delivery; in a mailbox that has no other name for it, it goes by its own id. Gives its row."""
    row = {"id": tx.context.ids(), "created": tx.at, "due": tx.at, **_BLANK, **values}
    if row["owner"]:
        row["state"] = State.WAITING
        row["public_id"] = row["public_id"] or row["id"]
    name = (row["owner"], row["public_id"]) if row["owner"] else _order_name(row["target"], row["order_key"])
    if row["order_key"]:
        tx.decide_order(row["target"], row["order_key"])
    tx.write(Turn.DELIVERY, statements.INSERT_DELIVERY, row, name)
    return row


def entry(row: Mapping[str, Any]) -> dict[str, str]:
    """What the journal says of a new delivery."""
    said = {"delivery": "id", "target": "target", "owner": "owner", "sha256": "digest"}
    return {**{key: row[name] for key, name in said.items()}, "row": fingerprint(deliveries, {name: row[name] for name in FIXED})}


_BLANK: Mapping[str, Any] = {
    "state": State.READY,
    "revision": 0,
    "attempt": 0,
    "claimed_by": "",
    "lease_until": "",
    "fetched": "",
    "ended": "",
    "outcome": "",
    "last_code": "",
    "last_reason_vi": "",
    "last_reason_en": "",
}


def change(tx: Transaction, debt: Debt | Row, to: State, **values: Any) -> dict[str, Any]:
    """Move a delivery to another state. Returns what the journal must say of it. Raises ValueError on a change TRANSITIONS forbids."""
    if to not in TRANSITIONS[State(debt.state)]:
        raise ValueError(f"a delivery cannot go from {debt.state} to {to}")
    said = _write(tx, debt, to, values)
    filling.changed(tx, debt, to)
    if debt.order_key:
        _advance(tx, debt, to)
    return said


def annotate(tx: Transaction, debt: Debt | Row, **values: Any) -> dict[str, Any]:
    """Change what is said of a delivery, not its state. Returns what the journal must say of it, as ``change`` does."""
    return _write(tx, debt, debt.state, values)


def _write(tx: Transaction, debt: Debt | Row, state: str, values: Mapping[str, Any]) -> dict[str, Any]:
    said = {"state": state, "revision": debt.revision + 1}
    fence = {"of_id": debt.id, "of_revision": debt.revision}
    tx.write(Turn.CHANGE, statements.changing(*said, *values), {**fence, **said, **values})
    return said


def _advance(tx: Transaction, debt: Debt | Row, to: State) -> None:
    """Let the first active delivery with this order key through and hold the others back."""
    same = {"to_target": debt.target, "with_key": debt.order_key}
    if to is State.CLAIMED:
        return
    tx.decide_order(debt.target, debt.order_key)
    if debt.state == State.CLAIMED and to is not State.READY:
        # While it was claimed all others were held back, and it was the only one: the next has nothing to wait for.
        tx.write(Turn.LET_THROUGH, statements.LET_THROUGH, same)
        return
    # An older one may come back (resent) while a younger one is claimed: then all wait for the claim to end.
    tx.write(Turn.HOLD_BACK, statements.HOLD_BACK, same)
    tx.write(Turn.LET_THROUGH, statements.LET_THROUGH_UNLESS_CLAIMED, same)
