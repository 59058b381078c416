"""A bus with a P-256 key, which makes small containers, and one message's evidence for all tests that only look at it."""

from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copy

import pytest
import pytest_asyncio
from evidence_rig import ROUTES, Told, now
from soap_rig import OTHER, UNIT, build
from tsa_server import Authority

from bus import pki


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One development PKI for all tests of this area."""
    directory = tmp_path_factory.mktemp("pki") / "certs"
    partners = {"unit": "Đơn vị", "other": "Bộ khác"}
    pki.development(directory, organisation_name="Bộ Thông tin và Truyền thông", partners=partners, now=now(), key_type="ec-p256")
    return directory


@pytest.fixture(scope="session")
def authority(certs: Path) -> Authority:
    """The time-stamp authority that the site trusts."""
    made = Authority(now())
    made.write(certs / "trust" / "tsa")
    return made


@pytest.fixture
def trust(certs: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an auditor got from the parties themselves: each role's certificates in its place."""
    return laid_out(certs, authority, tmp_path_factory.mktemp("trust"))


def laid_out(certs: Path, authority: Authority, place: Path) -> Path:
    """A trust directory with the authorities of this PKI."""
    for name, file in (("site", "own"), (f"partners/{UNIT}", "trust/unit"), (f"partners/{OTHER}", "trust/other")):
        (place / name).mkdir(parents=True)
        copy(certs / file / "ca.crt", place / name)
    authority.write(place / "tsa")
    return place


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def told(tmp_path_factory: pytest.TempPathFactory, certs: Path, authority: Authority) -> AsyncIterator[Told]:
    """The bus, running."""
    rig = build(tmp_path_factory.mktemp("site"), certs, ROUTES)
    await rig.engine.start()
    yield Told(rig, authority)
    await rig.engine.stop(grace=1)
    rig.store.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def message(told: Told) -> str:
    """A message that was accepted, fetched and confirmed, with a time-stamped checkpoint over it."""
    message = await told.live()
    await told.checkpoint()
    return message


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def small(told: Told) -> bytes:
    """A smaller evidence: a message that went straight into a mailbox, and that nobody has confirmed yet."""
    message = await told.live("tin-nho", door="plain", number=2, confirm=False)
    await told.checkpoint()
    return told.container(message)


@pytest.fixture(scope="session")
def container(told: Told, message: str) -> bytes:
    """Its evidence."""
    return told.container(message)
