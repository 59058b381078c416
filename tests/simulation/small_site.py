"""A small site with every kind of way through the bus, and the generations of its configuration that a reload may bring.

``out``     at the door, decided at the gate: to one partner, to both, into a mailbox, or on to ``inner``
``worked``  at the door, for what is marked so: a step of its own, so it has a lane
``inner``   internal: a step that refuses what is poisoned
``in``      from the feed that is polled, into a mailbox
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from bus.errors import Rejected
from bus.exchange import Exchange
from bus.keys import Keyring
from bus.message import SENDER, SENDER_MESSAGE_ID, Message
from bus.organisations import CodeBook
from bus.retry import RetryPolicy
from bus.route import Branch, Entry, Route
from bus.schemas import Library
from bus.site import Partner, Site
from bus.xpath import XPath

ORGANISATION = "000.00.00.G14"
UNITS = {"unit": "000.00.01.G14", "agency": "000.00.02.G14"}
#: Where a letter may be for: ``to`` in the letter -> pushed endpoints it reaches, "" being the mailbox of its ``owner``.
PLACES: Mapping[str, tuple[str, ...]] = {
    "east": ("east",),
    "west": ("west",),
    "both": ("east", "west"),
    "mailbox": ("",),
    "inner": ("west",),
}
PUSHED = ("east", "west")
MAILBOX, RECEIPTS, DOOR, FEED = "inbox", "receipts", "door", "feed"


def stamped(exchange: Exchange) -> Exchange:
    """A step: the octets that leave are not those that came."""
    return exchange.with_body(exchange.message.body.replace(b"<d>", b"<d n='1'>"), "stamped")


def careful(exchange: Exchange) -> Exchange:
    """A step that refuses what is poisoned."""
    if b"poison" in exchange.message.body:
        raise Rejected("transform-failed", stylesheet="inner.xsl", detail="nothing fits")
    return stamped(exchange)


def letter(sender: str, name: str, to: str, *, owner: str = "", key: str = "", worked: bool = False, words: str = "") -> Message:
    """A letter; ``name`` may be "" (a sender without ids of its own)."""
    body = f"<d><to>{to}</to><owner>{owner}</owner><key>{key}</key><worked>{worked}</worked><words>{words}</words></d>"
    named = {SENDER_MESSAGE_ID: name} if name else {}
    return Message("", {SENDER: sender, **named}, body.encode())


@dataclass(frozen=True)
class Plan:
    """What ``routes.yaml`` would say, but for its adapters. ``generation`` 0 is the whole; others lack something, or do it otherwise."""

    site: Site
    retry: RetryPolicy
    confirm_within: timedelta

    def routes(self, generation: int) -> dict[str, Route]:
        """The routes of one generation."""
        retry, site = self.retry, self.site
        owners = Entry(MAILBOX, XPath("owner"))
        branches = (
            Branch(XPath("to = 'east'"), (Entry("east"),)),
            Branch(XPath("to = 'west'"), (Entry("west"),)),
            Branch(XPath("to = 'both'"), (Entry("east"), Entry("west"))),
            Branch(XPath("to = 'mailbox'"), (owners,)),
            Branch(XPath("to = 'inner'"), (Entry("route:inner"),)),
        )
        key = XPath("string(key)")
        whole = {
            "worked": Route("worked", DOOR, site, XPath("worked = 'True'"), (), (stamped,), branches, (), key, RECEIPTS, retry),
            "out": Route("out", DOOR, site, choose=branches, order_by=key, retry=retry),
            "inner": Route("inner", "", site, steps=(careful,), to=(Entry("west"),), order_by=key, retry=retry),
            "in": Route("in", FEED, site, steps=(stamped,), to=(owners,), retry=retry, confirm_within=self.confirm_within),
        }
        return _CHANGES[generation % len(_CHANGES)](whole)

    def pushed(self, generation: int) -> tuple[str, ...]:
        """The pushed endpoints of one generation."""
        return PUSHED[:1] if generation % len(_CHANGES) == _WITHOUT_WEST else PUSHED


def _without(name: str) -> Callable[[dict[str, Route]], dict[str, Route]]:
    return lambda routes: {each: route for each, route in routes.items() if each != name}


def _receipts_everywhere(routes: dict[str, Route]) -> dict[str, Route]:
    return {name: replace(route, receipts=RECEIPTS) for name, route in routes.items()}


def _same(routes: dict[str, Route]) -> dict[str, Route]:
    return routes


_CHANGES = (_same, _without("inner"), _without("worked"), _same, _receipts_everywhere)
_WITHOUT_WEST = 3


def site(clock: Callable[[], datetime], root: Path) -> Site:
    """A site without files: what routes ask of one."""
    partners = {name: Partner(name, (code,)) for name, code in UNITS.items()}
    return Site(
        root=root,
        organisation=ORGANISATION,
        name="Bộ Thử nghiệm",
        key="own/bus",
        partners=partners,
        keyring=Keyring({}, (), {}),
        library=Library(root),
        organisations=CodeBook(()),
        clock=clock,
        environment={},
    )
