"""The sandbox's sites on one machine: the ministry, the Government Office's hub and the partner agency, each a bus of its own (D12).

The partners' keys come out of the ministry's *development* PKI, so that every side trusts exactly what it would trust in earnest:
its own keys, and the other side's authority.
"""

import secrets
import shutil
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bus import scaffold

MINISTRY = "000.00.00.G14"
GOVERNMENT_OFFICE = "000.00.00.G22"
AGENCY = "000.00.00.G18"
TELECOM_AUTHORITY = "000.00.01.G14"
DIGITAL_AGENCY = "000.00.02.G14"


@dataclass(frozen=True, slots=True)
class Sites:
    """Three directories with a site each, and the ports they are wired for."""

    ministry: Path
    hub: Path
    agency: Path
    ports: dict[str, int]
    desk_secret: str

    @property
    def authority(self) -> Path:
        """The authority that issued the ministry's TLS certificate: what a client must trust."""
        return self.ministry / "certs" / "own" / "ca.crt"

    def key(self, partner: str) -> Path:
        """Directory of a partner's development keys."""
        return self.ministry / "certs" / "development" / partner


def free_ports(count: int) -> list[int]:
    """Free loopback ports. They are not held: another process may take one before we do, and then the start fails clearly."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def create(directory: Path, now: datetime) -> Sites:
    """Write the three sites below ``directory``."""
    ports = dict(zip(("ministry", "hub", "agency"), free_ports(3), strict=True))
    secret = secrets.token_urlsafe(32)
    ministry = directory / "ministry"
    scaffold.create(
        ministry,
        now,
        {
            "VXP_URL": f"http://127.0.0.1:{ports['hub']}/vxp/exchange",
            "VXP_SECRET": secret,
            "AGENCY_URL": f"https://127.0.0.1:{ports['agency']}/soap/documents",
        },
    )
    _poll_often(ministry / "routes.yaml")
    desk_secret = secrets.token_urlsafe(32)
    hub = _partner_site("government-office", directory / "hub", ministry, {"MINISTRY_SECRET": secret, "DESK_SECRET": desk_secret})
    agency = _partner_site("partner-agency", directory / "agency", ministry, {})
    return Sites(ministry, hub, agency, ports, desk_secret)


def _poll_often(routes: Path) -> None:
    """Look at the hub every second: nobody watches a demo for ten."""
    text = routes.read_text(encoding="utf-8")
    routes.write_text(text.replace("poll: 10s", "poll: 1s"), encoding="utf-8")


def _partner_site(partner: str, directory: Path, ministry: Path, environment: dict[str, str]) -> Path:
    """A partner's site: its declared half from the sandbox, its keys from the ministry's development PKI, the ministry trusted."""
    directory.mkdir()
    scaffold.copy_site(scaffold.reference() / "sandbox" / partner / "routes.yaml", directory)
    scaffold.write_environment(directory, "", environment)
    own = directory / "certs" / "own"
    own.mkdir(parents=True)
    keys = ministry / "certs" / "development" / partner
    for name, source in (("bus", "system"), ("tls", "tls")):
        for suffix in ("key", "crt"):
            shutil.copy(keys / f"{source}.{suffix}", own / f"{name}.{suffix}")
    shutil.copy(keys / "ca.crt", own / "ca.crt")
    trust = directory / "certs" / "trust" / "ministry"
    trust.mkdir(parents=True)
    shutil.copy(ministry / "certs" / "own" / "ca.crt", trust)
    (directory / "data").mkdir()
    return directory
