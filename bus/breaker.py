"""Breaker: when a lane stops sending because its partner is down, and when it tries again. Pure: no clock, no I/O.

::

    closed ── enough different messages failed, one after the other ──▶ open
    open ──── its pause is over: one delivery, the probe ─────────────▶ closed if the partner answers, else open with a longer pause
    closed ── at first one delivery at a time, twice as many after each answer, so that a partner just up is not overrun

What counts is what an attempt says about the *partner*: that it took or refused a message (5.1.y, 5.4.y) shows that it is there; 4.4.y
(no connection, no answer, an answer that means nothing) and 4.7.y (it does not know us) that it is not. What fails here (4.3.y, a message
that cannot be sent at all) says nothing.
Different messages: one poisonous message that fails for ever opens nothing, and neither do several while others get through.

Times are seconds of a clock that only runs forward, never the time of day.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bus.errors import BusError
from bus.options import MOST_AT_ONCE, PushOptions

#: Each failed probe doubles the pause.
_GROWTH = 2.0
#: A partner's own wish (Retry-After) keeps its lane closed for no longer: a mistake of his must not cost a day.
_LONGEST_WISH = 3600.0
#: Families of codes by which a partner has answered, or has not.
_ANSWERED = ("5.1.", "5.4.")
_FAILED = ("4.4.", "4.7.")


@dataclass(slots=True)
class Breaker:
    """The breaker of one lane.

    ``opened``   since when it is open, or None; ``reasons``: the failure that keeps it so; ``probe_at``: when to ask again
    ``pace``     while it is closed, how many deliveries may be under way
    ``failures`` attempts that failed since the partner last answered, of whichever messages
    """

    policy: PushOptions
    opened: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    probe_at: float = 0.0
    pace: int = MOST_AT_ONCE
    failures: int = 0
    _failed: set[str] = field(default_factory=set)
    _pause: float = 0.0
    _probe: str = ""

    def probe_due(self, now: float) -> bool:
        """Open, its pause over, and no probe under way: one delivery may be sent."""
        return self.opened is not None and not self._probe and now >= self.probe_at

    def sending(self, delivery: str) -> None:
        """A delivery goes out; while open it is the probe."""
        if self.opened is not None:
            self._probe = delivery

    def heard(self, delivery: str, failure: Exception | None, now: float) -> None:
        """What became of an attempt: None when the partner took it."""
        probing, self._probe = delivery == self._probe, "" if delivery == self._probe else self._probe
        code = failure.code if isinstance(failure, BusError) else ""
        if failure is None or code.startswith(_ANSWERED):
            self._failed.clear()
            self.failures = 0
            self.pace = 1 if self.opened is not None else min(2 * self.pace, MOST_AT_ONCE)
            self.opened = None
        elif isinstance(failure, BusError) and code.startswith(_FAILED):
            self.failures += 1
            self._count(delivery, failure, now, probing=probing)

    def _count(self, delivery: str, failure: BusError, now: float, *, probing: bool) -> None:
        if self.opened is None:
            self._failed.add(delivery)
            if len(self._failed) < self.policy.open_after:
                return
            self.opened, self._pause = now, self.policy.probe_first.total_seconds()
        elif probing:
            self._pause *= _GROWTH
        else:
            # It left before the lane was stopped, and is no news.
            return
        self._pause = min(self._pause, self.policy.probe_most.total_seconds())
        wish = getattr(failure, "retry_after", None) or 0.0
        self.probe_at = now + max(self._pause, min(wish, _LONGEST_WISH))
        self.reasons = failure.reasons

    def hasten(self) -> None:
        """Something has changed (the configuration): the next probe may go out at once."""
        self.probe_at = 0.0
