"""An authority on loopback for each test that wants one, and a directory of certificates that trusts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from authority_server import AuthorityServer, Issuer, pem


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
