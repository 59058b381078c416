r"""Search: the operators' question, answered in bounded time however many messages there are.

Three ways, the first that fits:

by name     ``key`` is an id or the DocumentId of a message: indexes know it
by state    few deliveries stand in ``state``: an index knows them
by walk     newest first through WALK messages at most. Whatever it did not come to, it says (``Hits.back_to``); ``before`` goes on there.
            Beyond it, those whose document's number begins with ``key`` are found as well, while they are few: an index knows them

Numbers and subjects are compared as ``bus.folding`` folds them, on both databases; ``%``, ``_`` and ``\`` are letters like others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

import sqlalchemy as sa

from bus.folding import fold
from bus.store.called import among
from bus.store.standing import RANKED, Standing, standing
from bus.store.tables import STANDING, Row, columns, deliveries, messages, moment, stamp

Query: TypeAlias = sa.Select[*tuple[Any, ...]]
Ask: TypeAlias = Callable[[Query], Sequence[Row]]

#: Sorts behind whatever a number may go on with.
LAST = "\U0010ffff"
#: Messages a walk looks at: a fraction of a second.
WALK = 50_000
#: Up to so many deliveries standing in a state are looked up one by one; where there are more, a walk soon meets some.
FEW = 5_000


@dataclass(frozen=True, slots=True)
class Found:
    """One line of a search: the message's columns that people look for, and where it stands."""

    id: str
    public_id: str
    route: str
    sender: str
    kind: str
    organ: str
    receivers: str
    document_id: str
    subject: str
    size: int
    accepted: datetime
    standing: Standing


class Hits(list[Found]):
    """What was found, newest first. ``back_to``: older than this nobody looked; None when there was nothing more to look for."""

    back_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; "" and None ask for nothing.

    ``key``      any id, the DocumentId, or, if no message goes by it, a number or its beginning, or a part of the subject
    ``state``    of any delivery that does not carry a receipt
    ``since``    accepted at this time or later; ``before``: earlier than this
    """

    route: str = ""
    partner: str = ""
    state: str = ""
    key: str = ""
    since: datetime | None = None
    before: datetime | None = None
    limit: int = 50
    senders: tuple[str, ...] = ()


def search(ask: Ask, wanted: Wanted, senders: Sequence[str] = ()) -> Hits:
    """The newest ``limit`` messages that are ``wanted``; ``ask`` puts one question to the store.

    ``senders``: the names that the partner who is asked for has had.
    """
    wanted = replace(wanted, senders=tuple(senders))
    if wanted.key and not (legible(wanted.key) and fold(wanted.key)):
        return Hits()
    if wanted.key:
        by_name = ask(_by_time(_wanted(wanted).where(named(wanted.key))).limit(wanted.limit))
        if by_name:
            return Hits(map(_found, by_name))
    if wanted.state and _few(ask, wanted.state):
        in_state = sa.select(deliveries.c.message_id).where(deliveries.c.state == wanted.state, sa.text(STANDING))
        return Hits(map(_found, ask(_by_time(_matching(wanted).where(messages.c.id.in_(in_state))).limit(wanted.limit))))
    hits = _walk(ask, wanted)
    # Who goes on from there has seen them.
    return _with_numbered(ask, wanted, hits) if wanted.key and hits.back_to and not wanted.before else hits


def legible(key: str) -> bool:
    """Whether a key is text that a database can be asked for."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in key


def named(key: str) -> sa.ColumnElement[bool]:
    """Whether a message goes by ``key``: the bus's id, its sender's, or its DocumentId."""
    return sa.or_(messages.c.id == key, messages.c.public_id == key, sa.and_(messages.c.document_id == key, messages.c.document_id != ""))


def numbered(key: str) -> sa.ColumnElement[bool]:
    """Whether the number of a message's document is ``key``, in any case and with or without accents."""
    return sa.and_(messages.c.number == fold(key), messages.c.number != "")


def with_standing() -> Query:
    """Messages, and the ``rank`` of where each stands."""
    return sa.select(messages, standing().label("rank"))


def _walk(ask: Ask, wanted: Wanted) -> Hits:
    newest = messages.c.accepted.desc()
    place = sa.select(messages.c.accepted).where(*_times(wanted)).order_by(newest).offset(max(WALK, wanted.limit) - 1).limit(1)
    edge = next((row.accepted for row in ask(place)), "")
    query = _matching(wanted).where(messages.c.accepted >= edge).order_by(newest, messages.c.id.desc()).limit(wanted.limit)
    hits = Hits(map(_found, ask(query)))
    if edge and len(hits) < wanted.limit:
        hits.back_to = moment(edge)
    return hits


def _with_numbered(ask: Ask, wanted: Wanted, hits: Hits) -> Hits:
    """What the walk met, and older messages by their number; ``back_to`` stays, since of subjects nothing older is known."""
    begins = _begins(fold(wanted.key))
    if len(ask(sa.select(messages.c.id).where(begins).limit(FEW + 1))) > FEW:
        return hits
    known = {each.id for each in hits}
    rows = ask(_by_time(_wanted(wanted).where(begins)).limit(wanted.limit))
    merged = Hits(sorted([*hits, *(found for found in map(_found, rows) if found.id not in known)], key=_time, reverse=True))
    del merged[wanted.limit :]
    merged.back_to = hits.back_to
    return merged


def _time(found: Found) -> tuple[datetime, str]:
    return found.accepted, found.id


def _begins(folded: str) -> sa.ColumnElement[bool]:
    """Whether a number begins so, as a range: an index serves it in both databases, and no letter of it is a wildcard."""
    return sa.and_(messages.c.number >= folded, messages.c.number < folded + LAST)


def _few(ask: Ask, state: str) -> bool:
    standing_there = sa.select(deliveries.c.state).where(deliveries.c.state == state, sa.text(STANDING)).limit(FEW + 1)
    # Whatever is DONE is not in the index, and is never few.
    return state != "DONE" and len(ask(standing_there)) <= FEW


def _by_time(query: Query) -> Query:
    """Newest first, sorted after they are found: the index of times must not be preferred to the one that finds them."""
    return query.order_by(_plain(messages.c.accepted).desc(), messages.c.id.desc())


def _matching(wanted: Wanted) -> Query:
    query = _wanted(wanted)
    return query.where(_told(wanted.key)) if wanted.key else query


def _told(key: str) -> sa.ColumnElement[bool]:
    """Whether a message's number begins with ``key``, or its subject holds it.

    Of one without names yet, as far as the database itself can tell.
    """
    folded = fold(key)
    named = sa.or_(_begins_plainly(folded), messages.c.folded.contains(folded, autoescape=True))
    either = (messages.c.subject, messages.c.document_id)
    unnamed = sa.or_(*(column.icontains(key, autoescape=True) for column in either))
    return sa.or_(named, sa.and_(messages.c.folded.is_(None), unnamed))


def _begins_plainly(folded: str) -> sa.ColumnElement[bool]:
    """The same of a message that a walk has come to."""
    return messages.c.number.startswith(folded, autoescape=True)


def _wanted(wanted: Wanted) -> Query:
    query = with_standing().where(*_times(wanted))
    if wanted.route:
        query = query.where(messages.c.route == wanted.route)
    if wanted.partner:
        query = query.where(among(_plain(messages.c.sender), wanted.senders or (wanted.partner,)))
    if wanted.state:
        of_message = sa.and_(deliveries.c.message_id == messages.c.id, deliveries.c.receipt_id == "")
        query = query.where(sa.exists().where(of_message, deliveries.c.state == wanted.state))
    return query


def _times(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    since = [messages.c.accepted >= stamp(wanted.since)] if wanted.since else []
    return [*since, messages.c.accepted < stamp(wanted.before)] if wanted.before else since


def _plain(column: sa.Column[str]) -> sa.ColumnElement[str]:
    """The column as no index knows it: without statistics SQLite takes any index on an equal column for a good one."""
    return column.concat("")


def _found(row: Row) -> Found:
    values = {name: columns(row)[name] for name in Found.__slots__ if name not in {"accepted", "standing"}}
    return Found(**values, accepted=moment(row.accepted), standing=RANKED[row.rank])
