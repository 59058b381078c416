"""The bus that is attacked: real configuration, keys, store and engine, its SOAP door called as the HTTP edge calls it."""

from collections.abc import AsyncIterator
from pathlib import Path

import attacked_site
import pytest
import pytest_asyncio
from attacker import Forger
from soap_rig import Rig, build


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's keys, its partners' and a stranger's."""
    return attacked_site.certificates(tmp_path_factory.mktemp("pki") / "certs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Rig]:
    """A running bus for a whole module."""
    rig = build(tmp_path_factory.mktemp("site"), certs)
    await rig.engine.start()
    yield rig
    await rig.engine.stop(grace=1)
    rig.store.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Rig]:
    """A running bus whose gate asks who may speak for whom."""
    rig = attacked_site.guarded(tmp_path_factory.mktemp("guarded"), certs)
    await rig.engine.start()
    yield rig
    await rig.engine.stop(grace=1)
    rig.store.close()


@pytest.fixture(scope="module")
def forger(certs: Path) -> Forger:
    """Signs as the partner ``unit``, or as somebody the bus has never heard of."""
    return attacked_site.forger(certs)
