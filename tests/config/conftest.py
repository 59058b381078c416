"""A site whose routes.yaml a test can spoil: the rest of it is made once."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus import config, scaffold
from bus.errors import Fault

#: The environment that the reference routes.yaml asks for.
ENVIRONMENT = {
    "VXP_URL": "http://127.0.0.1:9/vxp/exchange",
    "VXP_SECRET": "not-a-real-secret",
    "AGENCY_URL": "https://127.0.0.1:9/soap/documents",
}


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh reference site with its own PKI."""
    site = tmp_path_factory.mktemp("config") / "site"
    scaffold.create(site, datetime.now(UTC))
    return site


@pytest.fixture
def make(reference: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A site with the given routes.yaml and everything else as in the reference site."""

    def site(routes: str) -> Path:
        for name in ("schemas", "certs"):
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(reference / name)
        (tmp_path / "routes.yaml").write_text(routes, encoding="utf-8")
        return tmp_path

    return site


@pytest.fixture
def check(make: Callable[[str], Path]) -> Callable[..., list[Fault]]:
    """All faults of a site with the given routes.yaml."""

    def faults(routes: str, environment: Mapping[str, str] = ENVIRONMENT, now: datetime | None = None) -> list[Fault]:
        return config.check(make(routes), environment=environment, clock=lambda: now or datetime.now(UTC))

    return faults
