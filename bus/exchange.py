"""Exchange: one message on its way through one route; and the Step protocol (EIP *Pipes and Filters*)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bus.message import Message
from bus.octets import Body


@dataclass(frozen=True, slots=True)
class Target:
    """Where a route sends to: an endpoint or another route, the mailbox owner if it is fetched, and for which receivers.

    ``name``       an endpoint's name or ``route:<name>``
    ``owner``      partner whose mailbox it goes to, or ""
    ``receivers``  organisation codes this copy is for
    """

    name: str
    owner: str = ""
    receivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a step is given and returns.

    ``message``   as it is now
    ``original``  as it was accepted
    ``route``     name of the route
    ``now``       the time of this processing (aware, UTC): steps read no clock
    ``to``        filled by the router after the last step
    ``history``   EIP *Message History*: one entry a step, such as ``transform schemas/edxml/v1/normalise.xsl sha256:…``
    ``taps``      what a step wants in the journal (*Wire Tap*), by name: a digest, a note, or plain JSON
    """

    message: Message
    original: Message
    route: str
    now: datetime
    to: tuple[Target, ...] = ()
    history: tuple[str, ...] = ()
    taps: Mapping[str, Any] = field(default_factory=dict)

    def with_body(self, body: Body, note: str) -> "Exchange":
        """The exchange with the message's octets replaced and ``note`` added to its history."""
        return replace(self, message=self.message.with_body(body), history=(*self.history, note))

    def with_note(self, note: str) -> "Exchange":
        """The exchange with ``note`` added to its history."""
        return replace(self, history=(*self.history, note))


#: A step takes an exchange and returns one, or raises Rejected or Deferred. It does no I/O and keeps no state.
Step = Callable[[Exchange], Exchange]
