"""Where each of the two buses is killed, and what must be done so that it comes there. The table is checked against ``bus.points``."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Cue(StrEnum):
    """What brings a daemon to a point."""

    LOAD = "load"  # the post
    FRESH = "fresh"  # a start on a database without tables
    START = "start"
    RELOAD = "reload"  # SIGHUP
    DRAIN = "drain"  # SIGTERM
    CLOCK = "clock"  # nothing: the driver kills it at a moment that nobody chose


@dataclass(frozen=True, slots=True)
class Shot:
    """One kill: of which bus, at which visit (see ``crash_runner``); at its n-th time, n from 1 to ``most``."""

    node: str
    visit: str
    cue: Cue = Cue.LOAD
    most: int = 1

    @property
    def way(self) -> str:
        """The way of a document (see ``crash_post``) that brings a bus to this point, where few do."""
        return _WAYS.get(self.visit.split()[-1], "")


#: Kinds of transaction, by the unit's name in ``bus/store``, and the buses that have them under load. ``several`` is not a kind: a
#: transaction in which more than one unit had something to do, each with a caller of its own.
KINDS: dict[str, tuple[str, ...]] = {
    "accept": ("ministry", "hub"),
    "refuse": ("ministry",),
    "claim": ("ministry",),
    "routed": ("ministry", "hub"),
    "finish": ("ministry",),
    "defer": ("ministry",),
    "bury": ("ministry",),
    "fetch": ("ministry", "hub"),
    "confirm": ("ministry", "hub"),
    "resend": ("ministry",),
    "cancel": ("ministry",),
    "sealed": ("ministry", "hub"),
    "stamped": ("ministry",),
    "several": ("ministry",),
}
#: Kinds that a life has only at a start; and those that it has not: what takes days (``expire``, ``alarm``), and what operators do to
#: the store as a whole (``note``, ``rename``), which has tests of its own; what an upgrade leaves to be filled in (``fill_some``); and what
#: a broken stylesheet leaves behind at give-up (``hold``), what writes only to show that it can (``prove``), passwords (``use``: nobody
#: in a life has one; tests/bugs/test_once.py), and what a program of before did not count (``recount``: tests/bugs/test_quotas.py).
AT_START = {"release": ("ministry",), "take": ("ministry",)}
NOT_IN_A_LIFE = {"expire", "alarm", "note", "fill_some", "rename", "hold", "prove", "use", "recount"}

#: Points that no daemon comes to, but a command: tests/bugs/test_restore.py kills it at each.
BY_HAND = {"restore.marked", "restore.added", "restore.aside", "restore.placed"}

#: What takes a document of a certain kind to come to.
_WAYS = {
    "lane.failed": "postponed",
    "defer": "postponed",
    "bury": "refused",
    "cancel": "refused",
    "resend": "pardoned",
    "refuse": "invalid",
    "blob.written": "large",
    "blob.renamed": "large",
}
#: Points that the post brings a bus to, with the buses and how often they may be passed before the kill.
_UNDER_LOAD: dict[str, tuple[tuple[str, ...], int]] = {
    "edge.received": (("ministry", "hub"), 20),
    "accept.admitted": (("ministry", "hub"), 8),
    "accept.stored": (("ministry", "hub"), 8),
    "edge.answering": (("ministry", "hub"), 20),
    "edge.answered": (("ministry", "hub"), 20),
    "blob.written": (("ministry",), 2),
    "blob.renamed": (("ministry",), 2),
    "lane.claimed": (("ministry", "hub"), 8),
    "lane.processed": (("ministry", "hub"), 4),
    "lane.sent": (("ministry",), 6),
    "lane.finished": (("ministry",), 6),
    "lane.failed": (("ministry",), 1),
    "checkpoint.signed": (("ministry", "hub"), 3),
    "timestamp.fetched": (("ministry",), 2),
    "poller.fetched": (("ministry",), 3),
    "poller.accepted": (("ministry",), 3),
    "poller.reported": (("ministry",), 3),
}
_MOST_OF_KIND = {"accept": 8, "claim": 8, "fetch": 8, "confirm": 8, "finish": 6, "routed": 4, "several": 4}
_AT_START = ("start.begun", "start.released", "start.open")
_AT_RELOAD = ("reload.loaded", "reload.swapped", "reload.started", "reload.done")
_AT_DRAIN = ("drain.begun", "drain.adapters-stopped", "drain.ended")
#: In place of a visit, where the kill comes from outside.
ANY_MOMENT = "any moment"
_FRESH = ("migrate.begun", "migrate.upgraded")
_SIDES = ("store.before-commit", "store.after-commit")


def _shots() -> Iterator[Shot]:
    for node in ("ministry", "hub"):
        yield from (Shot(node, visit, Cue.FRESH) for visit in _FRESH)
    for visit, (nodes, most) in _UNDER_LOAD.items():
        yield from (Shot(node, visit, Cue.LOAD, most) for node in nodes)
    for kind, nodes in KINDS.items():
        yield from (Shot(node, f"{side} {kind}", Cue.LOAD, _MOST_OF_KIND.get(kind, 1)) for side in _SIDES for node in nodes)
    for kind, nodes in AT_START.items():
        yield from (Shot(node, f"{side} {kind}", Cue.START) for side in _SIDES for node in nodes)
    yield from (Shot(node, ANY_MOMENT, Cue.CLOCK) for node in ("ministry", "hub"))
    for cue, visits in ((Cue.START, _AT_START), (Cue.RELOAD, _AT_RELOAD), (Cue.DRAIN, _AT_DRAIN)):
        yield from (Shot(node, visit, cue) for visit in visits for node in ("ministry", "hub"))


SHOTS: tuple[Shot, ...] = tuple(_shots())
