"""Known vulnerable versions: every package of requirements.lock against advisories.

Two sources. pip-audit asks an advisory service, where it can be installed and the service can be reached; a package that it could not ask
about is held against ``advisories.toml``, a dated list beside this file. Prints one line for each finding, then how many packages each
source judged, and the name of each package that neither knows. Exit 1 on a finding; a package that was not checked is named, and no fault.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from packaging.version import Version

PIP_AUDIT = "pip-audit==2.10.1"
#: Seconds for its installation, and for its questions.
PATIENCE = 240

_HERE = Path(__file__).resolve().parent
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Advisory:
    """One published fault of a package: versions from ``begin`` (if any) up to, and without, ``below``."""

    id: str
    below: Version
    begin: Version | None

    def covers(self, version: Version) -> bool:
        """Whether this version has the fault."""
        return version < self.below and (self.begin is None or version >= self.begin)


def pinned(lock: str) -> dict[str, Version]:
    """The packages of a lock file's text, by their normalised names."""
    return {re.sub(r"[-_.]+", "-", name).lower(): Version(version) for name, version in _PINNED.findall(lock)}


def listed(text: str) -> tuple[date, dict[str, list[Advisory]]]:
    """The dated list: the day it was read, and the advisories by package."""
    content = tomllib.loads(text)
    packages = {
        name: [Advisory(row["id"], Version(row["below"]), Version(row["from"]) if "from" in row else None) for row in rows]
        for name, rows in content["packages"].items()
    }
    return content["read"], packages


def findings(packages: Mapping[str, Version], advisories: Mapping[str, Sequence[Advisory]]) -> list[str]:
    """A line for each package whose pinned version has a listed fault."""
    return [
        f"{name} {version}: {advisory.id}, mended in {advisory.below}"
        for name, version in packages.items()
        for advisory in advisories.get(name, ())
        if advisory.covers(version)
    ]


def asked(lock: Path) -> dict[str, Any]:
    """The answer of pip-audit by package, for each package that its service knows; {} where it cannot be had."""
    with tempfile.TemporaryDirectory(prefix="audit-") as scratch:
        venv.create(scratch, with_pip=True)
        python = f"{scratch}/bin/python"
        question = [python, "-m", "pip_audit", "-r", str(lock), "--disable-pip", "--no-deps", "--progress-spinner", "off", "-f", "json"]
        try:
            subprocess.run([python, "-m", "pip", "install", "--quiet", PIP_AUDIT], check=True, capture_output=True, timeout=PATIENCE)  # noqa: S603
            answer = subprocess.run(question, check=False, capture_output=True, timeout=PATIENCE)  # noqa: S603
            rows = json.loads(answer.stdout)["dependencies"]
        except (subprocess.SubprocessError, ValueError, KeyError):
            return {}
    return {row["name"].lower(): row for row in rows if "skip_reason" not in row}


def main(lock: Path, list_file: Path) -> int:
    """Print what was found and what was not checked; the exit code."""
    packages = pinned(lock.read_text())
    answers = asked(lock)
    read, advisories = listed(list_file.read_text())
    faults = [
        f"{name} {packages[name]}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for name, row in answers.items()
        for fault in row["vulns"]
    ]
    unasked = {name: version for name, version in packages.items() if name not in answers}
    faults += findings(unasked, advisories)
    unknown = sorted(name for name in unasked if name not in advisories)
    for fault in faults:
        print("vulnerable:", fault)
    print(f"asked an advisory service about {len(answers)} of {len(packages)} packages")
    print(f"held {len(unasked) - len(unknown)} against the list of {read.isoformat()}")
    if unknown:
        print(f"not checked, {len(unknown)}:", *unknown)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(_HERE.parent / "requirements.lock", _HERE / "advisories.toml"))
