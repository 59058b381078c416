"""A clock the test owns, a real notary with a throw-away key, and stores on files."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bus import pki
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.store import Store

BEGIN = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


class HandClock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **step: float) -> None:
        self.now += timedelta(**step)


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's own keys; P-256, because the tests sign thousands of receipts."""
    directory = tmp_path_factory.mktemp("certs")
    pki.development(directory, organisation_name="Bộ Thử nghiệm", partners={}, now=BEGIN, key_type="ec-p256")
    return directory


@pytest.fixture(scope="session")
def keyring(certs: Path) -> Keyring:
    return Keyring.load(certs, {})


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def evidence(keyring: Keyring, clock: HandClock) -> Evidence:
    return Evidence(keyring.signer("own/bus"), keyring.own, clock)


@pytest.fixture
def open_store(tmp_path: Path, evidence: Evidence, clock: HandClock) -> Iterator[Callable[..., Store]]:
    """Opens stores on the test's one database, a chain each; all are closed in the end."""
    opened: list[Store] = []
    number = itertools.count()

    def opening(chain: str = "main") -> Store:
        prefix = len(opened)
        store = Store.open(
            f"sqlite:///{tmp_path / 'bus.db'}",
            seal=evidence.seal,
            organisation="000.00.00.G14",
            clock=clock,
            ids=lambda: f"{prefix}-{next(number):06}",
            chain=chain,
        )
        opened.append(store)
        return store

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store()
