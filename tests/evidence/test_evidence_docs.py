"""docs/evidence.md says how to check an evidence without us: what stands there is run as it stands there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from evidence_rig import Told


@pytest.fixture
def place(told: Told, container: bytes, certs: Path, tmp_path: Path) -> Path:
    """A directory with the container and what its reader trusts."""
    missing = [tool for tool in ("unzip", "xmlsec1", "xmllint", "openssl") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    (tmp_path / "message.asice").write_bytes(container)
    shutil.copy(certs / "own" / "ca.crt", tmp_path / "ministry.crt")
    told.authority.write(tmp_path / "tsa")
    shutil.copy(tmp_path / "tsa" / "ca.crt", tmp_path / "tsa.crt")
    return tmp_path


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "docs" / "evidence.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_document_verify_a_container(repository: Path, place: Path) -> None:
    """Shell by shell line, each must succeed; then the Merkle paths, by Python's standard library; and a changed row fails."""
    [shell], [script] = blocks(repository, "sh"), blocks(repository, "python")
    done = subprocess.run(["sh", "-e", "-c", shell], cwd=place, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    python = [sys.executable, "-c", script]
    results = [subprocess.run(python, cwd=place / "message", capture_output=True, timeout=60, check=False).returncode]
    row = place / "message" / "journal" / "0002-claimed.json"
    row.write_bytes(row.read_bytes().replace(b"claimed", b"Claimed", 1))
    results.append(subprocess.run(python, cwd=place / "message", capture_output=True, timeout=60, check=False).returncode)
    assert results == [0, 1]
