"""The simulated store under the contract of every store."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helping import HandClock
from simulated_store import Calm, Database, EmbeddedWriter, ServerWriter, SimulatedStore
from store_fixtures import certs, clock, evidence, keyring

from bus.evidence import Evidence
from bus.store.writer import Writer

#: Where the contract of all stores is.
sys.path.append(str(Path(__file__).parent.parent / "store"))


@pytest.fixture(scope="session")
def database() -> Database:
    return Database()


@pytest.fixture(params=[EmbeddedWriter, ServerWriter])
def writing(request: pytest.FixtureRequest) -> type[Writer]:
    """Each of the two writers."""
    return request.param


@pytest.fixture
def open_store(
    database: Database, writing: type[Writer], tmp_path: Path, evidence: Evidence, clock: HandClock
) -> Iterator[Callable[..., SimulatedStore]]:
    """Opens simulated stores on one database, a chain each."""
    opened: list[SimulatedStore] = []
    number = itertools.count()
    database.reset(Calm())

    def opening(chain: str = "main") -> SimulatedStore:
        prefix = len(opened)
        store = SimulatedStore(
            database,
            writing,
            chain=chain,
            clock=clock,
            ids=lambda: f"{prefix}-{next(number):06}",
            seal=evidence.seal,
            organisation="000.00.00.G14",
            blobs=tmp_path / "blobs",
        )
        opened.append(store)
        return store

    yield opening
    for store in opened:
        store.close()
