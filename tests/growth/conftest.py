"""A real notary with a throw-away key, and stores on files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import backlog
from bus import pki
from bus.evidence import Evidence
from bus.keys import Keyring
from bus.store import Store


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    directory = tmp_path_factory.mktemp("certs")
    pki.development(directory, organisation_name="Bộ Thử nghiệm", partners={}, now=backlog.now(), key_type="ec-p256")
    keyring = Keyring.load(directory, {})
    return Evidence(keyring.signer("own/bus"), keyring.own, backlog.now)


@pytest.fixture
def filled(tmp_path: Path, evidence: Evidence) -> Iterator[Callable[[int], Store]]:
    """Makes a store with so many waiting messages, whose receipts are really signed."""
    opened: list[Store] = []

    def make(count: int) -> Store:
        url, given = f"sqlite:///{tmp_path / f'{count}.db'}", backlog.context(evidence.seal)
        if count:
            backlog.fill(url, given, count, backlog.letters(300, seed=count))
        opened.append(Store.open(url, seal=given.seal, organisation=given.organisation, clock=given.clock, ids=given.ids, chain="main"))
        return opened[-1]

    yield make
    for store in opened:
        store.close()
