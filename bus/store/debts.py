"""Debts: how a delivery comes to be and how it changes. Every other unit goes through ``owe`` and ``change``.

The table ``bus.delivery.TRANSITIONS`` is enforced here and only here. A delivery's ``revision`` counts its changes; the journal row of a
change carries the same number and the new state, so that the audit can tell the true state of every delivery.

Order: among the active (READY, CLAIMED) deliveries to one target with the same order key, only the one that was created first may be
claimed. That one has ``claimable = 1``; it is worked out when something changes, not when something is claimed, so that a claim costs
the same however many deliveries stand blocked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bus.delivery import TRANSITIONS, State
from bus.message import KIND, KIND_OTHER, RECEIVERS
from bus.store import blobs, statements
from bus.store.model import LostClaim, Owed, Work
from bus.store.tables import FIXED, Row, canonical, columns, fingerprint, stamp
from bus.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Subject:
    """The message as receipts and deliveries speak of it: a few columns of its row."""

    id: str
    public_id: str
    document_id: str
    organ: str
    sender: str
    digest: str
    receipts_to: str

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "Subject":
        """The subject in a row of ``messages``."""
        return cls(*(row[name] for name in ("id", "public_id", "document_id", "organ", "sender", "digest", "receipts_to")))

    @classmethod
    def load(cls, tx: Transaction, message_id: str) -> "Subject":
        """The subject of a stored message."""
        return cls.of(columns(tx.connection.execute(statements.MESSAGE, {"id": message_id}).one()))


def owe(tx: Transaction, subject: Subject, owed: Owed, digest: str) -> dict[str, str]:
    """Record a debt: WAITING in its owner's mailbox, else READY. Returns what the journal says of it."""
    blobs.keep(tx.connection, digest, owed.message.body)
    headers = owed.message.headers
    return insert(
        tx,
        {
            "message_id": subject.id,
            "route": owed.route,
            "target": owed.target,
            "owner": owed.owner,
            "order_key": owed.order_key,
            "kind": headers.get(KIND, KIND_OTHER),
            "receipt_id": "",
            "receivers": headers.get(RECEIVERS, ""),
            "digest": digest,
            "size": len(owed.message.body),
            "headers": canonical(headers),
            "expires": stamp(owed.expires),
        },
        names=(subject.public_id, subject.id),
    )


def insert(tx: Transaction, values: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """Insert a delivery; in a mailbox it goes by the first of ``names`` that is free there, or by its own id."""
    row = {"id": tx.context.ids(), "created": stamp(tx.now), "due": stamp(tx.now), **_BLANK, **values}
    if row["owner"]:
        row["state"] = State.WAITING
        row["public_id"] = next((name for name in names if not _taken(tx, row["owner"], name)), row["id"])
    tx.connection.execute(statements.INSERT_DELIVERY, row)
    advance(tx, row["target"], row["order_key"])
    entry = {"delivery": "id", "target": "target", "owner": "owner", "state": "state", "sha256": "digest"}
    return {**{said: row[name] for said, name in entry.items()}, "row": fingerprint({name: row[name] for name in FIXED})}


_BLANK: Mapping[str, Any] = {
    "state": State.READY,
    "revision": 0,
    "claimable": 1,
    "attempt": 0,
    "public_id": "",
    "claimed_by": "",
    "lease_until": "",
    "fetched": "",
    "ended": "",
    "outcome": "",
    "last_code": "",
    "last_reason_vi": "",
    "last_reason_en": "",
}


def _taken(tx: Transaction, owner: str, name: str) -> bool:
    return tx.connection.execute(statements.IN_MAILBOX, {"owner": owner, "public_id": name}).first() is not None


def held(tx: Transaction, work: Work) -> Row:
    """The delivery that ``work`` claimed, if the claim still stands: the fence (D8). Raises LostClaim."""
    row = tx.connection.execute(statements.DELIVERY, {"id": work.delivery.id}).one_or_none()
    if row is None or row.state != State.CLAIMED or row.attempt != work.delivery.attempt:
        raise LostClaim(f"delivery {work.delivery.id}, attempt {work.delivery.attempt}")
    return row


def change(tx: Transaction, row: Row, to: State, **values: Any) -> dict[str, Any]:
    """Move a delivery to another state. Returns what the journal must say of it. Raises ValueError on a change TRANSITIONS forbids."""
    if to not in TRANSITIONS[State(row.state)]:
        raise ValueError(f"a delivery cannot go from {row.state} to {to}")
    changed = {"state": to, "revision": row.revision + 1, **values}
    tx.connection.execute(statements.UPDATE_DELIVERY, {"of_seq": row.seq, **changed})
    if to is not State.CLAIMED:
        advance(tx, row.target, row.order_key)
    return {"state": to, "revision": changed["revision"]}


def annotate(tx: Transaction, row: Row, **values: Any) -> dict[str, Any]:
    """Change what is said of a delivery, not its state. Returns what the journal must say of it, as ``change`` does."""
    changed = {"revision": row.revision + 1, **values}
    tx.connection.execute(statements.UPDATE_DELIVERY, {"of_seq": row.seq, **changed})
    return {"state": row.state, "revision": changed["revision"]}


def advance(tx: Transaction, target: str, order_key: str) -> None:
    """Let the first active delivery with this order key through and hold the others back."""
    if not order_key:
        return
    same = {"to_target": target, "with_key": order_key}
    tx.connection.execute(statements.HOLD_BACK, same)
    # An older one may come back (resent) while a younger one is claimed: then all wait for the claim to end.
    if tx.connection.execute(statements.CLAIMED_IN_ORDER, same).first() is None:
        tx.connection.execute(statements.LET_THROUGH, same)
