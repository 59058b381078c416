"""The code book: old and new codes, validity, successors, and every fault of a bad file."""

from datetime import date
from pathlib import Path

import pytest

from bus.errors import ConfigurationError
from bus.organisations import CodeBook, Form, form, well_formed

HEADING = "code,old_code,name,valid_from,valid_to,successor\n"


def test_old_and_new_codes_are_one_organisation(book: CodeBook) -> None:
    """Either form finds the row, and names the other one."""
    assert book.find("G22") == book.find("000.00.00.G22")
    assert (book.aliases("G22"), book.aliases("000.00.00.G22"), book.canonical("000.00.00.G22")) == (("000.00.00.G22",), ("G22",), "G22")
    assert (book.aliases("unknown"), book.canonical("unknown")) == ((), "unknown")


def test_codes_are_closed_and_succeeded(book: CodeBook) -> None:
    """The ministry's code was closed in April 2025: still found, no longer open, and its successor answers for it."""
    before, after = date(2025, 4, 13), date(2025, 4, 14)
    assert (book.known("G14"), book.known("G14", before), book.known("G14", after)) == (True, True, False)
    assert (book.current("000.00.00.G14", before), book.current("000.00.00.G14", after)) == ("000.00.00.G14", "G06")


def test_a_renamed_organisation_keeps_its_code(book: CodeBook) -> None:
    """Each period has its own name; without a day the latest one counts."""
    names = [getattr(book.find("G21", day), "name", "") for day in (date(2024, 1, 1), date(2026, 1, 1), None)]
    assert names == ["Ủy ban Dân tộc", "Bộ Dân tộc và Tôn giáo", "Bộ Dân tộc và Tôn giáo"]
    assert book.aliases("G21") == ("000.00.00.G21",)


def test_changes_since_a_day(book: CodeBook) -> None:
    """What opened or closed since a day is listed, nothing else."""
    assert {row.code for row in book.changed_since(date(2025, 5, 1))} == {"H47"}
    assert "G14" in {row.code for row in book.changed_since(date(2025, 4, 13))}
    assert len(list(book)) == len(book)


def test_fictitious_units_are_marked(book: CodeBook) -> None:
    """No published code of a unit below the ministry is claimed: every such row says that it is made up."""
    units = [row for row in book if form(row.code) is Form.OLD]
    assert units
    assert all("giả định" in row.name and not row.old_code for row in units)


@pytest.mark.parametrize(
    ("code", "shape"),
    [
        ("000.00.01.G14", Form.OLD),
        ("G14", Form.NEW),
        ("H37.DN.001", Form.NEW),
        ("020100107370", Form.ENTERPRISE),
        ("0100107370", Form.ENTERPRISE),
        ("02.29.W00", Form.OTHER),
        ("vxp.saas.03", Form.OTHER),
    ],
)
def test_codes_have_shapes(code: str, shape: Form) -> None:
    """Every code in circulation is well formed and told apart by its shape."""
    assert (well_formed(code), form(code)) == (True, shape)


@pytest.mark.parametrize("code", ["", "G14 G22", "G14.", ".G14", "G14\n", "Đ14", "A" * 36])
def test_what_is_no_code(code: str) -> None:
    """Blanks, line ends, empty levels, other letters and overlong texts are no codes."""
    assert not well_formed(code)


def test_every_fault_of_a_file_is_told(tmp_path: Path) -> None:
    """One pass names every bad line with its number."""
    path = tmp_path / "organisations.csv"
    lines = ["G01,,A,,,", "G 2,,B,,,", "G03,,,,,", "G04,,D,2025-13-01,,", "G05,,E", "G01,,F,2026-01-01,,", "G07,,H,,,G99", "# G08"]
    path.write_text(HEADING + "\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigurationError) as refused:
        CodeBook.load(path)
    assert [fault.line for fault in refused.value.faults] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("text", ["", "code;name\n", None])
def test_what_is_no_code_book(tmp_path: Path, text: str | None) -> None:
    """A missing, empty or foreign file is a fault of the site, not a traceback."""
    path = tmp_path / "organisations.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError):
        CodeBook.load(path)
