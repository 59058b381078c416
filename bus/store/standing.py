"""Where a message stands: the worst of its deliveries. The one definition behind the overview, the search and the audit.

Conservation is that every accepted message stands somewhere: accepted = delivered + rejected + expired + dead + waiting.
Deliveries that carry receipts are not counted; what an operator cancelled counts as rejected.
"""

from enum import StrEnum

import sqlalchemy as sa

from bus.receipt import Status
from bus.store.tables import deliveries, messages


class Standing(StrEnum):
    """From good to bad; a message stands where the worst of its deliveries does."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    EXPIRED = "expired"
    DEAD = "dead"
    WAITING = "waiting"


#: Standing by rank, as ``standing()`` gives it. A message without any delivery is a break, which the audit finds; it counts as waiting.
RANKED: tuple[Standing, ...] = tuple(Standing)

#: outcome of an ended delivery -> standing; a delivery that has not ended has the outcome "" and waits, unless it is a route's and done.
_OUTCOMES = {
    Status.DELIVERED: Standing.DELIVERED,
    Status.CONFIRMED: Standing.DELIVERED,
    Status.REJECTED: Standing.REJECTED,
    Status.CANCELLED: Standing.REJECTED,
    Status.EXPIRED: Standing.EXPIRED,
    Status.DEAD: Standing.DEAD,
}


def standing() -> sa.ScalarSelect[int]:
    """The rank of the message in the enclosing query, as a scalar subquery."""
    outcomes = {str(status): RANKED.index(place) for status, place in _OUTCOMES.items()}
    rank = sa.case(
        (deliveries.c.state.in_(["READY", "CLAIMED", "WAITING"]), RANKED.index(Standing.WAITING)),
        (sa.and_(deliveries.c.state == "DONE", deliveries.c.outcome == ""), RANKED.index(Standing.DELIVERED)),
        *((deliveries.c.outcome == status, place) for status, place in outcomes.items()),
        else_=RANKED.index(Standing.DEAD),
    )
    own = sa.and_(deliveries.c.message_id == messages.c.id, deliveries.c.receipt_id == "")
    worst = sa.select(sa.func.coalesce(sa.func.max(rank), RANKED.index(Standing.WAITING))).where(own)
    return worst.correlate(messages).scalar_subquery()
