"""A ministry's site for each test, from one set of keys, and what stands in for the people around it."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus import scaffold


@pytest.fixture(scope="session")
def keys_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh site: its keys take a second to make."""
    directory = tmp_path_factory.mktemp("operations") / "site"
    scaffold.create(directory, datetime.now(UTC), {"AGENCY_URL": "https://127.0.0.1:1/soap/documents", "VXP_URL": "http://127.0.0.1:1/vxp"})
    return directory


@pytest.fixture
def site(tmp_path: Path, keys_made_once: Path) -> Path:
    """A site of the test's own."""
    return shutil.copytree(keys_made_once, tmp_path / "site")


@pytest.fixture
def another(keys_made_once: Path) -> Callable[[Path], Path]:
    """Copies the site to a place of the test's choice."""
    return lambda place: shutil.copytree(keys_made_once, place, dirs_exist_ok=True)
