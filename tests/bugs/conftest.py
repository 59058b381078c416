"""Keys for the folder's sites."""

from pathlib import Path

import attacked_site
import pytest


@pytest.fixture(scope="session")
def siege_certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's keys, its partners' and a stranger's."""
    return attacked_site.certificates(tmp_path_factory.mktemp("siege-pki") / "certs")
