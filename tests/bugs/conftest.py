"""Keys for the folder's sites, and what tests of a store stand on, for faults that were found in it."""

from pathlib import Path

import attacked_site
import pytest
from store_fixtures import certs, clock, evidence, keyring, open_store, url

__all__ = ["certs", "clock", "evidence", "keyring", "open_store", "url"]


@pytest.fixture(scope="session")
def siege_certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's keys, its partners' and a stranger's."""
    return attacked_site.certificates(tmp_path_factory.mktemp("siege-pki") / "certs")
