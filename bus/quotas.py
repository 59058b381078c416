"""Quotas: what one partner may take of what is everybody's: room in its mailbox, and turns at the doors.

A ``Quota`` bounds what waits in a partner's mailbox until it is confirmed, whichever endpoint the partner reads it through. A ``Rate``
bounds how often the partner may call, counted once it is identified: nobody uses up another's. ``Rates`` counts for one process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Quota:
    """The most that waits in one mailbox: messages, and octets of them all together. Receipts do not count."""

    messages: int = 100_000
    octets: int = 10 * 10**9

    def share(self, messages: int, octets: int) -> float:
        """How full a mailbox with so much is: 1.0 when either is used up."""
        return max(messages / self.messages, octets / self.octets)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second, and ``burst`` of them at once after a rest."""

    each_second: float
    burst: float

    def among(self, processes: int) -> "Rate":
        """One process's part, where so many answer the same doors. Each may answer one at least."""
        return replace(self, each_second=self.each_second / processes, burst=max(1.0, self.burst / processes))


#: What holds for a partner whose entry says nothing.
QUOTA: Final = Quota()


@dataclass(slots=True)
class Rates:
    """The turns of this process's partners (a token bucket each), of ``processes`` that answer the same doors. ``clock``: seconds.

    Who has no rate has no limit, and no bucket: there are never more of them than partners with a rate, and a stranger has none.
    """

    clock: Callable[[], float]
    processes: int = 1
    _declared: Mapping[str, Rate] = field(default_factory=dict)
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def declare(self, rates: Mapping[str, Rate]) -> None:
        """A generation's rates, by partner. Who stays keeps what it has used up."""
        self._declared = {name: rate.among(self.processes) for name, rate in rates.items()}
        self._left = {name: left for name, left in self._left.items() if name in rates}

    def wait(self, partner: str) -> float:
        """Take a turn: 0.0 where there is one, else how many seconds it is until there is, and nothing is taken."""
        rate = self._declared.get(partner)
        if rate is None:
            return 0.0
        now = self.clock()
        left, at = self._left.get(partner, (rate.burst, now))
        left = min(rate.burst, left + (now - at) * rate.each_second)
        taken = left >= 1.0
        self._left[partner] = (left - 1.0 if taken else left, now)
        return 0.0 if taken else (1.0 - left) / rate.each_second
