"""A running bus with two doors: one takes any signed request, the other only documents that carry an XML signature of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from soap_rig import MINISTRY, OTHER, UNIT, Rig, build, now

from bus import pki

ROUTES = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit}}
  other: {{codes: [{OTHER}, G18], trust: trust/other}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus}}}}}}
  sealed: {{soap: {{path: /soap/sealed, security: {{verify: wss-x509, sign: own/bus}}}}}}
routes:
  - {{name: documents, from: documents, to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: sealed, from: sealed, gate: [verify: {{profile: xmldsig}}], to: [{{documents: To/OrganId}}], receipts: documents}}
"""


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys of the site and of its partners."""
    directory = tmp_path_factory.mktemp("pki") / "certs"
    partners = {"unit": "Đơn vị", "other": "Bộ khác"}
    pki.development(directory, organisation_name="Bộ Thông tin và Truyền thông", partners=partners, now=now())
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Rig]:
    """The bus, for a whole module."""
    rig = build(tmp_path_factory.mktemp("site"), certs, ROUTES)
    await rig.engine.start()
    yield rig
    await rig.engine.stop(grace=1)
    rig.store.close()
