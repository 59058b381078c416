"""What operators do to deliveries. Each act is journalled with who did it and why."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bus.delivery import State
from bus.receipt import Status
from bus.store import debts, issuing
from bus.store.tables import AT_ONCE, Row, deliveries, is_held, stamp
from bus.store.transaction import Transaction

#: A row that every store has, whatever is in it, written as it is.
_TOUCH = sa.text("UPDATE alembic_version SET version_num = version_num")
_CANCELLABLE = (State.READY, State.WAITING, State.DEAD)


def _named(tx: Transaction, ids: Sequence[str], states: Sequence[State]) -> Sequence[Row]:
    """Deliveries named by their own id, or all that a message's id stands for; its receipts are not meant by that."""
    of_message = sa.and_(deliveries.c.message_id.in_(ids), deliveries.c.receipt_id == "")
    named = sa.or_(deliveries.c.id.in_(ids), of_message)
    return tx.ask(sa.select(deliveries).where(named, deliveries.c.state.in_(states)).order_by(deliveries.c.seq).with_for_update()).all()


def resend(tx: Transaction, ids: Sequence[str], by: str, reason: str, lifetime: timedelta) -> list[str]:
    """Deliveries that are to be pushed are due at once, and those that were dead wait again.

    Dead ones, those held since a restore, and those whose time is over owe again for ``lifetime``; others keep theirs. Attempts go on
    counting: the fence never goes back. What an operator wants sent at once already stays as it is.
    """
    rows = [row for row in _named(tx, ids, [State.DEAD, State.READY]) if row.due != AT_ONCE or row.state == State.DEAD]
    for row in rows:
        to = State.WAITING if row.owner else State.READY
        over = row.state == State.DEAD or is_held(row.state, row.due) or row.expires <= tx.at
        expires = stamp(tx.now + lifetime) if over else row.expires
        again = {"due": tx.at if row.owner else AT_ONCE, "expires": expires, "ended": "", "outcome": ""}
        changed = debts.annotate(tx, row, **again) if row.state == to else debts.change(tx, row, to, **again)
        said = {"by": by, "reason": reason, "was": row.outcome or _was(row), "expires": expires}
        tx.append("resent", row.message_id, row.id, {**changed, **said})
    return [row.id for row in rows]


def _was(row: Row) -> str:
    return "held" if is_held(row.state, row.due) else f"due {row.due}"


def cancel(tx: Transaction, ids: Sequence[str], by: str, reason: str) -> list[str]:
    """Give up deliveries that are not being worked on right now. A dead one stays dead, with a receipt that it will not be resent."""
    rows = [row for row in _named(tx, ids, _CANCELLABLE) if row.outcome != Status.CANCELLED]
    for row in rows:
        _cancel(tx, row, by, reason)
    return [row.id for row in rows]


def _cancel(tx: Transaction, row: Row, by: str, reason: str) -> None:
    said = issuing.statement(Status.CANCELLED, "receipt-cancelled", row, reason=reason)
    values = {
        "outcome": Status.CANCELLED,
        "last_code": said.code,
        "last_reason_vi": said.reasons["vi"],
        "last_reason_en": said.reasons["en"],
    }
    dead = row.state == State.DEAD
    changed = debts.annotate(tx, row, **values) if dead else debts.change(tx, row, State.DEAD, ended=tx.at, **values)
    detail = {**changed, "by": by, "reason": reason, "was": row.outcome or row.state}
    if row.receipt_id:
        tx.append("cancelled", row.message_id, row.id, detail)
    else:
        issuing.issue(tx, debts.subject_of(tx, row.message_id), said, detail)


def prove(tx: Transaction) -> None:
    """Have this transaction write. The chain's head is written at the end of each; a chain that has no row yet has none."""
    if not tx.seq:
        tx.ask(_TOUCH)


def note(tx: Transaction, event: str, said: Mapping[str, Any]) -> None:
    """Journal an act on the store as a whole: ``restored`` says that this chain goes on from a backup, and what it had beyond is lost."""
    tx.append(event, "", "", said)
