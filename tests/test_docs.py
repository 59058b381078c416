"""The documents stay true: what they name exists."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FAULTS, SECURITY = ROOT / "docs" / "faults.md", ROOT / "docs" / "security.md"
#: The faults of the list.
NUMBERS = set(range(1, 61))
_REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_THREATS = re.compile(r"^\| threat \|.*\n\|[-| ]+\n((?:\|.*\n)+)", re.MULTILINE)
_ROW = re.compile(r"^\| (\d+) \| [^|]+ \| (holds|in part|open) \| (.+) \|$", re.MULTILINE)


def _rows() -> list[tuple[int, str, str]]:
    return [(int(number), state, words) for number, state, words in _ROW.findall(FAULTS.read_text(encoding="utf-8"))]


def _functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def test_every_fault_has_its_row() -> None:
    """Each number once: whether it holds, and what shows it."""
    assert sorted(number for number, _, _ in _rows()) == sorted(NUMBERS)


@pytest.mark.parametrize(("number", "state", "words"), _rows())
def test_a_fault_that_holds_names_a_test_that_exists(number: int, state: str, words: str) -> None:
    """A row says which test shows it; an open one says why it is open."""
    named = _REFERENCE.findall(words)
    assert named or state == "open", f"fault {number} {state} and names no test"
    assert _missing(named) == []


def _missing(named: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{path}::{name}" for path, name in named if not (ROOT / path).is_file() or name not in set(_functions(ROOT / path))]


def test_every_threat_names_a_test_that_exists() -> None:
    """A threat without a test is a wish: docs/security.md says only what is shown."""
    rows = [row for table in _THREATS.findall(SECURITY.read_text(encoding="utf-8")) for row in table.splitlines()]
    assert len(rows) > 20
    assert [row for row in rows if not _REFERENCE.findall(row)] == []
    assert _missing(reference for row in rows for reference in _REFERENCE.findall(row)) == []


def test_a_test_named_after_a_fault_stands_in_its_row() -> None:
    """A test with a fault's number in its name is evidence: the table knows it."""
    cited = {name for _, _, words in _rows() for _, name in _REFERENCE.findall(words)}
    numbered = {
        f"{path.relative_to(ROOT)}::{name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in _functions(path)
        if re.match(r"test_fault_\d", name) and name not in cited
    }
    assert sorted(numbered) == []


@pytest.mark.parametrize(
    "document", sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")]), ids=lambda path: path.name
)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link names a file that is there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []
