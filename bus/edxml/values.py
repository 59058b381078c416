"""Texts of edXML fields to values, as tolerantly as the field demands: dates in the patterns met, numbers as text.

None means "not understood": the caller keeps the raw text and says so. A day that does not exist (30 February, which the Java
library rolls over in silence) is not understood. Nothing here raises.
"""

import re
from datetime import date, datetime

from bus.edxml.model import VIETNAM

#: Year first as the standard says; day first as older products write; the time may follow after a blank or a "T".
_DAY = r"(?:(?P<y>\d{4})[/-](?P<m>\d{1,2})[/-](?P<d>\d{1,2})|(?P<d2>\d{1,2})[/-](?P<m2>\d{1,2})[/-](?P<y2>\d{4}))"
_TIME = r"(?:[T ]+(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?)?"
_MOMENT = re.compile(_DAY + _TIME, re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
#: Texts that some producers write for "nothing".
NOTHING = frozenset({"", "null", "NULL", "None"})
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def moment(text: str) -> datetime | None:
    """The time written in ``text``, in Vietnam's zone; midnight where only a day is written."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    day = [int(part[first] or part[second]) for first, second in (("y", "y2"), ("m", "m2"), ("d", "d2"))]
    clock = [int(part[name] or 0) for name in ("H", "M", "S")]
    try:
        local = datetime(day[0], day[1], day[2], clock[0], clock[1], clock[2], tzinfo=VIETNAM)
        return local.replace(tzinfo=datetime.strptime(part["zone"], "%z").tzinfo).astimezone(VIETNAM) if part["zone"] else local
    except (ValueError, OverflowError):
        return None


def day(text: str) -> date | None:
    """The day written in ``text``, whatever time follows it."""
    found = moment(text)
    return None if found is None else found.date()


def integer(text: str) -> int | None:
    """The number written in ``text``."""
    return int(text) if _INTEGER.fullmatch(text) else None


def flag(text: str) -> bool | None:
    """The truth value written in ``text``."""
    return _FLAGS.get(text.lower())


def write_day(value: date) -> str:
    """``yyyy/MM/dd``, the only form to write. (Not ``%Y``: it drops leading zeros on some platforms.)"""
    return f"{value.year:04}/{value.month:02}/{value.day:02}"


def write_moment(value: datetime) -> str:
    """``yyyy/MM/dd HH:mm:ss`` in Vietnam's time."""
    local = value.astimezone(VIETNAM)
    return f"{write_day(local)} {local:%H:%M:%S}"
