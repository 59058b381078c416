"""The life of a pushed delivery: claimed with a lease, finished with a fence (D8).

Every unit but ``claim`` and ``release`` ends in LostClaim when the claim no longer stands, and then changes nothing: that is found out
when its change is written (``debts``), so none of them reads what the claim has read already.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import orjson

from bus.delivery import Delivery, State
from bus.endpoint import Answer, Sent
from bus.message import RECEIVERS, Message
from bus.octets import Body
from bus.receipt import Status, legible
from bus.store import debts, filling, issuing, statements
from bus.store.model import Debt, Owed, Subject, Work, full
from bus.store.tables import NEVER, Row, moment, stamp
from bus.store.transaction import Transaction

#: In a row of ``statements.CLAIM``: the columns of a debt that a claim keeps (all but its last three), and those of the subject.
_KEPT = attrgetter(*Debt.__slots__[:-3])
_SUBJECT = attrgetter(*(statements.ORIGINAL + name for name in Subject.__slots__))


def claim(tx: Transaction, target: str, limit: int, lease: timedelta, most_bytes: int) -> Sequence[Row]:
    """Claim due deliveries to ``target``, oldest first, until there are ``limit`` of them or their bodies have reached ``most_bytes``.

    Gives the rows as they were before, with their subject's columns and ``body`` (None when it is a file); ``work`` reads them.
    """
    rows = tx.ask(statements.CLAIM, target=target, now=tx.at, most=limit).all()
    # What came before a row, and not the row itself: the first is taken however large it is.
    before = itertools.accumulate((row.size for row in rows), initial=0)
    rows = [row for row, size in zip(rows, before, strict=False) if size < most_bytes]
    for row in rows:
        taken = debts.claim(tx, row.attempt, lease)
        changed = debts.change(tx, row, State.CLAIMED, **taken)
        tx.append("claimed", row.message_id, row.id, {**changed, **taken})
    return rows


def work(row: Row, body: Body) -> Work:
    """The work in a row as ``claim`` gives it, as it is after the claim."""
    values = (*_KEPT(row), State.CLAIMED, row.revision + 1, row.attempt + 1)
    debt = Debt(*values)
    subject = Subject(*_SUBJECT(row))
    message = Message(debt.message_id, orjson.loads(row.headers), body)
    return Work(_delivery(debt, row.due, row.expires), message, subject.digest, debt, subject)


def _delivery(debt: Debt, due: str, expires: str) -> Delivery:
    return Delivery(
        id=debt.id,
        message_id=debt.message_id,
        route=debt.route,
        target=debt.target,
        owner=debt.owner,
        order_key=debt.order_key,
        state=debt.state,
        attempt=debt.attempt,
        due=moment(due),
        expires=moment(expires),
    )


def begun(tx: Transaction, subject: Subject, owed: Sequence[Owed], rows: Sequence[Mapping[str, Any]]) -> tuple[Work, ...]:
    """Those of the new deliveries ``rows`` that were claimed as they were recorded, journalled as any claim is."""
    works = []
    for each, row in zip(owed, rows, strict=True):
        if row["state"] is State.CLAIMED:
            said = ("state", "revision", "attempt", "claimed_by", "lease_until")
            tx.append("claimed", subject.id, row["id"], {name: row[name] for name in said})
            debt = Debt(**{name: row[name] for name in Debt.__slots__})
            works.append(Work(_delivery(debt, row["due"], row["expires"]), each.message, subject.digest, debt, subject))
    return tuple(works)


def routed(tx: Transaction, work: Work, results: Sequence[Owed], digests: Sequence[str], note: Mapping[str, Any]) -> tuple[Work, ...]:
    """A route has decided: its delivery is done, and what it decided is owed. Gives what of it was claimed at once.

    Raises Deferred 4.2.2 where a mailbox is full; whom else it is for does not wait for that, if he can be told apart (``_apart``).
    """
    debt, subject = work.debt, work.subject
    waiting = _apart(tx, work, results)
    changed = _end(tx, debt, State.DONE)
    kept = {debt.digest, subject.digest}
    now = [(owed, digest) for owed, digest in zip(results, digests, strict=True) if all(owed is not each for each in waiting)]
    rows = [debts.owe(tx, subject, owed, digest, kept=digest in kept) for owed, digest in now]
    later = [debts.wait(tx, subject, _once_more(work, waiting), debt.digest, full(_receivers(waiting)))] if waiting else []
    tx.append("routed", debt.message_id, debt.id, {**changed, **note, "owed": [debts.entry(row) for row in (*rows, *later)]})
    return begun(tx, subject, [owed for owed, _ in now], rows)


def _apart(tx: Transaction, work: Work, results: Sequence[Owed]) -> Sequence[Owed]:
    """What is for full mailboxes, if the rest need not wait for it: for others alone, and in no order. Raises Deferred 4.2.2 otherwise."""
    closed = [owed for owed in results if owed.owner and not filling.takes(tx, owed.owner, len(owed.message.body))]
    names = {name for owed in closed for name in owed.receiver.split()}
    others = [owed for owed in results if all(owed is not each for each in closed)]
    if closed and (not others or work.debt.order_key or any(names.intersection(owed.receiver.split()) for owed in others)):
        raise full(_receivers(closed))
    return closed


def _receivers(owed: Sequence[Owed]) -> dict[str, str]:
    return {each.owner: each.receiver for each in owed}


def _once_more(work: Work, waiting: Sequence[Owed]) -> Owed:
    """The same delivery to the same route, for the receivers whose mailboxes are full."""
    message = work.message.with_headers(**{RECEIVERS: " ".join(_receivers(waiting).values())})
    return Owed(work.debt.route, work.debt.target, message, work.delivery.expires)


def finish(tx: Transaction, work: Work, sent: Sent) -> Answer:
    """The partner took it: DONE and a receipt DELIVERED, with the digest of what was sent and the partner's reply as the proof."""
    changed = _end(tx, work.debt, State.DONE, outcome=Status.DELIVERED)
    said = issuing.statement(Status.DELIVERED, "receipt-delivered", work.debt, target=work.debt.target)
    return issuing.issue(tx, work.subject, said, {**changed, "sent": sent.digest}, sent.reply)


def defer(tx: Transaction, work: Work, due: datetime, code: str, reasons: Mapping[str, str]) -> None:
    """A failure that may pass: due again later."""
    debt = work.debt
    changed = debts.change(tx, debt, State.READY, due=stamp(due), claimed_by="", lease_until="", **_failure(code, reasons))
    failure = {"attempt": debt.attempt, "due": stamp(due), "code": code, "reasons": dict(reasons)}
    tx.append("deferred", debt.message_id, debt.id, {**changed, **failure})


def hold(tx: Transaction, work: Work, code: str, reasons: Mapping[str, str]) -> None:
    """Time is up, and it is we who failed: READY, never due and never over, until an operator sends it again or cancels it. No receipt."""
    debt = work.debt
    held = {"due": NEVER, "expires": NEVER, "claimed_by": "", "lease_until": ""}
    changed = debts.change(tx, debt, State.READY, **held, **_failure(code, reasons))
    said = {"was": State.CLAIMED, "attempt": debt.attempt, "code": code, "reasons": dict(reasons)}
    tx.append("held", debt.message_id, debt.id, {**changed, **said})


def bury(tx: Transaction, work: Work, status: Status, code: str, reasons: Mapping[str, str]) -> Answer:
    """A failure for good: DEAD, and a receipt that says why."""
    changed = _end(tx, work.debt, State.DEAD, outcome=status, **_failure(code, reasons))
    said = issuing.about(work.debt, status, code, reasons)
    return issuing.issue(tx, work.subject, said, {**changed, "attempt": work.debt.attempt})


def release(tx: Transaction, expired_at: datetime | None, holding: Collection[str]) -> int:
    """Give back claims: those whose lease was over at ``expired_at``, or, with None, all that this chain still holds from before.

    Not those of the deliveries ``holding``: they are being worked right here, whatever the time of day has become.
    """
    if expired_at is None:
        rows = tx.ask(statements.CLAIMED_BY, chain=tx.context.chain).all()
    else:
        rows = tx.ask(statements.LEASE_OVER, at=stamp(expired_at)).all()
    rows = [row for row in rows if row.id not in holding]
    for row in rows:
        changed = debts.change(tx, row, State.READY, claimed_by="", lease_until="")
        tx.append("released", row.message_id, row.id, {**changed, "claimed_by": row.claimed_by, "lease_until": row.lease_until})
    return len(rows)


def _end(tx: Transaction, debt: Debt, to: State, **values: Any) -> dict[str, Any]:
    return debts.change(tx, debt, to, ended=tx.at, claimed_by="", lease_until="", **values)


def _failure(code: str, reasons: Mapping[str, str]) -> dict[str, str]:
    # A partner's words may hold what no database takes as text.
    return {"last_code": code} | {f"last_reason_{language}": legible(reason) for language, reason in reasons.items()}
