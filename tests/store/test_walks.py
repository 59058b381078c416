"""Random walks through the store's whole surface, one seed each: whatever the order of events, the rules hold and the audit is clean."""

import random
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from store_contract import LEASE, LIFE, REASONS, ROUTE, message

from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.errors import Rejected
from bus.message import Message
from bus.receipt import FINAL, Status
from bus.store import LostClaim, Owed, Store, Work

TARGETS = ("a", "b")
STEPS = 120


class Walk:
    """One walk: a driver of two stores on one database, and a model of what must be true of it."""

    def __init__(self, seed: int, stores: list[Store], clock, database: Path) -> None:
        self.dice, self.stores, self.clock = random.Random(seed), stores, clock
        self.database = sqlite3.connect(database)
        self.database.row_factory = sqlite3.Row
        self.accepted: dict[str, Message] = {}
        self.held: list[Work] = []
        self.ended: dict[str, tuple[str, str]] = {}
        self.resent: set[str] = set()

    def rows(self) -> list[sqlite3.Row]:
        """Every delivery, read past the store."""
        return self.database.execute("SELECT * FROM deliveries ORDER BY seq").fetchall()

    @property
    def store(self) -> Store:
        return self.dice.choice(self.stores)

    async def step(self) -> None:
        often: list[Callable[[], Awaitable[None]]] = [self.accept, self.claim, self.act]
        seldom: list[Callable[[], Awaitable[None]]] = [self.repeat, self.read_mailbox, self.operate, self.time]
        await self.dice.choice([*often, *often, *seldom])()
        self.check_ends()

    async def accept(self) -> None:
        new = message(len(self.accepted))
        key = self.dice.choice(["", "k1", "k2"])
        inbox = self.dice.choice(["", "unit-inbox"])
        answer = await self.store.accept(new, self._owed(ROUTE_PREFIX + ROUTE, new, key), receipts_to=inbox)
        assert not answer.duplicate
        self.accepted[new.id] = new

    async def repeat(self) -> None:
        if self.accepted:
            old = self.dice.choice(list(self.accepted.values()))
            assert (await self.store.accept(old, self._owed(ROUTE_PREFIX + ROUTE, old, ""))).duplicate
            with pytest.raises(Rejected):
                await self.store.accept(old.with_body(b"<other/>"), self._owed("a", old, ""))

    async def claim(self) -> None:
        target = self.dice.choice([ROUTE_PREFIX + ROUTE, *TARGETS])
        works = await self.store.claim(target, self.dice.randint(1, 4), LEASE)
        for work in works:
            assert work.message.body == self.accepted[work.message.id].body
        self.held += works
        self.check_order()

    async def act(self) -> None:
        """A worker does something with what it claimed, perhaps long ago."""
        if not self.held:
            return
        work = self.dice.choice(self.held)
        try:
            await self.dice.choice([self._proceed, self._proceed, self._defer, self._bury])(work)
            fenced = False
        except LostClaim:
            fenced = True
        current = next(row for row in self.rows() if row["id"] == work.delivery.id)
        if not fenced:
            assert current["attempt"] == work.delivery.attempt
            self.held.remove(work)

    async def _proceed(self, work: Work) -> None:
        if not work.delivery.target.startswith(ROUTE_PREFIX):
            await self.store.finish(work, Sent(work.message.digest, self.dice.choice([b"", b"<Reply/>"])))
            return
        mailbox = Owed(route=ROUTE, target="inbox", owner="agency", message=work.message, expires=self.clock() + LIFE)
        owed = [self._owed(target, work.message, work.delivery.order_key) for target in self.dice.sample(TARGETS, self.dice.randint(0, 2))]
        await self.store.routed(work, [*owed, mailbox], {}, [])

    async def _defer(self, work: Work) -> None:
        await self.store.defer(work, self.clock() + timedelta(seconds=self.dice.choice([0, 30])), "4.4.1", REASONS)

    async def _bury(self, work: Work) -> None:
        await self.store.bury(work, self.dice.choice([Status.REJECTED, Status.EXPIRED, Status.DEAD]), "5.4.0", REASONS)

    async def read_mailbox(self) -> None:
        owner = self.dice.choice(["agency", "unit"])
        for entry in await self.store.pending(owner, 3):
            if self.dice.random() < 0.5:
                await self.store.fetch(owner, entry.message_id)
            if self.dice.random() < 0.5:
                answer = await self.store.confirm(owner, entry.message_id, self.dice.random() < 0.7, "lý do")
                assert (await self.store.confirm(owner, entry.message_id, self.dice.random() < 0.5)).xml == answer.xml

    async def operate(self) -> None:
        if self.accepted:
            chosen = self.dice.choice(list(self.accepted))
            act = self.dice.choice([self.store.resend, self.store.cancel])
            touched = await act([chosen], "operator", "thử")
            self.resent.update(touched)

    async def time(self) -> None:
        self.clock.advance(seconds=self.dice.choice([1, 60, 600, 90_000]))
        await self.store.release(expired_at=self.dice.choice([None, self.clock()]))

    def check_order(self) -> None:
        """Of the active deliveries to one target with one key at most one is claimed; when none is, the oldest is free and no other."""
        rows = self.rows()
        for target in (ROUTE_PREFIX + ROUTE, *TARGETS):
            for key in ("k1", "k2"):
                same = [row for row in rows if (row["target"], row["order_key"]) == (target, key)]
                active = [row for row in same if row["state"] in {"READY", "CLAIMED"}]
                claimed = [row for row in active if row["state"] == "CLAIMED"]
                free = [row for row in active if row["state"] == "READY" and row["claimable"]]
                assert len(claimed) <= 1
                assert free == ([] if claimed else active[:1])

    def check_ends(self) -> None:
        """An ended delivery stays as it is until an operator touches it."""
        for row in self.rows():
            if row["id"] in self.resent:
                self.ended.pop(row["id"], None)
            assert self.ended.get(row["id"], (row["state"], row["outcome"])) == (row["state"], row["outcome"])
            if row["state"] in {"DONE", "DEAD"}:
                self.ended[row["id"]] = (row["state"], row["outcome"])
        self.resent.clear()

    def _owed(self, target: str, sent: Message, key: str) -> Owed:
        return Owed(route=ROUTE, target=target, message=sent, order_key=key, expires=self.clock() + LIFE)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_the_rules_hold(seed: int, tmp_path: Path, open_store, clock, evidence) -> None:
    """No end is left, no fence broken, no order lost, no message missing; and the audit finds nothing."""
    walk = Walk(seed, [open_store("main"), open_store("worker-1")], clock, tmp_path / "bus.db")
    for _ in range(STEPS):
        await walk.step()
    walk.database.close()
    report = audit(walk.stores[0], evidence)
    assert report.findings == ()
    assert sum(sum(places.values()) for places in walk.store.overview().values()) == len(walk.accepted)
    for id_ in walk.accepted:
        stated = [evidence.read(xml).status for xml in walk.store.receipts_of(id_)]
        assert stated[0] == Status.ACCEPTED
        if walk.store.search(key=id_)[0].standing != "waiting":
            assert FINAL.intersection(stated)
