"""Exchange: one message on its way through one route; and the Step protocol (EIP *Pipes and Filters*)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bus.errors import BusError, Deferred, Quoted, Rejected
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
    ``ours``      whether the message came here changed, by a route before this one
    ``taps``      what a step wants in the journal (*Wire Tap*), by name: a digest, a note, or plain JSON
    """

    message: Message
    original: Message
    route: str
    now: datetime
    to: tuple[Target, ...] = ()
    history: tuple[str, ...] = ()
    taps: Mapping[str, Any] = field(default_factory=dict)
    ours: bool = False

    @property
    def changed(self) -> bool:
        """Whether what it carries is work of ours, and no longer what the sender sent."""
        return self.ours or self.message.body is not self.original.body

    def with_body(self, body: Body, note: str) -> "Exchange":
        """The exchange with the message's octets replaced and ``note`` added to its history."""
        return replace(self, message=self.message.with_body(body), history=(*self.history, note))

    def with_note(self, note: str) -> "Exchange":
        """The exchange with ``note`` added to its history."""
        return replace(self, history=(*self.history, note))


#: A step takes an exchange and returns one, or raises Rejected or Deferred. It does no I/O and keeps no state.
Step = Callable[[Exchange], Exchange]


def blamed(error: Rejected, exchange: Exchange, step: str, *, checks: bool) -> BusError:
    """What a rejection behind the door is, where its sender has been told yes.

    A step that ``checks`` what the sender sent, and nobody has changed since, rejects it for what it is. Everything else is a fault of
    ours, in a stylesheet, a schema for its result or a key: Deferred 4.3.5, for no sender can mend that, nor may be told that he must.
    """
    if checks and not exchange.changed:
        return error
    return Deferred("own-work-failed", at=error.at, route=exchange.route, step=step, detail=Quoted(error.reasons))


def behind_the_door(step: Step, name: str, *, checks: bool) -> Step:
    """``step`` as it is among a route's ``steps:``, see ``blamed``."""

    def run(exchange: Exchange) -> Exchange:
        try:
            return step(exchange)
        except Rejected as error:
            raise blamed(error, exchange, name, checks=checks) from error

    return run
