"""A clock the test owns, a real notary, and stores that have something in their journals."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helping import BEGIN, HandClock
from tsa_server import Authority, TimestampServer

from bus import pki
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.store import Store


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """A site's own keys, made for these tests."""
    directory = tmp_path_factory.mktemp("certs")
    pki.development(directory, organisation_name="Bộ Thử nghiệm", partners={}, now=BEGIN, key_type="ec-p256")
    return Keyring.load(directory, {})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def evidence(keyring: Keyring, clock: HandClock) -> Evidence:
    return Evidence(keyring.signer("own/bus"), keyring.own, clock)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The test's one database; a module that is about another kind has a fixture of this name itself."""
    return f"sqlite:///{tmp_path / 'bus.db'}"


@pytest.fixture
def open_store(url: str, evidence: Evidence, clock: HandClock) -> Iterator[Callable[..., Store]]:
    """Opens stores on the test's one database, a chain each; all are closed in the end."""
    opened: list[Store] = []
    number = itertools.count()

    def opening(chain: str = "main", *, at: str = url, **options: Any) -> Store:
        prefix = len(opened)
        store = Store.open(
            at,
            seal=evidence.seal,
            organisation="000.00.00.G14",
            clock=clock,
            ids=lambda: f"{prefix}-{next(number):06}",
            chain=chain,
            **options,
        )
        opened.append(store)
        return store

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store()


@pytest.fixture
def authority(clock: HandClock) -> Iterator[TimestampServer]:
    """A time-stamping authority on loopback that reads the test's clock."""
    with TimestampServer(Authority(clock()), clock) as server:
        yield server
