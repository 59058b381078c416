"""Route: what is done with the messages of one endpoint (EIP *Pipes and Filters*, *Content-Based Router*, *Recipient List*).

::

    admit    gate steps, and then: is there anywhere to send it?     while the partner waits; Rejected is the answer
    process  steps, then ``choose`` or ``to``                        after acceptance; fills ``Exchange.to``

``choose`` is asked **once for each receiver**: the view shows that one receiver only, the first branch that holds takes it, and the
union of what was chosen, each target with its own receivers, is the recipient list. A document addressed to an agency and to the
Government Office goes to both, and a receiver that no branch takes is an error for the whole message: none is lost silently.

``to`` is asked once, with every receiver. An entry ``{unit-inbox: To/OrganId}`` puts a copy into the mailbox of each partner that
owns one of the codes found; codes that are nobody's here are passed over as long as one is somebody's.

A message that an earlier route sent here for some of its receivers only (header ``receivers``) is for those receivers only.
Pure: no clock, no randomness, no I/O. Raises Rejected (what is wrong with the message) and whatever its steps raise.
"""

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from lxml import etree

from bus import lexical, views
from bus.errors import Rejected
from bus.exchange import Exchange, Step, Target, blamed
from bus.message import RECEIVERS, SENDER, Message
from bus.retry import RetryPolicy
from bus.site import Site
from bus.xpath import XPath

#: Characters of an order key.
MOST_KEY = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a ``to:`` list: an endpoint or ``route:<name>``; with ``owners``, mailboxes of the partners whose codes it finds."""

    name: str
    owners: XPath | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of ``choose``; without ``when`` it is the ``otherwise``."""

    when: XPath | None
    to: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver: its code as written, and every code of the same organisation."""

    code: str
    codes: frozenset[str]


@dataclass(frozen=True)
class Route:
    """One block of ``routes:``. ``source`` is the endpoint it takes from, or "" (internal: it is another route's target).

    ``block`` is the declaration itself, as canonical JSON: its digest begins the history of what passes through, so that the journal
    says by which route.
    """

    name: str
    source: str
    site: Site
    when: XPath | None = None
    gate: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    choose: tuple[Branch, ...] = ()
    to: tuple[Entry, ...] = ()
    order_by: XPath | None = None
    receipts: str = ""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    confirm_within: timedelta | None = None
    block: bytes = b""

    @cached_property
    def note(self) -> str:
        """The route as a history names it, or "" where it was not declared in a file."""
        return f"route {self.name} sha256:{hashlib.sha256(self.block).hexdigest()}" if self.block else ""

    @property
    def mailboxes(self) -> frozenset[str]:
        """The endpoints into whose mailboxes it puts messages."""
        entries = (*self.to, *(entry for branch in self.choose for entry in branch.to))
        return frozenset(entry.name for entry in entries if entry.owners)

    def matches(self, message: Message) -> bool:
        """Whether this route takes the message: its ``when:`` holds, or it has none."""
        return self.when is None or self.when.holds(views.of(message, self.site))

    def admit(self, message: Message, now: datetime) -> Exchange:
        """The message past the gate. Routing is tried on it as it came in, so that what has nowhere to go is refused at the door."""
        return self._routed(self._through(self.gate, message, now))

    def process(self, message: Message, now: datetime, *, ours: bool = False) -> Exchange:
        """The message after every step, with ``to`` naming at least one target. ``ours``: it comes here changed by a route before."""
        exchange = self._through(self.steps, message, now, ours=ours)
        try:
            return self._routed(exchange)
        except Rejected as error:
            raise blamed(error, exchange, "choose" if self.choose else "to", checks=True) from error

    def order_key(self, message: Message) -> str:
        """Messages of one sender with the same non-empty key leave in order. Stores index it, so a long one is digested."""
        said = self.order_by.string(views.of(message, self.site)) if self.order_by else ""
        # The sender's own: nobody holds back what another sends, by knowing its number.
        sender = message.header(SENDER)
        # By its organisation: the partner's name may change while its messages wait (``store.names``).
        key = f"{self.site.code_of(sender) or sender}\t{said}" if said else ""
        return key if len(key) <= MOST_KEY else hashlib.sha256(key.encode()).hexdigest()

    def _through(self, steps: Iterable[Step], message: Message, now: datetime, *, ours: bool = False) -> Exchange:
        history = (self.note,) if self.block else ()
        exchange = Exchange(message=message, original=message, route=self.name, now=now, history=history, ours=ours)
        for step in steps:
            exchange = step(exchange)
        return exchange

    def _routed(self, exchange: Exchange) -> Exchange:
        only = lexical.words(exchange.message.header(RECEIVERS))
        if only and self.to and not any(entry.owners for entry in self.to):
            # Nothing is asked of the message: it need not be looked at.
            return replace(exchange, to=_merged(Target(entry.name, receivers=tuple(only)) for entry in self.to))
        view = views.of(exchange.message, self.site)
        receivers = self._receivers(view, only)
        targets = self._chosen(view, receivers) if self.choose else self._listed(_reduced(view, receivers), receivers)
        return replace(exchange, to=_merged(targets))

    def _receivers(self, view: etree._Element, only: Sequence[str]) -> Sequence[Receiver]:
        """The organisations the message is for, each once, by the code written first; of these the ones the header still names.

        A body that names none of them (an agency's own XML, after a transform) leaves what the header says.
        """
        found: dict[str, Receiver] = {}
        for code in [_text(organ) for organ in view.iterfind(f"{_where(view)}/OrganId")] or only:
            if code and not any(code in receiver.codes for receiver in found.values()):
                found[code] = Receiver(code, frozenset({code, *self.site.organisations.aliases(code)}))
        return [receiver for receiver in found.values() if not only or receiver.codes.intersection(only)]

    def _chosen(self, view: etree._Element, receivers: Sequence[Receiver]) -> Sequence[Target]:
        """*Content-Based Router*, once for each receiver; for a message that names none, once."""
        if not receivers:
            return self._branch(view, None)
        return [target for receiver in receivers for target in self._branch(_reduced(view, [receiver]), receiver)]

    def _branch(self, view: etree._Element, receiver: Receiver | None) -> Sequence[Target]:
        branch = next((branch for branch in self.choose if branch.when is None or branch.when.holds(view)), None)
        targets = self._targets(branch.to, view, [receiver] if receiver else []) if branch else ()
        if not targets:
            raise Rejected("receiver-unknown", receiver=receiver.code) if receiver else Rejected("receiver-missing")
        return targets

    def _listed(self, view: etree._Element, receivers: Sequence[Receiver]) -> Sequence[Target]:
        targets = self._targets(self.to, view, receivers)
        if targets:
            return targets
        if receivers:
            raise Rejected("receiver-unknown", receiver=", ".join(receiver.code for receiver in receivers))
        raise Rejected("receiver-missing")

    def _targets(self, entries: Iterable[Entry], view: etree._Element, receivers: Sequence[Receiver]) -> Sequence[Target]:
        codes = tuple(receiver.code for receiver in receivers)
        found: list[Target] = []
        for entry in entries:
            if entry.owners is None:
                found.append(Target(entry.name, receivers=codes))
            else:
                found.extend(self._mailboxes(entry.name, entry.owners.strings(view), codes))
        return found

    def _mailboxes(self, endpoint: str, owners: Iterable[str], written: Sequence[str]) -> Iterable[Target]:
        """One target for each partner that owns one of the codes; its receivers are those of its codes that the message names."""
        for code in dict.fromkeys(owners):
            partner = self.site.partner_of(code)
            if partner is not None:
                named = tuple(receiver for receiver in written if self.site.partner_of(receiver) == partner)
                yield Target(endpoint, owner=partner.name, receivers=named or (code,))


def _where(view: etree._Element) -> str:
    """Who a status is for stands in what it answers."""
    return "ResponseFor" if view.find("To") is None and view.find("StatusCode") is not None else "To"


def _reduced(view: etree._Element, receivers: Sequence[Receiver]) -> etree._Element:
    """The view as if the message were for these receivers alone; for none, as it is."""
    where = _where(view)
    codes = frozenset[str]().union(*(receiver.codes for receiver in receivers))
    if not codes or codes.issuperset(_text(organ) for organ in view.iterfind(f"{where}/OrganId")):
        return view
    # Child by child: for each of some hundred receivers the whole would be copied otherwise.
    alone = etree.Element(view.tag)
    alone.attrib.update(view.attrib)
    alone.text = view.text
    for child in view:
        if child.tag == where and all(_text(organ) not in codes for organ in child.iterchildren("OrganId")):
            continue
        alone.append(copy.deepcopy(child))
    for element in alone.findall(where):
        for organ in element.findall("OrganId"):
            if _text(organ) not in codes:
                element.remove(organ)
    return alone


def _text(element: etree._Element) -> str:
    return lexical.trimmed(element.text or "")


def _merged(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Each target once, with everyone it is for."""
    merged: dict[tuple[str, str], dict[str, None]] = {}
    for target in targets:
        merged.setdefault((target.name, target.owner), {}).update(dict.fromkeys(target.receivers))
    return tuple(Target(name, owner, tuple(receivers)) for (name, owner), receivers in merged.items())
