"""The simulated store under the contract of every store."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helping import BEGIN, HandClock
from simulated_store import Calm, Database, EmbeddedWriter, ServerWriter, SimulatedStore

from bus import pki
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.store.writer import Writer

#: Where the contract of all stores is.
sys.path.append(str(Path(__file__).parent.parent / "store"))


@pytest.fixture(scope="session")
def simulation_keys(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    directory = tmp_path_factory.mktemp("certs")
    pki.development(directory, organisation_name="Bộ Thử nghiệm", partners={}, now=BEGIN, key_type="ec-p256")
    return Keyring.load(directory, {})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def evidence(simulation_keys: Keyring, clock: HandClock) -> Evidence:
    return Evidence(simulation_keys.signer("own/bus"), simulation_keys.own, clock)


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
