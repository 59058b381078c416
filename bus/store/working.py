"""The life of a pushed delivery: claimed with a lease, finished with a fence (D8).

Every unit but ``claim`` and ``release`` raises LostClaim when the claim no longer stands, and then changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bus.delivery import State
from bus.endpoint import Answer, Sent
from bus.receipt import Status
from bus.store import debts, issuing
from bus.store.debts import Subject
from bus.store.model import Owed, Work
from bus.store.tables import CLAIMABLE, CLAIMED, Row, blobs, deliveries, messages, stamp
from bus.store.transaction import Transaction


def claim(tx: Transaction, target: str, limit: int, lease: timedelta) -> list[Row]:
    """Claim due deliveries to ``target``, oldest first.

    Gives the rows as they were before (the attempt is one more now), with ``original_digest`` and ``body`` (None when it is a file).
    """
    query = (
        sa.select(deliveries, messages.c.digest.label("original_digest"), blobs.c.body)
        .join(messages, messages.c.id == deliveries.c.message_id)
        .outerjoin(blobs, blobs.c.digest == deliveries.c.digest)
        .where(deliveries.c.target == target, deliveries.c.due <= stamp(tx.now), sa.text(CLAIMABLE))
        .order_by(deliveries.c.due, deliveries.c.seq)
        .limit(limit)
        .with_for_update(of=deliveries, skip_locked=True)
    )
    rows = list(tx.connection.execute(query))
    until = stamp(tx.now + lease)
    for row in rows:
        taken = {"attempt": row.attempt + 1, "claimed_by": tx.context.chain, "lease_until": until}
        changed = debts.change(tx, row, State.CLAIMED, **taken)
        tx.append("claimed", row.message_id, row.id, {**changed, **taken})
    return rows


def routed(tx: Transaction, work: Work, results: Sequence[Owed], digests: Sequence[str], note: Mapping[str, Any]) -> None:
    """A route has decided: its delivery is done, and what it decided is owed."""
    row = debts.held(tx, work)
    subject = Subject.load(tx, row.message_id)
    changed = _end(tx, row, State.DONE)
    entries = [debts.owe(tx, subject, owed, digest) for owed, digest in zip(results, digests, strict=True)]
    tx.append("routed", row.message_id, row.id, {**changed, **note, "owed": entries})


def finish(tx: Transaction, work: Work, sent: Sent) -> Answer:
    """The partner took it: DONE and a receipt DELIVERED, with the digest of what was sent and the partner's reply as the proof."""
    row = debts.held(tx, work)
    changed = _end(tx, row, State.DONE, outcome=Status.DELIVERED)
    said = issuing.statement(Status.DELIVERED, "receipt-delivered", row, target=row.target)
    return issuing.issue(tx, Subject.load(tx, row.message_id), said, {**changed, "sent": sent.digest}, sent.reply)


def defer(tx: Transaction, work: Work, due: datetime, code: str, reasons: Mapping[str, str]) -> None:
    """A failure that may pass: due again later."""
    row = debts.held(tx, work)
    changed = debts.change(tx, row, State.READY, due=stamp(due), claimed_by="", lease_until="", **_failure(code, reasons))
    tx.append("deferred", row.message_id, row.id, {**changed, "attempt": row.attempt, "due": stamp(due), "code": code, "reasons": dict(reasons)})


def bury(tx: Transaction, work: Work, status: Status, code: str, reasons: Mapping[str, str]) -> Answer:
    """A failure for good: DEAD, and a receipt that says why."""
    row = debts.held(tx, work)
    changed = _end(tx, row, State.DEAD, outcome=status, **_failure(code, reasons))
    return issuing.issue(tx, Subject.load(tx, row.message_id), issuing.about(row, status, code, reasons), {**changed, "attempt": row.attempt})


def release(tx: Transaction, expired_at: datetime | None) -> int:
    """Give back claims: those whose lease was over at ``expired_at``, or, with None, all that this chain still holds from before."""
    held = deliveries.c.claimed_by == tx.context.chain if expired_at is None else deliveries.c.lease_until <= stamp(expired_at)
    rows = tx.connection.execute(sa.select(deliveries).where(held, sa.text(CLAIMED)).order_by(deliveries.c.seq)).all()
    for row in rows:
        changed = debts.change(tx, row, State.READY, claimed_by="", lease_until="")
        tx.append("released", row.message_id, row.id, {**changed, "claimed_by": row.claimed_by, "lease_until": row.lease_until})
    return len(rows)


def _end(tx: Transaction, row: Row, to: State, **values: Any) -> dict[str, Any]:
    return debts.change(tx, row, to, ended=stamp(tx.now), claimed_by="", lease_until="", **values)


def _failure(code: str, reasons: Mapping[str, str]) -> dict[str, str]:
    return {"last_code": code, "last_reason_vi": reasons["vi"], "last_reason_en": reasons["en"]}
