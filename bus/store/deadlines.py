"""Deadlines: what is over without anybody having done anything.

Late        deliveries of a lane that does not send, whose time is over: ended DEAD, with a receipt EXPIRED
Unconfirmed mailbox deliveries that their owner should have confirmed by now: nothing ends, but the journal notes the alarm

Both are looked for by a reader, because what waits may be much, and then written by a unit that believes none of it unseen. The reader
walks the index by the time of creation, from the oldest to the newest that can possibly be meant, so that a backlog costs nothing
before its time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from bus.delivery import State
from bus.errors import LANGUAGES, catalogue, text
from bus.receipt import Status
from bus.store import debts, dialect, issuing
from bus.store.tables import STANDING, Row, deliveries, journal, stamp
from bus.store.transaction import Transaction

#: Deliveries ended or alarmed in one transaction: bounds how long the other callers wait.
AT_ONCE = 100
#: An alarm about the same delivery is not repeated before.
ALARM_AGAIN = timedelta(days=1)
#: The journal's event of an alarm.
OVERDUE = "overdue"
#: Our own mistake: for an operator to look at, not for the sender to take as the partner's fault.
_OUR_BUG = catalogue()["bus-error"].code

_d = deliveries.c
_oldest_of_target = sa.and_(sa.text(STANDING), _d.target == bindparam("target"), _d.created <= bindparam("created"))
#: Deliveries to ``target`` that nobody works and whose time was over ``at``, of those made until ``created``; the first ``most``.
LATE = (
    select(_d.id)
    .where(_d.state == State.READY, _oldest_of_target, _d.expires <= bindparam("at"))
    .order_by(_d.created)
    .limit(bindparam("most"))
)
_unconfirmed = sa.and_(_d.state == State.WAITING, _oldest_of_target, _d.route == bindparam("route"), _d.receipt_id == "")
#: How many deliveries of ``route`` into ``target``, made until ``created``, each owner has not confirmed.
UNCONFIRMED = select(_d.owner, sa.func.count().label("number")).where(_unconfirmed).group_by(_d.owner)
_alarmed = sa.exists().where(journal.c.delivery_id == _d.id, journal.c.event == OVERDUE, journal.c.at > bindparam("since"))
#: The first ``most`` of them that no alarm was raised about after ``since``.
UNALARMED = select(_d.id).where(_unconfirmed, ~_alarmed).order_by(_d.created).limit(bindparam("most"))
#: Those of the deliveries ``ids`` in ``state``, but what another node is changing at this moment: it is no longer what it was.
NAMED = (
    select(deliveries)
    .where(_d.id.in_(bindparam("ids", expanding=True)), _d.state == bindparam("in_state"))
    .order_by(_d.seq)
    .with_for_update(skip_locked=True)
)


@dataclass(frozen=True, slots=True)
class Term:
    """What is due by when: deliveries of ``route`` into mailboxes of ``target``, made until ``created``, should be confirmed."""

    route: str
    target: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Missed:
    """A delivery whose deadline has passed, as the log shows it. ``status``: how it ended, or "" for an alarm."""

    message: str
    delivery: str
    route: str
    target: str
    attempt: int
    owner: str
    fetched: bool
    status: str = ""


def late(engine: sa.Engine, target: str, at: datetime, created: datetime) -> list[str]:
    """Ids for ``expire``."""
    with dialect.availability(), engine.connect() as connection:
        given = {"target": target, "at": stamp(at), "created": stamp(created), "most": AT_ONCE}
        return list(connection.execute(LATE, given).scalars())


def expire(tx: Transaction, ids: Sequence[str], at: datetime, last: Mapping[str, str]) -> list[Missed]:
    """End those of the deliveries that still wait and whose time was over ``at``. ``last``: why those never tried were not, by language."""
    rows = [row for row in _named(tx, ids, State.READY) if row.expires <= stamp(at)]
    return [_expire(tx, row, last) for row in rows]


def _expire(tx: Transaction, row: Row, last: Mapping[str, str]) -> Missed:
    status = Status.DEAD if row.last_code == _OUR_BUG else Status.EXPIRED
    tried = {"vi": row.last_reason_vi, "en": row.last_reason_en} if row.last_code else last
    reasons = {language: text("receipt-expired", language, attempts=row.attempt, last=tried[language]) for language in LANGUAGES}
    said = issuing.about(row, status, catalogue()["receipt-expired"].code, reasons)
    failure = {"last_code": said.code, "last_reason_vi": reasons["vi"], "last_reason_en": reasons["en"]}
    changed = debts.change(tx, row, State.DEAD, ended=tx.at, outcome=status, **failure)
    issuing.issue(tx, debts.subject_of(tx, row.message_id), said, {**changed, "attempt": row.attempt})
    return _missed(row, status)


def unconfirmed(engine: sa.Engine, term: Term, now: datetime) -> tuple[dict[str, int], list[str]]:
    """By owner, how many deliveries he has not confirmed in time; and ids for ``alarm``."""
    given = {"route": term.route, "target": term.target, "created": stamp(term.created)}
    with dialect.availability(), engine.connect() as connection:
        numbers = {row.owner: row.number for row in connection.execute(UNCONFIRMED, given)}
        again = {"since": stamp(now - ALARM_AGAIN), "most": AT_ONCE}
        return numbers, list(connection.execute(UNALARMED, {**given, **again}).scalars()) if numbers else []


def alarm(tx: Transaction, ids: Sequence[str], deadline: datetime) -> list[Missed]:
    """Journal that these deliveries are overdue: they were made before ``deadline`` and still wait."""
    rows = _named(tx, ids, State.WAITING)
    for row in rows:
        tx.append(OVERDUE, row.message_id, row.id, {"owner": row.owner, "created": row.created, "deadline": stamp(deadline)})
    return [_missed(row) for row in rows]


def _named(tx: Transaction, ids: Sequence[str], state: State) -> Sequence[Row]:
    return tx.ask(NAMED, ids=list(ids), in_state=state).all()


def _missed(row: Row, status: str = "") -> Missed:
    return Missed(row.message_id, row.id, row.route, row.target, row.attempt, row.owner, bool(row.fetched), status)
