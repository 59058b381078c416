"""Mailboxes: deliveries that the partner fetches and confirms (D11).

A mailbox belongs to the partner, through whichever endpoint it reads.
"""

from datetime import datetime
from typing import Any

from bus.delivery import State
from bus.endpoint import Answer
from bus.errors import LANGUAGES, Rejected, catalogue, text
from bus.receipt import Status
from bus.store import debts, issuing, statements
from bus.store.tables import Row, stamp
from bus.store.transaction import Transaction, Turn

#: Mailbox deliveries ended in one transaction when their time is over: bounds how long the other callers wait.
EXPIRED_AT_ONCE = 100


def _find(tx: Transaction, partner: str, public_id: str) -> Row:
    for name in tx.context.names.of(partner):
        row = tx.ask(statements.TO_END, owner=name, public_id=public_id).one_or_none()
        if row is not None:
            return row
    raise Rejected("mailbox-message-unknown", message=public_id)


def fetch(tx: Transaction, partner: str, public_id: str) -> tuple[Row, bytes | None]:
    """A mailbox message and its octets (None when they are a file). The first fetch is stated in a receipt FETCHED, later ones are not.

    Raises Rejected 5.2.1 for an unknown message or another partner's.
    """
    row = _find(tx, partner, public_id)
    if not row.fetched:
        _note_fetch(tx, row)
    if row.receipt_id:
        body = tx.ask(statements.RECEIPT_XML, id=row.receipt_id).scalar_one()
    else:
        body = tx.ask(statements.BLOB, digest=row.digest).scalar_one_or_none()
    return row, body


def _note_fetch(tx: Transaction, row: Row) -> None:
    tx.write(Turn.CHANGE, statements.FETCHED, {"of_id": row.id, "first": tx.at})
    if row.receipt_id:
        tx.append("fetched", row.message_id, row.id, {})
        return
    issuing.issue(tx, debts.subject_of(tx, row.message_id), issuing.statement(Status.FETCHED, "receipt-fetched", row), {})


def confirm(tx: Transaction, partner: str, public_id: str, done: bool, reason: str, said: bytes = b"") -> Answer:
    """End a mailbox delivery on its owner's word, which is kept where it is signed (``said``).

    Repeating it, even with the contrary, gives the first answer.
    """
    row = _find(tx, partner, public_id)
    if row.state != State.WAITING:
        return _first_answer(tx, row)
    if done:
        changed = debts.change(tx, row, State.DONE, ended=tx.at, outcome="" if row.receipt_id else Status.CONFIRMED)
    else:
        changed = debts.change(tx, row, State.DEAD, ended=tx.at, **_declined(row, reason))
    if row.receipt_id:
        tx.append("confirmed" if done else "rejected", row.message_id, row.id, {**changed, "reason": reason})
        return _first_answer(tx, row)
    if done:
        statement = issuing.statement(Status.CONFIRMED, "receipt-confirmed", row)
    else:
        statement = issuing.statement(Status.REJECTED, "receipt-declined", row, reason=reason)
    return issuing.issue(tx, debts.subject_of(tx, row.message_id), statement, changed, said)


def _declined(row: Row, reason: str) -> dict[str, Any]:
    outcome = "" if row.receipt_id else Status.REJECTED
    return {"outcome": outcome, **_failure("receipt-declined", reason=reason)}


def _failure(key: str, **values: object) -> dict[str, str]:
    return {"last_code": catalogue()[key].code} | {f"last_reason_{language}": text(key, language, **values) for language in LANGUAGES}


def _first_answer(tx: Transaction, row: Row) -> Answer:
    """The receipt that ended this delivery; for one that carries a receipt, that very receipt."""
    if row.receipt_id:
        return issuing.answer_of(tx.ask(statements.RECEIPT, id=row.receipt_id).one())
    last = tx.ask(statements.LAST_RECEIPT, message=row.message_id, delivery=row.id, status=row.outcome)
    return issuing.answer_of(last.one())


def expire(tx: Transaction, at: datetime) -> int:
    """Give up mailbox deliveries that nobody confirmed in their time, which was over ``at``: DEAD, and a receipt EXPIRED."""
    rows = tx.ask(statements.UNCOLLECTED, now=stamp(at), most=EXPIRED_AT_ONCE).all()
    for row in rows:
        changed = debts.change(tx, row, State.DEAD, ended=tx.at, outcome=Status.EXPIRED, **_failure("receipt-uncollected"))
        said = issuing.statement(Status.EXPIRED, "receipt-uncollected", row)
        issuing.issue(tx, debts.subject_of(tx, row.message_id), said, changed)
    return len(rows)
