"""Delivery: what the bus owes one target, and the table of states it may pass through.

::

    READY ──claim──▶ CLAIMED ──finish──▶ DONE
      ▲                │  ├──bury────▶ DEAD ──resend (operator)──▶ READY
      └─defer, lease ──┘
    WAITING (a mailbox: the partner fetches) ──confirm──▶ DONE | DEAD

The store refuses every change that is not in ``TRANSITIONS``; no other code decides what may follow what.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a delivery stands."""

    READY = "READY"
    CLAIMED = "CLAIMED"
    WAITING = "WAITING"
    DONE = "DONE"
    DEAD = "DEAD"


#: from state -> the states that may follow it.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.READY: frozenset({State.CLAIMED, State.DEAD}),
    State.CLAIMED: frozenset({State.DONE, State.READY, State.DEAD}),
    State.WAITING: frozenset({State.DONE, State.DEAD}),
    State.DEAD: frozenset({State.READY, State.WAITING}),
    State.DONE: frozenset(),
}

ROUTE_PREFIX = "route:"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One debt.

    ``route``      name of the route that owes it
    ``target``     an endpoint's name, or ``route:<name>``: a route is just another target
    ``owner``      the partner whose mailbox it lies in, or "" when it is pushed
    ``order_key``  deliveries to one target with the same non-empty key leave in order
    ``attempt``    how often it was claimed; the fence: only the latest claim may finish it
    ``due``        not before this time (aware, UTC)
    ``expires``    give up after this time (aware, UTC)
    """

    id: str
    message_id: str
    route: str
    target: str
    owner: str
    order_key: str
    state: State
    attempt: int
    due: datetime
    expires: datetime
