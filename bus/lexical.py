"""Lexical forms: what a text from outside means by XML Schema, in one place for all doors.

Python's ``strip``, ``split``, ``int``, ``isdigit`` and ``fromisoformat`` know 25 characters of white space, digits of sixty scripts,
``1_000`` and ``2026-W01-1``. XML Schema knows four characters of white space, ten digits, and forms of its own. Two readers that differ
there see two messages: so nothing that came from outside is trimmed, cut or read as a value by anything else than this module.

An identifier is an xs:token of 1 to 255 characters: white space is collapsed, every other character is kept as it came, whatever it looks
like. Values that Python cannot hold (a year 12026) are its nearest.

Raises ValueError with the text, cut short. Standard: XML Schema Part 2 (Second Edition) sections 3.2.2, 3.2.7, 3.2.9, 3.3.2, 3.3.13 to 25,
4.3.6 (whiteSpace).
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone

#: All of XML's white space (XML 1.0, production 3).
WHITE_SPACE = " \t\r\n"
#: Characters of an identifier: more than any in circulation has, and few enough for the index of any store.
MOST_IDENTIFIER = 255
#: Digits of a number, leading zeros not counted: far more than anyone means, far less than int() would take seconds for.
MOST_DIGITS = 18

_RUN = re.compile("[ \t\r\n]+")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ZONE = r"(?P<zone>Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))?"
_DAY = r"(?P<year>-?(?:[1-9][0-9]{3,}|0[0-9]{3}))-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:(?P<h>[01][0-9]|2[0-3]):(?P<m>[0-5][0-9]):(?P<s>[0-5][0-9])(?:\.(?P<f>[0-9]+))?|24:00:00(?:\.0+)?)"
_DATE = re.compile(_DAY + _ZONE)
_DATE_TIME = re.compile(f"{_DAY}T{_TIME}{_ZONE}")
#: What XML 1.0 cannot hold (production 2).
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def trimmed(text: str) -> str:
    """``text`` without white space at its ends."""
    return text.strip(WHITE_SPACE)


def words(text: str) -> list[str]:
    """What stands between white space."""
    return [word for word in _RUN.split(text) if word]


def collapsed(text: str) -> str:
    """``text`` as whiteSpace ``collapse`` has it: trimmed, each run of white space one space."""
    return " ".join(words(text))


def identifier(text: str) -> str:
    """An identifier, collapsed. Raises ValueError where nothing is left, where it is too long, or where XML could not hold it."""
    found = collapsed(text)
    if not 0 < len(found) <= MOST_IDENTIFIER:
        raise ValueError(f"an identifier has 1 to {MOST_IDENTIFIER} characters, this one {len(found)}")
    if _ILLEGAL.search(found):
        raise ValueError(f"{ascii(found)[:80]} has a character that XML cannot hold")
    return found


def integer(text: str) -> int:
    """An xs:integer; one of more than MOST_DIGITS digits is the largest, or least, of so many."""
    found = trimmed(text)
    if not _INTEGER.fullmatch(found):
        raise ValueError(f"{found[:40]!r} is not a whole number")
    digits = found.lstrip("+-").lstrip("0") or "0"
    number = int(digits) if len(digits) <= MOST_DIGITS else 10**MOST_DIGITS - 1
    return -number if found.startswith("-") else number


def boolean(text: str) -> bool:
    """An xs:boolean."""
    found = trimmed(text)
    if found not in _BOOLEANS:
        raise ValueError(f"{found[:40]!r} is neither true nor false")
    return _BOOLEANS[found]


def day(text: str) -> date:
    """An xs:date; its zone is read over: a day stays the day that is written."""
    found = _DATE.fullmatch(trimmed(text))
    if found is None:
        raise ValueError(f"{trimmed(text)[:40]!r} is not a date (YYYY-MM-DD)")
    return _date(found, text)


def instant(text: str) -> datetime:
    """An xs:dateTime in UTC; without a zone UTC is meant (WS-Security 1.1 section 10). Fractions finer than a microsecond are cut off."""
    found = _DATE_TIME.fullmatch(trimmed(text))
    if found is None:
        raise ValueError(f"{trimmed(text)[:40]!r} is not an xs:dateTime")
    on = _date(found, text)
    if not date.min < on < date.max:
        # Its neighbours, which a zone or midnight's other name may make of it, are out of reach.
        return datetime.combine(on, datetime.min.time(), UTC)
    fraction = int((found["f"] or "0")[:6].ljust(6, "0"))
    clock = timedelta(hours=int(found["h"] or 24), minutes=int(found["m"] or 0), seconds=int(found["s"] or 0), microseconds=fraction)
    return (datetime.combine(on, datetime.min.time(), _zone(found["zone"])) + clock).astimezone(UTC)


def _zone(written: str | None) -> timezone:
    if not written or written == "Z":
        return UTC
    offset = timedelta(hours=int(written[1:3]), minutes=int(written[4:]))
    return timezone(-offset if written.startswith("-") else offset)


def _date(found: re.Match[str], text: str) -> date:
    year = integer(found["year"])
    if year == 0:
        raise ValueError(f"{trimmed(text)[:40]!r} names a year 0, which there was not")
    if not date.min.year <= year <= date.max.year:
        return date.max if year > 0 else date.min
    try:
        return date(year, int(found["month"]), int(found["day"]))
    except ValueError:
        raise ValueError(f"{trimmed(text)[:40]!r} is not a day that exists") from None
