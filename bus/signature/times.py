"""xs:dateTime as our signatures write it: always UTC (``bus.lexical`` reads it). Standard: XML Schema Part 2 section 3.2.7."""

from datetime import UTC, datetime


def written(at: datetime) -> str:
    """``at`` as xs:dateTime with Z, in milliseconds unless it is finer."""
    precision = "microseconds" if at.microsecond % 1000 else "milliseconds"
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def in_milliseconds(at: datetime) -> str:
    """``at`` as a Timestamp and a UsernameToken may state it: WSS4J 2 refuses finer (WS-I Basic Security Profile 1.1 R3220, R3229)."""
    return written(at.replace(microsecond=at.microsecond // 1000 * 1000))
