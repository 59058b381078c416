"""Ourselves: what a failure behind the door is when it is we who fail, and who is told.

The sender has been told yes. What fails then in a stylesheet, in the schema of its result, in a key, is no fault of his (``bus.exchange``):
it is tried again, held at give-up until an operator's word, and never a receipt. One condition for each route and step says so.
"""

from dataclasses import dataclass, field
from typing import Final

from bus import conditions
from bus.delivery import ROUTE_PREFIX
from bus.errors import BusError, Deferred, Quoted, Rejected
from bus.store import Work

_OWN_WORK: Final = "own-work-failed"
#: Failures that no clock ends: work of ours, and a key of ours.
_OURS: Final = frozenset({_OWN_WORK, "token-unavailable"})
#: Families of codes in which a partner's own answers are.
_PARTNERS_WORD: Final = ("5.1.", "5.2.", "5.4.")
#: Deliveries that are remembered.
_MOST: Final = 10_000


def changed(work: Work) -> bool:
    """Whether what is to be sent is no longer what its sender sent."""
    return work.debt.digest != work.subject.digest


def of_ours(work: Work, failure: BusError) -> BusError:
    """A message that we changed, and that cannot be put into a partner's form then, is no fault of its sender's."""
    to_partner = not work.delivery.target.startswith(ROUTE_PREFIX)
    if to_partner and changed(work) and isinstance(failure, Rejected) and not failure.code.startswith(_PARTNERS_WORD):
        detail = Quoted(failure.reasons)
        return Deferred(_OWN_WORK, at=failure.at, route=work.delivery.route, step=work.delivery.target, detail=detail)
    return failure


def is_held_for(work: Work, failure: BusError) -> bool:
    """Whether it is we who failed, be it by a bug on a route: then no clock ends the delivery."""
    on_a_route = work.delivery.target.startswith(ROUTE_PREFIX)
    return failure.key in _OURS or (on_a_route and failure.key == "bus-error")


@dataclass(slots=True)
class OwnFaults:
    """Deliveries with which we ourselves fail, and where."""

    _failing: dict[str, str] = field(default_factory=dict)

    def tell(self, delivery: str, failure: BusError) -> None:
        """One alarm for each route and step, until what failed there works, or the configuration is another."""
        if failure.key != _OWN_WORK:
            return
        cause = f"{failure.values['route']}: {failure.values['step']}"
        if len(self._failing) < _MOST:
            self._failing[delivery] = cause
        conditions.open(conditions.ROUTE_FAILS, cause, failure.reasons, route=failure.values["route"], code=failure.code)

    def works(self, delivery: str) -> None:
        """What failed works now."""
        cause = self._failing.pop(delivery, "")
        if cause and cause not in self._failing.values():
            conditions.close(conditions.ROUTE_FAILS, cause)

    def gone(self, delivery: str) -> None:
        """It ended otherwise."""
        self._failing.pop(delivery, None)

    def forget(self) -> None:
        """Another configuration: what was wrong may be right now, and what still fails says so at its next try."""
        self._failing.clear()
        conditions.keep(conditions.ROUTE_FAILS, ())
