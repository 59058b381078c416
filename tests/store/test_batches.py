"""Units that are written together: one that fails disturbs no other, and many cost hardly more statements than one."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from store_contract import LEASE, LIFE, REASONS, ROUTE, message

from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Answer, Sent
from bus.message import DOCUMENT_ID, Message
from bus.receipt import Status
from bus.store import LostClaim, Owed, Store, tables

TARGET = ROUTE_PREFIX + ROUTE


class Batches:
    """A store that is asked for many things at once, which are written together."""

    def __init__(self, store: Store, clock) -> None:
        self.store, self.clock = store, clock

    async def together(self, *units: Awaitable[Any]) -> list[Any]:
        """What came of the units, errors included, all in one transaction: they are asked for in one turn of the event loop."""
        return await asyncio.gather(*units, return_exceptions=True)

    async def accept(self, sent: Message, key: str = "", target: str = TARGET) -> Answer:
        return await self.store.accept(sent, Owed(ROUTE, target, sent, self.clock() + LIFE, order_key=key), receipts_to="unit-inbox")

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """What the writer says to the database."""
        said: list[str] = []

        def note(_connection: object, _cursor: object, sql: str, *_rest: object) -> None:
            said.append(sql)

        sa.event.listen(self.store._engines[0], "before_cursor_execute", note)
        yield said
        sa.event.remove(self.store._engines[0], "before_cursor_execute", note)


@pytest.fixture
def batches(store: Store, clock) -> Batches:
    return Batches(store, clock)


def errors(outcomes: list[Any]) -> list[type]:
    return [type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)]


async def test_a_row_the_database_refuses_fails_its_own_caller_only(batches: Batches, evidence) -> None:
    """A bug in one unit (here: an id that is taken) is found when all is written; the others are written all the same."""
    taken = Message("message-1", message(9).headers, b"<other/>")
    outcomes = await batches.together(*map(batches.accept, (message(0), message(1), taken, message(2))))
    assert errors(outcomes) == [sa.exc.IntegrityError]
    assert isinstance(outcomes[2], sa.exc.IntegrityError)
    assert sorted(found.id for found in batches.store.search()) == ["message-0", "message-1", "message-2"]
    assert audit(batches.store, evidence).findings == ()


async def test_text_that_is_no_text_fails_its_own_caller_only(batches: Batches, evidence) -> None:
    """Half a character can be neither hashed nor kept: its caller gets the error, the others their receipts."""
    odd = Message("message-7", {**message(7).headers, DOCUMENT_ID: "\ud83d"}, b"<odd/>")
    assert errors(await batches.together(*map(batches.accept, (message(0), odd, message(1))))) == [UnicodeEncodeError]
    assert audit(batches.store, evidence).findings == ()


async def test_a_lost_claim_among_others_is_lost_alone(batches: Batches, evidence) -> None:
    """Two workers end the same work in one transaction: the first does, the second is fenced, and a third is not disturbed (D8)."""
    for number in (1, 2):
        await batches.accept(message(number), target="a")
    first, second = await batches.store.claim("a", 10, LEASE)
    finish, bury = batches.store.finish, batches.store.bury
    sent = Sent("11" * 32)
    outcomes = await batches.together(finish(first, sent), bury(first, Status.DEAD, "5.4.0", REASONS), finish(second, sent))
    assert [isinstance(outcome, LostClaim) for outcome in outcomes] == [False, True, False]
    assert [outcomes[number].receipt.status for number in (0, 2)] == [Status.DELIVERED] * 2
    assert audit(batches.store, evidence).findings == ()


async def test_claims_find_what_is_written_with_them_and_no_delivery_twice(batches: Batches) -> None:
    """Claims come last in a transaction, and each sees what the one before it took."""
    claims = [batches.store.claim(TARGET, 2, LEASE) for _ in range(3)]
    *found, _, _, _ = await batches.together(*claims, *map(batches.accept, map(message, range(3))))
    assert [[work.message.id for work in works] for works in found] == [["message-0", "message-1"], ["message-2"], []]


async def test_order_holds_among_what_is_written_together(batches: Batches, evidence) -> None:
    """Of deliveries with one order key that arrive, end and come back in the same transactions, the oldest alone is free."""
    await batches.together(*(batches.accept(message(number), "k") for number in range(4)))
    left = []
    for number in range(4, 12):
        [work] = await batches.store.claim(TARGET, 10, LEASE)
        left.append(work.message.id)
        owed = [Owed(ROUTE, "a", work.message, batches.clock() + LIFE, order_key="k")]
        end = batches.store.routed(work, owed, {}, []) if number % 2 else batches.store.bury(work, Status.DEAD, "5.4.0", REASONS)
        await batches.together(batches.accept(message(number), "k"), end)
    assert left == [f"message-{number}" for number in range(8)]
    [out] = await batches.store.claim("a", 10, LEASE)
    assert out.message.id == "message-1"
    await batches.together(batches.store.resend(["message-0"], "operator", "again"), batches.accept(message(12), "k"))
    assert [work.message.id for work in await batches.store.claim(TARGET, 10, LEASE)] == ["message-0"]
    assert audit(batches.store, evidence).findings == ()


async def test_many_messages_cost_hardly_more_statements_than_one(batches: Batches) -> None:
    """Accepting thirty asks for each idempotency key and else writes once a table; there is no savepoint on the good path."""
    with batches.statements() as said:
        await batches.together(*map(batches.accept, map(message, range(30))))
    asked = [sql for sql in said if sql.startswith("SELECT messages.id")]
    assert len(asked) == 30
    assert len(said) - len(asked) < 15
    assert not any("SAVEPOINT" in sql for sql in said)


async def test_ending_many_deliveries_asks_nothing(batches: Batches) -> None:
    """What a claim has read is not read again when its work is done."""
    for number in range(10):
        await batches.accept(message(number), target="a")
    works = await batches.store.claim("a", 10, LEASE)
    with batches.statements() as said:
        await batches.together(*(batches.store.finish(work, Sent("11" * 32)) for work in works))
    assert {sql.split()[1] for sql in said if sql.startswith("SELECT")} == {"heads.seq,"}


_JSON: Callable[..., str] = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)


@given(st.dictionaries(_TEXT, st.one_of(_TEXT, st.integers(), st.lists(_TEXT), st.dictionaries(_TEXT, _TEXT))))
def test_canonical_json_is_the_same_however_fast_it_is_written(value: dict[str, Any]) -> None:
    """Hashes outlive libraries: the fast writer gives the octets of the standard library's."""
    try:
        expected = _JSON(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            tables.octets(value)
    else:
        assert tables.octets(value) == expected
