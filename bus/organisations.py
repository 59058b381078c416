"""The code book: who is who among organisation codes, in the old and the new form, with the time each code is valid.

Old form (QCVN 102:2016): ``000.00.01.G14``, 13 characters, read from the right. New form (Decision 20/2020/QĐ-TTg, Amendment
1:2022 of QCVN 102): ``G14.01``, read from the left, at most 35 characters. Both circulate, and which old code is which new one is
a *table*, never a formula. Codes are closed and succeeded by others (Decision 09/2025/QĐ-TTg), and an organisation may be renamed
under the same code: so a code may have several rows, one for each period.

The table is site data: ``schemas/organisations/v1/organisations.csv``. ``CodeBook.load`` raises ConfigurationError with every
fault of the file; nothing else here raises.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

from bus import regular
from bus.errors import ConfigurationError, Fault

#: Longest code: Amendment 1:2022 of QCVN 102 (13 before it).
LONGEST = 35
COLUMNS = ("code", "old_code", "name", "valid_from", "valid_to", "successor")
_CODE = re.compile(r"[0-9A-Za-z]+(\.[0-9A-Za-z]+)*")


class Form(StrEnum):
    """The shape of a code."""

    OLD = "old"
    NEW = "new"
    ENTERPRISE = "enterprise"
    OTHER = "other"


_FORMS = (
    (Form.OLD, re.compile(r"\d{3}\.\d{2}\.\d{2}\.[A-Z]\d{2}")),
    (Form.NEW, re.compile(r"[A-Z]\d{2}(\.[0-9A-Z]{2,3})*")),
    (Form.ENTERPRISE, re.compile(r"\d{10}|\d{12,13}|\d{15}")),
)


def well_formed(code: str) -> bool:
    """Whether ``code`` has the shape of any code in circulation, hubs (``02.29.W00``) and test systems (``vxp.saas.03``) included."""
    return len(code) <= LONGEST and _CODE.fullmatch(code) is not None


def form(code: str) -> Form:
    """Which of the known shapes ``code`` has. An enterprise's code is ``02`` and its tax code, or the bare tax code."""
    return next((name for name, pattern in _FORMS if pattern.fullmatch(code)), Form.OTHER)


@dataclass(frozen=True, slots=True)
class Organisation:
    """One row: ``code`` is the form we write, ``old_code`` its QCVN 102:2016 form or "".

    ``valid_from`` and ``valid_to`` are the first and last day; None means open. ``successor`` is the code that took over, or "".
    """

    code: str
    old_code: str
    name: str
    valid_from: date | None = None
    valid_to: date | None = None
    successor: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code of this organisation, the one we write first."""
        return (self.code, self.old_code) if self.old_code else (self.code,)

    def valid(self, on: date) -> bool:
        """Whether the row holds on that day."""
        return (self.valid_from is None or self.valid_from <= on) and (self.valid_to is None or on <= self.valid_to)

    def overlaps(self, other: "Organisation") -> bool:
        """Whether some day is in the validity of both rows."""
        starts, ends = (self.valid_from, other.valid_from), (self.valid_to, other.valid_to)
        return max(start or date.min for start in starts) <= min(end or date.max for end in ends)


class CodeBook:
    """All organisations, found by any of their codes. Iterating gives the rows in the file's order."""

    def __init__(self, organisations: Iterable[Organisation]) -> None:
        self._rows = tuple(organisations)
        by_code: dict[str, list[Organisation]] = {}
        for row in self._rows:
            for code in row.codes:
                by_code.setdefault(code, []).append(row)
        self._by_code: Mapping[str, tuple[Organisation, ...]] = {code: tuple(rows) for code, rows in by_code.items()}
        self._aliases = {code: _others(code, rows) for code, rows in self._by_code.items()}

    @classmethod
    def load(cls, path: Path) -> "CodeBook":
        """The code book in the CSV file at ``path`` (UTF-8, with a heading). ConfigurationError names every bad line."""
        try:
            lines = regular.words(path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError([Fault(str(path), 1, 1, f"the code book cannot be read: {error}")]) from None
        faults: list[Fault] = []
        rows = list(_rows(str(path), lines, faults))
        faults.extend(_contradictions(str(path), rows))
        if faults:
            raise ConfigurationError(faults)
        return cls(row for _, row in rows)

    def __iter__(self) -> Iterator[Organisation]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, code: str, on: date | None = None) -> Organisation | None:
        """The organisation with this code on that day; without a day the latest row, even if it is closed."""
        rows = [row for row in self._by_code.get(code, ()) if on is None or row.valid(on)]
        return max(rows, key=lambda row: row.valid_from or date.min, default=None)

    def known(self, code: str, on: date | None = None) -> bool:
        """Whether the code is in the book, and open on that day if one is given."""
        return self.find(code, on) is not None

    def aliases(self, code: str) -> tuple[str, ...]:
        """The other codes of the same organisation: its old form for the new one and the other way round."""
        return self._aliases.get(code, ())

    def canonical(self, code: str) -> str:
        """The one code that stands for all forms of the organisation: the form we write; an unknown code stands for itself."""
        rows = self._by_code.get(code)
        return rows[0].code if rows else code

    def current(self, code: str, on: date) -> str:
        """The code that answers for ``code`` on that day: itself while open, else its successor's, else itself."""
        seen: set[str] = set()
        while not self.known(code, on) and code not in seen:
            seen.add(code)
            row = self.find(code)
            code = row.successor if row and row.successor else code
        return code

    def changed_since(self, day: date) -> tuple[Organisation, ...]:
        """Rows that opened or closed on that day or later."""
        return tuple(row for row in self._rows if any(edge is not None and edge >= day for edge in (row.valid_from, row.valid_to)))


def _others(code: str, rows: Iterable[Organisation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(other for row in rows for other in row.codes if other != code))


def _rows(file: str, lines: list[str], faults: list[Fault]) -> Iterator[tuple[int, Organisation]]:
    """The data rows with their line numbers; what is wrong with a line goes to ``faults``. Lines that begin with ``#`` are remarks."""
    numbered = [(number, text) for number, text in enumerate(lines, 1) if text.strip() and not text.startswith("#")]
    if not numbered:
        faults.append(Fault(file, 1, 1, f"the code book is empty; its heading must be {','.join(COLUMNS)}"))
    for number, text in numbered:
        cells = next(csv.reader([text]))
        if number == numbered[0][0]:
            if tuple(cells) != COLUMNS:
                faults.append(Fault(file, number, 1, f"the heading must be {','.join(COLUMNS)}"))
                return
        elif len(cells) != len(COLUMNS):
            faults.append(Fault(file, number, 1, f"{len(cells)} columns instead of {len(COLUMNS)}"))
        elif row := _row(file, number, [cell.strip() for cell in cells], faults):
            yield number, row


def _row(file: str, number: int, cells: list[str], faults: list[Fault]) -> Organisation | None:
    code, old_code, name, start, end, successor = cells
    bad = [text for text in (code, old_code, successor) if text and not well_formed(text)]
    found = [Fault(file, number, 1, f"{text!r} is not an organisation code") for text in bad]
    if not code or not name:
        found.append(Fault(file, number, 1, "code and name must not be empty"))
    days: list[date | None] = []
    for text in (start, end):
        try:
            days.append(date.fromisoformat(text) if text else None)
        except ValueError:
            found.append(Fault(file, number, 1, f"{text!r} is not a date; write yyyy-mm-dd"))
    faults.extend(found)
    return None if found else Organisation(code, old_code, name, days[0], days[1], successor)


def _contradictions(file: str, rows: list[tuple[int, Organisation]]) -> Iterator[Fault]:
    """What no single line shows: a code twice at one time, a successor that is not in the book."""
    codes = {code for _, row in rows for code in row.codes}
    earlier: dict[str, list[tuple[int, Organisation]]] = {}
    for number, row in rows:
        if row.successor and row.successor not in codes:
            yield Fault(file, number, 1, f"successor {row.successor!r} is not in the code book")
        for code in row.codes:
            for line, other in earlier.setdefault(code, []):
                if row.overlaps(other):
                    yield Fault(file, number, 1, f"code {code!r} is already given in line {line} for the same time")
            earlier[code].append((number, row))
