"""What the simulation found in the bus, each as a test of its own: a seed means what it meant only until a die is thrown once more."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from simulated_store import Database, SimulatedStore
from store_contract import LEASE, LIFE, ROUTE, message

from bus.audit import audit
from bus.endpoint import Sent
from bus.errors import Deferred
from bus.store import Owed
from bus.store.archive import Order
from bus.store.pruning import Pruning


async def _delivered(store: SimulatedStore, clock: Any, number: int) -> None:
    sent = message(number)
    await store.accept(sent, Owed(route=ROUTE, target="a", message=sent, expires=clock() + LIFE))
    [work] = await store.claim("a", 1, LEASE)
    await store.finish(work, Sent(sent.digest))


async def test_a_pruning_that_is_overtaken_by_a_greater_one_moves_no_base_back(
    open_store: Callable[..., SimulatedStore], clock: Any, evidence: Any
) -> None:
    """Two operators prune at once: the chain begins where the greater cut is, whichever pruning says its word last (seed 594)."""
    store = open_store()
    for number in (1, 2):
        await _delivered(store, clock, number)
        clock.advance(days=40)
    lesser, greater = (Order(clock() - timedelta(days=days), "an", "hằng tháng", None, {}) for days in (60, 20))

    async def overtaken(unit: Callable[..., Any]) -> Any:
        if not store.show("message-2"):
            return await store._write(unit)
        assert (await store.prune(greater)).messages == 2
        return await store._write(unit)

    await Pruning(overtaken, store.snapshot, store._files).run(lesser)
    await _delivered(store, clock, 3)
    assert audit(store, evidence).findings == ()


async def test_a_store_that_is_away_is_reported_once(
    open_store: Callable[..., SimulatedStore], database: Database, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``release`` asks for two things; when both fail nothing is left that nobody listens to (seed 2)."""
    unheard: list[dict[str, Any]] = []
    store = open_store()
    monkeypatch.setattr(database.hazards, "away", lambda: True)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unheard.append(context))
    with pytest.raises(Deferred, match=r"4\.3\.1"):
        await store.release(expired_at=clock())
    monkeypatch.undo()
    await asyncio.sleep(0)
    assert unheard == []
