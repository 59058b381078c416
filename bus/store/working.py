"""The life of a pushed delivery: claimed with a lease, finished with a fence (D8).

Every unit but ``claim`` and ``release`` raises LostClaim when the claim no longer stands, and then changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bus.delivery import State
from bus.endpoint import Answer, Sent
from bus.receipt import Status
from bus.store import debts, issuing, statements
from bus.store.debts import Subject
from bus.store.model import Owed, Work
from bus.store.tables import Row, stamp
from bus.store.transaction import Transaction


def claim(tx: Transaction, target: str, limit: int, lease: timedelta) -> Sequence[Row]:
    """Claim due deliveries to ``target``, oldest first.

    Gives the rows as they were before (the attempt is one more now), with ``original_digest`` and ``body`` (None when it is a file).
    """
    rows = tx.connection.execute(statements.CLAIM, {"target": target, "now": stamp(tx.now), "most": limit}).all()
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
    failure = {"attempt": row.attempt, "due": stamp(due), "code": code, "reasons": dict(reasons)}
    tx.append("deferred", row.message_id, row.id, {**changed, **failure})


def bury(tx: Transaction, work: Work, status: Status, code: str, reasons: Mapping[str, str]) -> Answer:
    """A failure for good: DEAD, and a receipt that says why."""
    row = debts.held(tx, work)
    changed = _end(tx, row, State.DEAD, outcome=status, **_failure(code, reasons))
    said = issuing.about(row, status, code, reasons)
    return issuing.issue(tx, Subject.load(tx, row.message_id), said, {**changed, "attempt": row.attempt})


def release(tx: Transaction, expired_at: datetime | None) -> int:
    """Give back claims: those whose lease was over at ``expired_at``, or, with None, all that this chain still holds from before."""
    if expired_at is None:
        rows = tx.connection.execute(statements.CLAIMED_BY, {"chain": tx.context.chain}).all()
    else:
        rows = tx.connection.execute(statements.LEASE_OVER, {"at": stamp(expired_at)}).all()
    for row in rows:
        changed = debts.change(tx, row, State.READY, claimed_by="", lease_until="")
        tx.append("released", row.message_id, row.id, {**changed, "claimed_by": row.claimed_by, "lease_until": row.lease_until})
    return len(rows)


def _end(tx: Transaction, row: Row, to: State, **values: Any) -> dict[str, Any]:
    return debts.change(tx, row, to, ended=stamp(tx.now), claimed_by="", lease_until="", **values)


def _failure(code: str, reasons: Mapping[str, str]) -> dict[str, str]:
    return {"last_code": code, "last_reason_vi": reasons["vi"], "last_reason_en": reasons["en"]}
