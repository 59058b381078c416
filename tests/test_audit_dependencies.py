"""The audit of dependencies: the dated list of advisories, and how a lock file is held against it."""

import importlib.util
import sys
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from packaging.version import Version

CI = Path(__file__).resolve().parent.parent / ".ci"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_dependencies", CI / "audit_dependencies.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_pinned_version_with_a_listed_fault_is_found(audit: ModuleType) -> None:
    """The version before the fix is a finding, the fixed one and the one before the fault began are none."""
    _, advisories = audit.listed('read = 2026-11-30\n[packages]\nlxml = [{ id = "X-1", from = "5.0", below = "6.1.0" }]\n')
    lock = "LXML==6.0.2 \\\n    --hash=sha256:00\n"
    assert audit.findings(audit.pinned(lock), advisories) == ["lxml 6.0.2: X-1, mended in 6.1.0"]
    for unaffected in ("4.9", "6.1.0", "6.1.3"):
        assert not audit.findings({"lxml": Version(unaffected)}, advisories)


def test_the_list_is_dated_and_speaks_of_packages_that_we_pin(audit: ModuleType, repository: Path) -> None:
    """A row about a package that is gone, or a list without its day, would look like a check."""
    read, advisories = audit.listed((CI / "advisories.toml").read_text())
    assert isinstance(read, date)
    assert not set(advisories) - set(audit.pinned((repository / "requirements.lock").read_text()))
