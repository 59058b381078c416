"""xs:dateTime as signatures write it: always UTC. Standard: XML Schema Part 2 section 3.2.7; WS-Security 1.1 section 10."""

import re
from datetime import UTC, datetime

#: Seen in the field: milliseconds with Z, microseconds with +00:00, no fraction; nine digits from .NET's and Java's nanoseconds.
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def instant(text: str) -> datetime:
    """The time that ``text`` states, in UTC; without a zone UTC is meant (WS-Security 1.1 section 10). Raises ValueError."""
    found = _DATE_TIME.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text[:40]!r} is not an xs:dateTime")
    seconds, fraction, zone = found.groups()
    try:
        return datetime.fromisoformat(f"{seconds}.{(fraction or '0')[:6]:0<6}{zone or 'Z'}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not a time that exists") from None


def written(at: datetime) -> str:
    """``at`` as xs:dateTime with Z, in milliseconds unless it is finer."""
    precision = "microseconds" if at.microsecond % 1000 else "milliseconds"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def in_milliseconds(at: datetime) -> str:
    """``at`` as a Timestamp and a UsernameToken may state it: WSS4J 2 refuses finer (WS-I Basic Security Profile 1.1 R3220, R3229)."""
    return written(at.replace(microsecond=at.microsecond // 1000 * 1000))
