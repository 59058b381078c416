"""Lines: what a verification has to say, one at a time, in the catalogue's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bus.errors import BusError, Quoted, text


class Verdict(StrEnum):
    """What a line is worth: it was proved; it was not, and nothing contradicts it; or the evidence does not hold."""

    ESTABLISHED = "established"
    OPEN = "open"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Line:
    """One statement. ``part``: what of the container it is about, where it is about one thing."""

    verdict: Verdict
    key: str
    values: Mapping[str, object] = field(default_factory=dict)
    part: str = ""

    def say(self, language: str) -> str:
        """The statement in words."""
        return text(self.key, language, **self.values)


@dataclass(frozen=True, slots=True)
class Report:
    """All lines, in the order of the questions. ``ok``: none is broken."""

    lines: Sequence[Line]

    @property
    def ok(self) -> bool:
        """Whether the evidence holds."""
        return all(line.verdict is not Verdict.BROKEN for line in self.lines)


def established(key: str, **values: object) -> Line:
    """What was proved."""
    return Line(Verdict.ESTABLISHED, key, values)


def unproved(key: str, **values: object) -> Line:
    """What was not proved, and may be true."""
    return Line(Verdict.OPEN, key, values)


def broken(part: str, error: BusError) -> Line:
    """What does not hold, and why."""
    reasons = {language: f"{error.code} {reason}" for language, reason in error.reasons.items()}
    return Line(Verdict.BROKEN, "verify-broken", {"part": part, "detail": Quoted(reasons)}, part)
