"""The bus that is attacked: real configuration, keys, store and engine, its SOAP door called as the HTTP edge calls it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from attacker import Forger
from soap_rig import Rig, build, document

from adapters.soap import payloads
from bus import pki
from bus.keys import Keyring
from bus.octets import whole


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's keys, its partners' and a stranger's."""
    directory = tmp_path_factory.mktemp("pki") / "certs"
    moment = datetime.now(UTC)
    pki.development(
        directory, organisation_name="Bộ Thông tin và Truyền thông", partners={"unit": "Đơn vị", "other": "Bộ khác"}, now=moment
    )
    authority = pki.create_authority(directory / "development" / "stranger", "ca", "Kẻ lạ", "Kẻ lạ", moment)
    pki.issue(directory / "development" / "stranger" / "own", "system", authority, common_name="lạ", organisation="Kẻ lạ", now=moment)
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Rig]:
    """A running bus for a whole module."""
    rig = build(tmp_path_factory.mktemp("site"), certs)
    await rig.engine.start()
    yield rig
    await rig.engine.stop(grace=1)
    rig.store.close()


@pytest.fixture(scope="module")
def forger(attacked: Rig, certs: Path) -> Forger:
    """Signs as the partner ``unit``, or as somebody the bus has never heard of."""
    stranger = Keyring.load(certs / "development" / "stranger", {}).signer("own/system")
    return Forger(
        partner=attacked.unit,
        stranger=stranger,
        home=certs / "development" / "unit",
        payload=lambda number: whole(payloads.send_content(f"attack-{number}", document(number))),
    )
