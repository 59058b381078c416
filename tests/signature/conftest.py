"""A site with its own keys, one partner with an authority, one stranger; all generated, nothing committed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus import pki
from bus.keys import Keyring
from bus.signer import Signer

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """``certs``: the site's directory; ``partner``, ``stranger`` and ``ours`` sign; ``partners_key`` is where the partner's files lie."""

    certs: Path
    keyring: Keyring
    ours: Signer
    partner: Signer
    partner_ec: Signer
    stranger: Signer
    partners_home: Path
    now: datetime

    @property
    def trust(self) -> Callable[[bytes], str]:
        """Trust as ``xades.verify`` wants it, now."""
        return lambda certificate: self.keyring.identify(certificate, self.now)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    certs = tmp_path_factory.mktemp("certs")
    pki.development(certs, organisation_name="Bộ Thử nghiệm", partners={"partner-agency": "Cơ quan Đối tác"}, now=NOW)
    home = certs / "development" / "partner-agency"
    authority = pki.read_authority(home)
    pki.issue(home / "own", "system-ec", authority, common_name="EC", organisation="Đối tác", now=NOW, key_type="ec-p256")
    for suffix in (".key", ".crt"):
        (home / "own" / f"system{suffix}").write_bytes((home / f"system{suffix}").read_bytes())
    foreign = pki.create_authority(certs / "development" / "stranger", "ca", "Kẻ lạ", "Kẻ lạ", NOW)
    pki.issue(certs / "development/stranger/own", "system", foreign, common_name="lạ", organisation="Kẻ lạ", now=NOW)
    keyring = Keyring.load(certs, {"partner-agency": "trust/partner-agency"})
    theirs = Keyring.load(home, {})
    return World(
        certs,
        keyring,
        keyring.signer("own/bus"),
        theirs.signer("own/system"),
        theirs.signer("own/system-ec"),
        Keyring.load(certs / "development/stranger", {}).signer("own/system"),
        home,
        NOW,
    )
