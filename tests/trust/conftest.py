"""An authority on loopback for each test that wants one, and a directory of certificates that trusts it."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from authority_server import AuthorityServer, Issuer, pem

from bus import scaffold


@pytest.fixture
def authority() -> Iterator[AuthorityServer]:
    """An authority that answers, and whose certificates say where."""
    server = AuthorityServer(Issuer("CA Thử nghiệm"))
    server.issuer.url = server.url
    yield server
    server.close()


@pytest.fixture
def certs(tmp_path: Path, authority: AuthorityServer) -> Path:
    """certs/ with one partner, ``agency``, that this authority vouches for."""
    directory = tmp_path / "certs"
    (directory / "trust" / "agency").mkdir(parents=True)
    (directory / "trust" / "agency" / "ca.crt").write_bytes(pem(authority.issuer.certificate))
    return directory


@pytest.fixture(scope="session")
def site_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh site: its keys take a second to make."""
    directory = tmp_path_factory.mktemp("trust") / "site"
    scaffold.create(directory, datetime.now(UTC), {"AGENCY_URL": "https://127.0.0.1:1/soap/documents", "VXP_URL": "http://127.0.0.1:1/vxp"})
    return directory


@pytest.fixture
def site(tmp_path: Path, site_made_once: Path) -> Path:
    """A ministry's site of the test's own."""
    return Path(shutil.copytree(site_made_once, tmp_path / "site"))
