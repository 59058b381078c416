"""Readers: what operators, partners and metrics ask of the store. They use their own connections and never hold up the writer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import orjson
import sqlalchemy as sa

from bus.endpoint import Pending
from bus.message import DOCUMENT_ID, FROM, SUBJECT
from bus.store import dialect
from bus.store.standing import RANKED, Standing, standing
from bus.store.tables import (
    CLAIMABLE,
    OWNED,
    REFUSED,
    STANDING,
    WAITING_DOCUMENTS,
    WAITING_RECEIPTS,
    Row,
    columns,
    deliveries,
    journal,
    messages,
    moment,
    receipts,
    stamp,
)

Query: TypeAlias = sa.Select[*tuple[Any, ...]]
#: One row, by column name, as people and JSON see it.
Columns = Mapping[str, Any]


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


@dataclass(frozen=True, slots=True)
class Story:
    """All the store knows about one message: its row, deliveries, receipts (without their XML) and journal rows, oldest first."""

    message: Columns
    standing: Standing
    deliveries: tuple[Columns, ...]
    receipts: tuple[Columns, ...]
    journal: tuple[Columns, ...]


@dataclass(frozen=True, slots=True)
class Gauge:
    """Deliveries to one target in one state: how many, and the age of the oldest in seconds."""

    target: str
    state: str
    count: int
    age: float


@dataclass(frozen=True, slots=True)
class Readers:
    """Every question, one method each; Deferred 4.3.1 when it cannot be answered now.

    All are synchronous and short; ``search`` by subject and ``overview`` read whole tables.
    """

    engine: sa.Engine

    def _rows(self, query: Query) -> Sequence[Row]:
        with dialect.availability(), self.engine.connect() as connection:
            return connection.execute(query).all()

    def pending(self, owner: str, limit: int, kinds: Sequence[str]) -> list[Pending]:
        """What waits in a mailbox, oldest first, receipts last."""
        found: list[Pending] = []
        for predicate in (WAITING_DOCUMENTS, WAITING_RECEIPTS):
            query = sa.select(deliveries).where(deliveries.c.owner == owner, sa.text(predicate)).order_by(deliveries.c.seq)
            if kinds:
                query = query.where(deliveries.c.kind.in_(list(kinds)))
            found += map(_pending, self._rows(query.limit(limit - len(found))))
        return found

    def known(self, endpoint: str, sender_key: str) -> bool:
        """Whether a message with this key came in at this endpoint."""
        # A sender's own key is the id it knows the message by, and that is indexed.
        named = sa.and_(messages.c.public_id == sender_key, messages.c.sender_key == sender_key)
        return bool(self._rows(sa.select(messages.c.id).where(named, messages.c.endpoint == endpoint).limit(1)))

    def receipts_for(self, partner: str, public_id: str) -> list[bytes]:
        """Signed receipts of a message this partner sent, and of one in its mailbox, oldest first."""
        sent = sa.select(messages.c.id).where(messages.c.sender == partner, messages.c.public_id == public_id)
        mine = sa.and_(deliveries.c.owner == partner, deliveries.c.public_id == public_id, sa.text(OWNED))
        of_mine = receipts.c.message_id.in_(sa.select(deliveries.c.message_id).where(mine))
        said_of_mine = sa.and_(of_mine, receipts.c.delivery_id.in_(sa.select(deliveries.c.id).where(mine)))
        concerned = sa.or_(receipts.c.message_id.in_(sent), said_of_mine)
        return [bytes(row.xml) for row in self._rows(_oldest_first(sa.select(receipts.c.xml).where(concerned)))]

    def receipts_of(self, message_id: str) -> list[bytes]:
        """Every signed receipt of a message, by any of its ids, oldest first."""
        return [
            bytes(row.xml)
            for story in self._matching(message_id)
            for row in self._rows(_oldest_first(sa.select(receipts.c.xml).where(receipts.c.message_id == story.id)))
        ]

    def search(
        self,
        route: str = "",
        partner: str = "",
        state: str = "",
        key: str = "",
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[Found]:
        """Messages, newest first. ``key``: any id, the DocumentId, or a part of the subject; ``state``: of any of its deliveries."""
        return [_found(row) for row in self._rows(_search(route, partner, state, key, since).limit(limit))]

    def show(self, key: str) -> list[Story]:
        """The whole story of each message with this id: the bus's, the sender's, or its DocumentId. Oldest first."""
        return [self._story(row) for row in self._matching(key)]

    def _matching(self, key: str) -> Sequence[Row]:
        return self._rows(_with_standing().where(_named(key)).order_by(messages.c.accepted, messages.c.id))

    def _story(self, row: Row) -> Story:
        def about(table: sa.Table, *order: sa.Column[Any]) -> tuple[Columns, ...]:
            return tuple(_plain(found) for found in self._rows(sa.select(table).where(table.c.message_id == row.id).order_by(*order)))

        message = _plain(row)
        return Story(
            message={name: value for name, value in message.items() if name != "rank"},
            standing=RANKED[row.rank],
            deliveries=about(deliveries, deliveries.c.seq),
            receipts=about(receipts, receipts.c.at),
            journal=about(journal, journal.c.at, journal.c.chain, journal.c.seq),
        )

    def overview(self) -> dict[str, dict[Standing, int]]:
        """By route, how many messages stand where. Every message is counted once: accepted is the sum."""
        ranked = sa.select(messages.c.route, standing().label("rank")).subquery()
        query = sa.select(ranked.c.route, ranked.c.rank, sa.func.count()).group_by(ranked.c.route, ranked.c.rank)
        counts: dict[str, dict[Standing, int]] = {}
        for route, rank, count in self._rows(query):
            counts.setdefault(route, dict.fromkeys(Standing, 0))[RANKED[rank]] += count
        return counts

    def refusals(self) -> dict[str, int]:
        """By endpoint, how many messages were refused at the door."""
        endpoint = sa.type_coerce(sa.cast(journal.c.detail, dialect.JSON), sa.JSON)["endpoint"].as_string()
        rows = self._rows(sa.select(endpoint, sa.func.count()).where(sa.text(REFUSED)).group_by(endpoint))
        return {row[0]: row[1] for row in rows}

    def gauges(self, now: datetime) -> list[Gauge]:
        """How much stands where, and for how long, by target and state; ended deliveries are not counted, dead ones are."""
        place = (deliveries.c.target, deliveries.c.state)
        query = sa.select(*place, sa.func.count(), sa.func.min(deliveries.c.created)).where(sa.text(STANDING)).group_by(*place)
        return [Gauge(target, state, count, (now - moment(oldest)).total_seconds()) for target, state, count, oldest in self._rows(query)]

    def next_due(self, target: str) -> datetime | None:
        """When the next delivery to ``target`` may be claimed, or None."""
        query = sa.select(sa.func.min(deliveries.c.due)).where(deliveries.c.target == target, sa.text(CLAIMABLE))
        due = self._rows(query)[0][0]
        return moment(due) if due else None

    def targets_with_work(self, now: datetime) -> list[str]:
        """Targets that have something to claim at ``now``. Costs one step in the index a target, however much waits."""
        return [row.target for row in self._first_due() if row.due <= stamp(now)]

    def _first_due(self) -> Iterator[Row]:
        after = ""
        place = (deliveries.c.target, deliveries.c.due)
        query = sa.select(*place).where(sa.text(CLAIMABLE)).order_by(*place).limit(1)
        while rows := self._rows(query.where(deliveries.c.target > after)):
            yield rows[0]
            after = rows[0].target


def _pending(row: Row) -> Pending:
    headers = orjson.loads(row.headers)
    return Pending(
        message_id=row.public_id,
        document_id=headers.get(DOCUMENT_ID, ""),
        from_organ=headers.get(FROM, ""),
        subject=headers.get(SUBJECT, ""),
        kind=row.kind,
        received_at=moment(row.created),
        size=row.size,
    )


def _oldest_first(query: Query) -> Query:
    """By time, and ACCEPTED before what else is stated in the same moment."""
    return query.order_by(receipts.c.at, receipts.c.delivery_id != "", receipts.c.id)


def _with_standing() -> Query:
    return sa.select(messages, standing().label("rank"))


def _named(key: str) -> sa.ColumnElement[bool]:
    return sa.or_(messages.c.id == key, messages.c.public_id == key, sa.and_(messages.c.document_id == key, messages.c.document_id != ""))


def _search(route: str, partner: str, state: str, key: str, since: datetime | None) -> Query:
    query = _with_standing().order_by(messages.c.accepted.desc(), messages.c.id.desc())
    if route:
        query = query.where(messages.c.route == route)
    if partner:
        query = query.where(messages.c.sender == partner)
    if since is not None:
        query = query.where(messages.c.accepted >= stamp(since))
    if key:
        query = query.where(sa.or_(_named(key), messages.c.subject.icontains(key, autoescape=True)))
    if state:
        of_message = sa.and_(deliveries.c.message_id == messages.c.id, deliveries.c.receipt_id == "")
        query = query.where(sa.exists().where(of_message, deliveries.c.state == state))
    return query


def _found(row: Row) -> Found:
    values = {name: columns(row)[name] for name in Found.__slots__ if name not in {"accepted", "standing"}}
    return Found(**values, accepted=moment(row.accepted), standing=RANKED[row.rank])


def _plain(row: Row) -> dict[str, Any]:
    """A row without octets, its JSON columns read."""
    plain = {name: value for name, value in columns(row).items() if not isinstance(value, bytes)}
    return {name: orjson.loads(value) if name in {"headers", "detail"} else value for name, value in plain.items()}
