"""A running bus with a letter from ``unit`` to ``other`` in it, and a thief who is a partner as well."""

from collections.abc import AsyncIterator
from pathlib import Path

import attacked_site
import pytest
import pytest_asyncio
from soap_rig import OTHER, Rig, document, until


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's keys, its partners' and a stranger's."""
    return attacked_site.certificates(tmp_path_factory.mktemp("pki") / "certs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Rig]:
    """The bus. The letter lies in the mailbox of ``other``, and its receipt in that of ``unit``."""
    rig = attacked_site.guarded(tmp_path_factory.mktemp("guarded"), certs)
    await rig.engine.start()
    await rig.send(document(7, receiver=OTHER, subject="Bí mật nhà nước 5d81"), "letter-of-unit")

    async def delivered() -> bool:
        return bool(await rig.engine.pending("other", 1)) and bool(await rig.engine.pending("unit", 1))

    await until(delivered)
    yield rig
    await rig.engine.stop(grace=1)
    rig.store.close()
