"""Fault 60: whatever is asked of the store in whatever order, no end is left, and asking for the same thing twice changes nothing more.

Hypothesis walks through the store's whole surface. Every act is done twice: the second must be refused, or give the first answer, and leave
every row of every table as it is.
"""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from simulated_store import Calm, Database, EmbeddedWriter, ServerWriter, SimulatedStore
from store_contract import LEASE, LIFE, REASONS, ROUTE, message
from virtual_loop import VirtualLoop

from bus.audit import audit
from bus.delivery import ROUTE_PREFIX, TRANSITIONS, State
from bus.endpoint import Sent
from bus.errors import Rejected
from bus.evidence import Evidence
from bus.message import Message
from bus.receipt import Status
from bus.store import LostClaim, Owed, Work

TARGETS = (ROUTE_PREFIX + ROUTE, "a", "b")
TABLES = ("messages", "deliveries", "receipts", "journal", "blobs")
ENDED = {State.DONE, State.DEAD}
OWNERS = ("agency", "unit")


class Handlers(RuleBasedStateMachine):
    """The acts, and what must be true between them."""

    database: Database
    clock: Any
    blobs: Path
    evidence: Evidence

    @initialize()
    def begin(self) -> None:
        self.database.reset(Calm())
        number = iter(range(1_000_000))
        options = {"clock": self.clock, "ids": lambda: f"id-{next(number):06}", "seal": self.evidence.seal, "organisation": "000.00.00.G14"}
        self.store = SimulatedStore(self.database, EmbeddedWriter, chain="main", blobs=self.blobs, **options)
        self.other = SimulatedStore(self.database, ServerWriter, chain="other", blobs=self.blobs, **options)
        self.accepted: list[tuple[Message, Owed]] = []
        self.held: list[Work] = []
        self.last: dict[str, Any] = {}
        self.by_operator = False

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.database.rows(f"SELECT * FROM {table}")]

    def dump(self) -> list[list[tuple[Any, ...]]]:
        return [self.rows(table) for table in TABLES]

    def twice(self, act: Callable[[], Awaitable[Any]]) -> Any:
        """Do it, and again. Gives what came of it first: a value, or LostClaim or Rejected."""
        first, after = _outcome(act), self.dump()
        second = _outcome(act)
        assert self.dump() == after
        if isinstance(first, Exception):
            assert (type(second), str(second)) == (type(first), str(first))
        return first

    # --- the door ---------------------------------------------------------------------------------------------------

    @rule(key=st.sampled_from(["", "k1", "k2"]), inbox=st.sampled_from(["", "unit-inbox"]), at_once=st.booleans())
    def accept(self, key: str, inbox: str, at_once: bool) -> None:
        sent = message(len(self.accepted))
        lease = LEASE if at_once else None
        owed = Owed(route=ROUTE, target=TARGETS[0], message=sent, order_key=key, expires=self.clock() + LIFE, lease=lease)
        self.accepted.append((sent, owed))
        answer = _outcome(lambda: self.store.accept(sent, owed, receipts_to=inbox))
        assert not answer.duplicate
        self.held += answer.works
        self._again(sent, owed, answer)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def accept_again(self, data: st.DataObject) -> None:
        sent, owed = data.draw(st.sampled_from(self.accepted))
        self._again(sent, owed, None)

    def _again(self, sent: Message, owed: Owed, first: Any) -> None:
        before = self.dump()
        again = _outcome(lambda: self.other.accept(sent, owed))
        assert again.duplicate
        assert first is None or again.xml == first.xml
        other = _outcome(lambda: self.other.accept(sent.with_body(b"<other/>"), owed))
        assert isinstance(other, Rejected)
        assert self.dump() == before

    # --- workers ----------------------------------------------------------------------------------------------------

    @rule(place=st.sampled_from(TARGETS))
    def claim(self, place: str) -> None:
        works = self.twice(lambda: self.store.claim(place, 100, LEASE))
        self.held += works

    @precondition(lambda self: self.held)
    @rule(data=st.data(), act=st.sampled_from(["proceed", "proceed", "defer", "bury"]), delay=st.sampled_from([0, 30]))
    def end(self, data: st.DataObject, act: str, delay: int) -> None:
        """A worker ends what it claimed, perhaps long ago; it keeps the work, and may try to end it again."""
        work = data.draw(st.sampled_from(self.held))
        due = self.clock() + timedelta(seconds=delay)
        acts = {
            "proceed": lambda: self._proceed(work),
            "defer": lambda: self.store.defer(work, due, "4.4.1", REASONS),
            "bury": lambda: self.store.bury(work, Status.REJECTED, "5.4.0", REASONS),
        }
        first = _outcome(acts[act])
        after = self.dump()
        assert isinstance(_outcome(acts[act]), LostClaim)
        assert self.dump() == after
        assert first is None or not isinstance(first, Exception) or isinstance(first, LostClaim)

    async def _proceed(self, work: Work) -> object:
        if not work.delivery.target.startswith(ROUTE_PREFIX):
            return await self.store.finish(work, Sent(work.message.digest, b"<Reply/>"))
        expires, key = self.clock() + LIFE, work.delivery.order_key
        pushed = [Owed(route=ROUTE, target=name, message=work.message, order_key=key, expires=expires) for name in TARGETS[1:]]
        mailbox = Owed(route=ROUTE, target="inbox", owner="agency", message=work.message, expires=expires)
        return await self.store.routed(work, [*pushed, mailbox], {}, [])

    # --- mailboxes ----------------------------------------------------------------------------------------------------

    @rule(owner=st.sampled_from(OWNERS), done=st.booleans(), fetch=st.booleans(), data=st.data())
    def read(self, owner: str, done: bool, fetch: bool, data: st.DataObject) -> None:
        sql = "SELECT public_id FROM deliveries WHERE owner = ? ORDER BY seq"
        known = [row["public_id"] for row in self.database.rows(sql, owner)]
        id_ = data.draw(st.sampled_from([*known, "unknown"]))
        if fetch:
            self.twice(lambda: self.store.fetch(owner, id_))
        first = self.twice(lambda: self.store.confirm(owner, id_, done, "sai mẫu"))
        contrary = _outcome(lambda: self.other.confirm(owner, id_, not done, "khác"))
        assert isinstance(first, Rejected) == (id_ == "unknown") == isinstance(contrary, Rejected)
        assert id_ == "unknown" or contrary.xml == first.xml

    # --- operators, and time --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), name=st.sampled_from(["resend", "cancel"]))
    def operate(self, data: st.DataObject, name: str) -> None:
        sent, _ = data.draw(st.sampled_from(self.accepted))
        self.by_operator = True
        self.twice(lambda: getattr(self.store, name)([sent.id], "nguyen.a", "thử"))

    @rule(seconds=st.sampled_from([1, 60, 600, 90_000]), restart=st.booleans())
    def time(self, seconds: int, restart: bool) -> None:
        self.clock.advance(seconds=seconds)
        self.twice(lambda: self.store.release(expired_at=None if restart else self.clock()))

    # --- what must be true -----------------------------------------------------------------------------------------------

    @invariant()
    def no_end_is_left_and_no_change_is_unheard_of(self) -> None:
        """Ends are left on an operator's word only; states follow one another as the table says; attempts never go back."""
        now = {row["id"]: row for row in self.database.rows("SELECT * FROM deliveries")}
        for id_, before in self.last.items():
            row = now[id_]
            assert row["attempt"] >= before["attempt"]
            assert row["revision"] >= before["revision"]
            if before["state"] in ENDED and not self.by_operator:
                assert tuple(row) == tuple(before)
            if row["state"] != before["state"] and row["revision"] == before["revision"] + 1:
                assert State(row["state"]) in TRANSITIONS[State(before["state"])]
        self.last, self.by_operator = now, False

    def teardown(self) -> None:
        assert audit(self.store, self.evidence).findings == ()


def _outcome(act: Callable[[], Awaitable[Any]]) -> Any:
    """What the act gives, or the LostClaim or Rejected that it raises."""
    found: list[Any] = []

    async def main() -> None:
        try:
            found.append(await act())
        except (LostClaim, Rejected) as error:
            found.append(error)

    VirtualLoop(random.Random(0), orderly=True).run(main(), 10_000)
    return found[0]


def test_fault_60_no_end_is_left_and_every_handler_is_idempotent_or_refuses(
    database: Database, clock: Any, evidence: Evidence, tmp_path: Path
) -> None:
    """However a hypothesis walks: ends stay, states follow the table, doing anything twice is doing it once, and the audit is clean."""
    machine = type("Machine", (Handlers,), {"database": database, "clock": clock, "evidence": evidence, "blobs": tmp_path / "blobs"})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=checks)
    )


@pytest.mark.parametrize("state", list(State))
def test_fault_60_the_table_lets_nothing_leave_an_end_by_itself(state: State) -> None:
    """DONE is left by nothing; DEAD only to where an operator's resend puts it; every other state can still end."""
    after = {State.DONE: frozenset(), State.DEAD: frozenset({State.READY, State.WAITING})}
    if state in after:
        assert TRANSITIONS[state] == after[state]
    else:
        assert State.DEAD in TRANSITIONS[state]
