"""A backlog as the bench makes it is a real one, and its size is nobody's concern."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import event

from bench import backlog
from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.evidence import Evidence
from bus.store import Owed, Store

ROUTE = ROUTE_PREFIX + backlog.ROUTE
LEASE = timedelta(minutes=3)


async def life(store: Store) -> None:
    """One message in, the oldest out."""
    message, owed = backlog.letters(300, seed=99)(0)
    await store.accept(message, owed, receipts_to=backlog.MAILBOX)
    [work] = await store.claim(ROUTE, 1, LEASE)
    await store.routed(work, [Owed(backlog.ROUTE, "agency", work.message, backlog.now() + LEASE)], {}, [])
    [work] = await store.claim("agency", 1, LEASE)
    await store.finish(work, Sent("0" * 64, b"taken"))


async def test_a_backlog_is_what_the_store_would_have_written(filled: Callable[[int], Store], evidence: Evidence) -> None:
    """Every row, hash, chain and signature of it stands before the audit, and it is worked like any other."""
    store = filled(60)
    await life(store)
    report = audit(store, evidence)
    assert (report.findings, report.counts["waiting"], report.counts["delivered"]) == ((), 60, 1)


async def steps(store: Store, doing: Callable[[Store], Awaitable[None]]) -> int:
    """How many instructions SQLite takes for something: the same on every machine, however busy."""
    counted = count()

    def watch(connection: object, _record: object, _proxy: object) -> None:
        connection.set_progress_handler(lambda: next(counted) and None, 1)  # type: ignore[attr-defined]

    event.listen(store._engines[0], "checkout", watch)
    await doing(store)
    event.remove(store._engines[0], "checkout", watch)
    return next(counted)


async def test_fault_50_a_backlog_costs_nothing_while_it_waits(filled: Callable[[int], Store]) -> None:
    """Accepting, claiming, routing and finishing take as many steps with thousands waiting as with a few, within a tenth."""
    few, many = filled(50), filled(3_000)
    for store in (few, many):
        await life(store)
    assert await steps(many, life) <= await steps(few, life) * 1.1


@pytest.mark.parametrize("doing", [lambda store: store.release(expired_at=backlog.now()), lambda store: store.claim("nobody", 32, LEASE)])
async def test_fault_50_housekeeping_does_not_leaf_through_a_backlog(
    filled: Callable[[int], Store], doing: Callable[..., Awaitable[None]]
) -> None:
    """Leases that are over, mailboxes that nobody read, a lane without work: what is not there is not looked for among what is."""
    few, many = filled(50), filled(1_000)
    assert await steps(many, doing) <= await steps(few, doing) * 1.1
