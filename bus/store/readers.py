"""Readers: what operators, partners and metrics ask of the store. They use their own connections and never hold up the writer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from bus.delivery import State
from bus.endpoint import Pending
from bus.message import DOCUMENT_ID, FROM, KIND_RECEIPT, SUBJECT
from bus.quotas import QUOTA, Quota
from bus.store import checkpoints, dialect, filling, nonces, refusals, searching, statements
from bus.store.called import Names, among
from bus.store.filling import Fill
from bus.store.model import Checkpoint, Proof
from bus.store.refusals import Refusal, WantedRefusals
from bus.store.searching import Hits, Query, Wanted
from bus.store.standing import RANKED, Standing, standing
from bus.store.tables import (
    AT_ONCE,
    CLAIMABLE,
    DERIVED,
    NEVER,
    OWNED,
    REFUSED,
    STANDING,
    WAITING_DOCUMENTS,
    WAITING_RECEIPTS,
    Row,
    columns,
    deliveries,
    journal,
    mailboxes,
    messages,
    moment,
    receipts,
    stamp,
    tombstones,
)

#: One row, by column name, as people and JSON see it.
Columns = Mapping[str, Any]


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

    All are synchronous and short, but ``overview``, which reads every message, and ``gauges``, which counts all that stands.
    """

    engine: sa.Engine
    names: Names = field(default_factory=Names)
    quota: Callable[[str], Quota] = lambda _partner: QUOTA

    def _rows(self, query: Query | sa.CompoundSelect[*tuple[Any, ...]]) -> Sequence[Row]:
        with dialect.availability():
            return dialect.ask(self.engine, query)

    def pending(self, owner: str, limit: int, kinds: Sequence[str]) -> list[Pending]:
        """What waits in a mailbox, oldest first, receipts last."""
        found: list[Pending] = []
        owned = among(deliveries.c.owner, self.names.of(owner))
        for predicate in _mailboxes(kinds):
            query = sa.select(deliveries).where(owned, sa.text(predicate)).order_by(deliveries.c.seq)
            if kinds:
                query = query.where(deliveries.c.kind.in_(list(kinds)))
            found += map(_pending, self._rows(query.limit(limit - len(found))))
        return found

    def known(self, endpoint: str, sender: str, sender_key: str) -> bool:
        """Whether a message of this partner with this key came in at this endpoint, pruned since or not."""
        return any(
            self._rows(sa.select(table.c.sender).where(*_sent_under(table, name, sender_key), table.c.endpoint == endpoint))
            for name in self.names.of(sender)
            for table in (messages, tombstones)
        )

    def sent(self, sender: str, sender_key: str) -> bool:
        """Whether a partner sent a message under this key, pruned since or not."""
        names = self.names.of(sender)
        return any(self._rows(statements.KNOWN_MESSAGE.params(sender=name, sender_key=sender_key)) for name in names)

    def mailboxes(self) -> list[Fill]:
        """How full the mailbox of each partner is that ever had something in it."""
        with dialect.availability():
            rows = {row.owner: row for row in dialect.ask(self.engine, sa.select(mailboxes))}
        owners = sorted({self.names.current(name) for name in rows})
        return [
            filling.together(owner, [rows[name] for name in self.names.of(owner) if name in rows], self.quota(owner)) for owner in owners
        ]

    def overfull(self, larger: Mapping[str, int]) -> list[str]:
        """Those mailboxes into which so many octets do not go."""
        known = {fill.owner: fill for fill in self.mailboxes()}
        fills = {owner: known.get(self.names.current(owner)) or Fill(owner, 0, 0, self.quota(owner)) for owner in larger}
        return [owner for owner, octets in larger.items() if not fills[owner].takes(octets)]

    def miscounted(self) -> bool:
        """Whether what is said of a mailbox is not what lies there; read at one moment."""
        with dialect.availability():
            return bool(dialect.ask(self.engine, filling.DIFFERING))

    def receipts_for(self, partner: str, public_id: str) -> list[bytes]:
        """Signed receipts of a message this partner sent, and of one in its mailbox, oldest first."""
        names = self.names.of(partner)
        by_sender = sa.and_(among(messages.c.sender, names), messages.c.public_id == public_id)
        by_owner = sa.and_(among(deliveries.c.owner, names), deliveries.c.public_id == public_id, sa.text(OWNED))
        of_delivery = sa.and_(receipts.c.message_id == deliveries.c.message_id, receipts.c.delivery_id == deliveries.c.id)
        # Asked one by one: where two ways are joined by "or", PostgreSQL reads the whole table.
        sent = self._rows(sa.select(receipts).join(messages, receipts.c.message_id == messages.c.id).where(by_sender))
        lying = self._rows(sa.select(receipts).join(deliveries, of_delivery).where(by_owner))
        found = {row.id: row for row in (*sent, *lying)}
        return [bytes(row.xml) for row in sorted(found.values(), key=lambda row: (row.at, row.delivery_id != "", row.id))]

    def receipts_of(self, message_id: str) -> list[bytes]:
        """Every signed receipt of a message, by any of its ids, oldest first."""
        return [
            bytes(row.xml)
            for story in self._matching(message_id)
            for row in self._rows(_oldest_first(sa.select(receipts.c.xml).where(receipts.c.message_id == story.id)))
        ]

    def search(self, wanted: Wanted) -> Hits:
        """Messages, newest first."""
        return searching.search(self._rows, wanted, self.names.of(wanted.partner) if wanted.partner else ())

    def show(self, key: str) -> list[Story]:
        """The whole story of each message with this id: the bus's, the sender's, or its DocumentId. Oldest first."""
        return [self._story(row) for row in self._matching(key)]

    def refused(self, wanted: WantedRefusals) -> list[Refusal]:
        """Refusals, newest first."""
        return refusals.refused(self._rows, wanted)

    def refusal(self, reference: str) -> list[Refusal]:
        """The refusals whose reference is this, or begins so."""
        return refusals.by_reference(self._rows, reference)

    def _matching(self, key: str) -> Sequence[Row]:
        if not searching.legible(key):
            return []
        rows = self._rows(searching.with_standing().where(searching.named(key)).order_by(messages.c.accepted, messages.c.id))
        # A sender may call its message as the bus calls another's.
        return [row for row in rows if row.id == key] or rows

    def _story(self, row: Row) -> Story:
        def about(table: sa.Table, *order: sa.Column[Any]) -> tuple[Columns, ...]:
            return tuple(_plain(found) for found in self._rows(sa.select(table).where(table.c.message_id == row.id).order_by(*order)))

        message = _plain(row)
        return Story(
            message={name: value for name, value in message.items() if name not in {"rank", *DERIVED["messages"]}},
            standing=RANKED[row.rank],
            deliveries=about(deliveries, deliveries.c.seq),
            receipts=about(receipts, receipts.c.at),
            journal=about(journal, journal.c.at, journal.c.chain, journal.c.seq),
        )

    def archived(self, public_id: str, digest: str) -> bool:
        """Whether a message that its sender knows by this id, with this content, was pruned."""
        keys = tombstones.c.sender_key.in_([public_id, f"sha256:{digest}"])
        return bool(self._rows(sa.select(tombstones.c.message_id).where(keys, tombstones.c.digest == digest).limit(1)))

    def held(self, limit: int) -> list[str]:
        """Ids of messages with deliveries that are held since a backup was restored, oldest first."""
        held = sa.and_(deliveries.c.state == State.READY, sa.text(STANDING), deliveries.c.due == NEVER)
        query = sa.select(deliveries.c.message_id, sa.func.min(deliveries.c.seq)).where(held).group_by(deliveries.c.message_id)
        return [row.message_id for row in self._rows(query.order_by(sa.func.min(deliveries.c.seq)).limit(limit))]

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
        detail = sa.type_coerce(sa.cast(journal.c.detail, dialect.JSON), sa.JSON)
        endpoint, number = detail["endpoint"].as_string(), sa.func.coalesce(detail["count"].as_integer(), 1)
        rows = self._rows(sa.select(endpoint, sa.func.sum(number)).where(sa.text(REFUSED)).group_by(endpoint))
        return {row[0]: int(row[1]) for row in rows}

    def oldest_nonce(self) -> str:
        """Until when the first nonce counts, as the store's text; "" when there is none."""
        return str(self._rows(nonces.OLDEST)[0][0] or "")

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

    def hurried(self, targets: Sequence[str]) -> list[str]:
        """Those of ``targets`` for which an operator wants something sent now."""
        wanted = sa.and_(deliveries.c.target.in_(list(targets)), deliveries.c.due == AT_ONCE, sa.text(CLAIMABLE))
        return [row.target for row in self._rows(sa.select(deliveries.c.target).where(wanted).distinct())]

    def checkpoint(self, query: Query, **given: int) -> Checkpoint | None:
        """The one checkpoint that ``query`` is about, or None."""
        return next(map(checkpoints.kept, self._rows(query.params(given))), None)

    def checkpoints(self, number: int, most: int) -> list[Checkpoint]:
        """At most so many checkpoints, in order, from this number on."""
        return [*map(checkpoints.kept, self._rows(checkpoints.SINCE.params(number=number, most=most)))]

    def proof(self, chain: str, seq: int) -> Proof | None:
        """That a journal row stands in a checkpoint; None where none speaks of it."""
        return checkpoints.proof(next(iter(self._rows(checkpoints.SPAN.params(chain=chain, seq=seq))), None), seq)

    def targets_with_work(self, now: datetime) -> list[str]:
        """Targets that have something to claim at ``now``. Costs two steps in the index a target, however much waits."""
        return [row.target for row in self._rows(_WITH_WORK.params(now=stamp(now)))]


def _sent_under(table: sa.Table, sender: str, sender_key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.sender == sender, table.c.sender_key == sender_key


def _with_work() -> Query:
    """From one target in the index to the next, and of each the first due time: no more of the index is read."""
    claimable = sa.text(CLAIMABLE)
    first = sa.select(sa.func.min(deliveries.c.target).label("target")).where(claimable).cte("step", recursive=True)
    after = sa.select(sa.func.min(deliveries.c.target)).where(deliveries.c.target > first.c.target, claimable).scalar_subquery()
    step = first.union_all(sa.select(after).where(first.c.target.is_not(None)))
    due = sa.select(sa.func.min(deliveries.c.due)).where(deliveries.c.target == step.c.target, claimable).scalar_subquery()
    return sa.select(step.c.target).where(due <= sa.bindparam("now"))


_WITH_WORK = _with_work()


def _mailboxes(kinds: Sequence[str]) -> list[str]:
    """Where such kinds lie: those who ask for documents do not leaf through the receipts."""
    documents = [WAITING_DOCUMENTS] if not kinds or set(kinds) != {KIND_RECEIPT} else []
    return [*documents, WAITING_RECEIPTS] if not kinds or KIND_RECEIPT in kinds else documents


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


def _plain(row: Row) -> dict[str, Any]:
    """A row without octets, its JSON columns read."""
    plain = {name: value for name, value in columns(row).items() if not isinstance(value, bytes)}
    return {name: orjson.loads(value) if name in {"headers", "detail"} else value for name, value in plain.items()}
