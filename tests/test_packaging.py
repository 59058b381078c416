"""The wheel: everything a site needs is in it, so that `govbus init` works from an installation without a checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path


def test_the_wheel_holds_the_reference_site(repository: Path, tmp_path: Path) -> None:
    """routes.yaml, every schema, the sandbox sites, the catalogue and the migrations are in the wheel; keys and secrets are not."""
    source = tmp_path / "source"
    files = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in files:
        if (repository / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((repository / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True, timeout=120, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name.split("/share/govbus/", 1)[-1] for name in zipfile.ZipFile(wheel).namelist()}
    wanted = {name for name in files if name.startswith(("schemas/", "bus/", "adapters/")) or name.endswith("routes.yaml")}
    assert wanted - held == set()
    assert [name for name in held if name.endswith((".key", ".pem", "site.env"))] == []
