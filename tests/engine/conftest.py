"""The engine running between a door the test holds and two scripted partners."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from engine_bench import Bench, HandClock, Partner, make_routes

from bus import config
from bus.engine import Engine
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.site import Site
from bus.store import Store


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def opened(make_site: Callable[..., Path], clock: HandClock) -> tuple[Site, Callable[..., Store], Evidence]:
    """A site, a way to open its store (again), and its notary."""
    site = config.load(make_site(), environment={}, clock=lambda: datetime.now(UTC)).site
    evidence = Evidence(site.keyring.signer("own/bus"), site.keyring.own, lambda: datetime.now(UTC))
    url = f"sqlite:///{site.root / 'data' / 'bus.db'}"

    def open_store(chain: str = "main") -> Store:
        return Store.open(url, seal=evidence.seal, organisation=site.organisation, clock=clock, ids=uuid7(clock), chain=chain)

    return site, open_store, evidence


@pytest.fixture
async def bench(opened: tuple[Site, Callable[..., Store], Evidence], clock: HandClock) -> AsyncIterator[Bench]:
    """The engine running, with two partners."""
    site, open_store, evidence = opened
    store = open_store()
    partners = {name: Partner(name) for name in ("agency", "other")}
    engine = Engine(site, store, partners, make_routes(site, partners), clock=clock, ids=uuid7(clock), jitter=lambda: 0.5)
    await engine.start()
    yield Bench(site, store, evidence, clock, partners, engine)
    await engine.stop()
    store.close()
