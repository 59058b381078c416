"""What tests of a store and its journal stand on: a clock the test owns, a real notary with a throw-away key, and stores on files.

A conftest that wants them imports them by name.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helping import BEGIN, HandClock

from bus import pki
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.store import Store


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
def url(tmp_path: Path) -> str:
    """The test's one database: a file. A module whose tests are about another database has a fixture of this name itself."""
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
