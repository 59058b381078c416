"""The catalogue: every text exists in both languages, says the same things in both, and is used."""

import ast
import re
import string
import unicodedata
from pathlib import Path

import pytest

from bus.errors import catalogue

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {path: path.read_text(encoding="utf-8") for package in ("bus", "adapters", "sandbox") for path in (ROOT / package).rglob("*.py")}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", catalogue())
def test_both_languages_say_the_same(key: str) -> None:
    """Vietnamese and English have the same placeholders, and the Vietnamese text is in NFC."""
    entry = catalogue()[key]
    assert entry.vi
    assert placeholders(entry.vi) == placeholders(entry.en)
    assert unicodedata.is_normalized("NFC", entry.vi)


def test_codes_are_enhanced_status_codes() -> None:
    """Every code has RFC 3463's form, class 2, 4 or 5."""
    assert [key for key, entry in catalogue().items() if entry.code and not re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", entry.code)] == []


def test_every_failure_that_is_raised_has_a_text() -> None:
    """A key given to Rejected or Deferred stands in the catalogue, in that class's family."""
    wrong = []
    for path, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"Rejected", "Deferred"} and node.args
            ):
                continue
            key = node.args[0]
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                entry = catalogue().get(key.value)
                if entry is None or entry.code[0] != {"Rejected": "5", "Deferred": "4"}[node.func.id]:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {key.value}")
    assert wrong == []


def test_every_text_is_used() -> None:
    """A text that nobody refers to is removed. (Column headings and receipt texts are named by what they describe.)"""
    everything = "\n".join(SOURCES.values())
    derived = ("column-", "receipt-", "cli-", "xsd-")
    assert [key for key in catalogue() if f'"{key}"' not in everything and not key.startswith(derived)] == []
