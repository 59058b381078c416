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
    """One statement. ``part``: what of the container it is about, where it is about one thing; ``vouched``: False for a signature that
    nobody vouches for.
    """

    verdict: Verdict
    key: str
    values: Mapping[str, object] = field(default_factory=dict)
    part: str = ""
    vouched: bool = True

    def say(self, language: str) -> str:
        """The statement in words."""
        return text(self.key, language, **self.values)


@dataclass(frozen=True, slots=True)
class Report:
    """All lines, in the order of the questions. ``judged``: the verifier brought trust of its own, by which signers were judged."""

    lines: Sequence[Line]
    judged: bool = False

    @property
    def ok(self) -> bool:
        """Whether the evidence holds: none is broken, and somebody vouches for every signature."""
        return all(line.verdict is not Verdict.BROKEN and line.vouched for line in self.lines)

    @property
    def conclusion(self) -> Line:
        """The last line: what all of it comes to."""
        count = {verdict: sum(line.verdict is verdict for line in self.lines) for verdict in Verdict}
        values = {"established": count[Verdict.ESTABLISHED], "open": count[Verdict.OPEN]}
        if count[Verdict.BROKEN]:
            return Line(Verdict.BROKEN, "cli-verify-bad", {"count": count[Verdict.BROKEN]})
        if not self.ok:
            return Line(Verdict.OPEN, "cli-verify-unvouched", {"count": sum(not line.vouched for line in self.lines)})
        if not self.judged:
            return Line(Verdict.OPEN, "cli-verify-unjudged", values)
        return Line(Verdict.ESTABLISHED, "cli-verify-good", values)


def established(key: str, **values: object) -> Line:
    """What was proved."""
    return Line(Verdict.ESTABLISHED, key, values)


def unproved(key: str, **values: object) -> Line:
    """What was not proved, and may be true."""
    return Line(Verdict.OPEN, key, values)


def unvouched(key: str, **values: object) -> Line:
    """A signature that holds, and that nobody vouches for in its role: it proves nothing."""
    return Line(Verdict.OPEN, key, values, vouched=False)


def broken(part: str, error: BusError) -> Line:
    """What does not hold, and why."""
    reasons = {language: f"{error.code} {reason}" for language, reason in error.reasons.items()}
    return Line(Verdict.BROKEN, "verify-broken", {"part": part, "detail": Quoted(reasons)}, part)
