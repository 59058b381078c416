"""Conditions: what needs a person's attention for as long as it lasts. Opened once, closed once.

``open`` says so in the log (``alarm.…``, in Vietnamese and English) when a condition begins, sets ``govbus_condition{key,about}`` to 1, and
names it in the operators' ``/readyz``; while it lasts, opening it again only brings its reason up to date. ``close`` says in the log how
long it lasted, and sets the gauge to 0. Of several workers the first that notices tells, and the last that is rid of it.

``about`` is a name from routes.yaml, never an id: there are few of them. Any thread may open and close.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import structlog

from bus import log, metrics
from bus.errors import LANGUAGES, text

PARTNER_DOWN: Final = "partner-down"
PARTNER_TROUBLE: Final = "partner-trouble"
FETCHING: Final = "fetching-trouble"
ROUTE_FAILS: Final = "route-fails"
BURIED: Final = "buried"
STORE: Final = "store-unavailable"
TOKEN: Final = "token-unavailable"  # noqa: S105 - a condition
REVOCATION: Final = "revocation-unavailable"
TIMESTAMPS: Final = "timestamps-stale"
MAILBOX_FILLING: Final = "mailbox-filling"
MAILBOX_FULL: Final = "mailbox-full"

#: Seconds without another one after which burials are over.
BURIED_QUIET: Final = 900.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of condition: its events in the log, and how bad it is.

    ``stops``: nothing is accepted while it lasts. ``shown``: its name in ``/readyz``.
    """

    opened: str
    closed: str
    severity: str = "warning"
    stops: bool = False
    shown: str = ""


#: Every kind; names of events that are older than this table stay as they were.
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        PARTNER_DOWN: Kind(log.PARTNER_DOWN, log.PARTNER_BACK),
        PARTNER_TROUBLE: Kind(log.PARTNER_TROUBLE, log.PARTNER_WELL),
        FETCHING: Kind(log.FETCHING_FAILS, log.FETCHING_WORKS),
        ROUTE_FAILS: Kind(log.ROUTE_FAILS, log.ROUTE_WORKS, "critical"),
        BURIED: Kind(log.BURIALS, log.BURIALS_OVER),
        STORE: Kind(log.STORE_UNAVAILABLE, log.STORE_BACK, "critical", stops=True),
        TOKEN: Kind(log.TOKEN_DOWN, log.TOKEN_BACK, "critical", stops=True),
        REVOCATION: Kind(log.REVOCATION_DOWN, log.REVOCATION_BACK, shown="revocation"),
        MAILBOX_FILLING: Kind(log.MAILBOX_FILLING, log.MAILBOX_FILLING_OVER),
        MAILBOX_FULL: Kind(log.MAILBOX_FULL, log.MAILBOX_FULL_OVER, "critical"),
        TIMESTAMPS: Kind(log.TIMESTAMPS_STALE, log.TIMESTAMPS_BACK, "critical", stops=True),
    }
)


@dataclass(slots=True)
class _Open:
    since: float
    last: float
    reasons: Mapping[str, str]
    fields: Mapping[str, object] = field(default_factory=dict)


_log = structlog.get_logger()
_lock = threading.Lock()
_standing: dict[tuple[str, str], _Open] = {}


def open(key: str, about: str, reasons: Mapping[str, str], **fields: object) -> None:  # noqa: A001 - what a condition is
    """It begins, or lasts. ``reasons``: why, by language; ``fields``: what else the log is to hold, both times."""
    now = time.monotonic()
    with _lock:
        known = _standing.get((key, about))
        if known is not None:
            known.last, known.reasons = now, reasons
            return
        _standing[key, about] = _Open(now, now, reasons, fields)
    news = not metrics.elsewhere(metrics.CONDITION, key, about)
    metrics.CONDITION.labels(key, about).set(1)
    if news:
        kind = KINDS[key]
        words = {language: reasons.get(language, "") for language in LANGUAGES}
        _log.error(kind.opened, severity=kind.severity, about=about, **{"reason": words["en"], **fields, **words})


def close(key: str, about: str, *, quiet: float = 0.0) -> None:
    """It is over; unless it was opened again less than ``quiet`` seconds ago. Closing what is not open does nothing."""
    now = time.monotonic()
    with _lock:
        known = _standing.get((key, about))
        if known is None or now - known.last < quiet:
            return
        del _standing[key, about]
    metrics.CONDITION.labels(key, about).set(0)
    if not metrics.elsewhere(metrics.CONDITION, key, about):
        _log.info(KINDS[key].closed, about=about, **{"seconds": round(now - known.since, 1), **known.fields})


def is_open(key: str, about: str) -> bool:
    """Whether it lasts, as far as this process knows."""
    return (key, about) in _standing


def about(key: str) -> list[str]:
    """What a kind of condition is open about in this process."""
    with _lock:
        return [name for other, name in _standing if other == key]


def keep(key: str, known: Iterable[str]) -> None:
    """Close what is about names that are not ``known`` any more: a reload has removed them."""
    names = frozenset(known)
    for name in about(key):
        if name not in names:
            close(key, name)


def close_quiet(key: str, quiet: float) -> None:
    """Close all of a kind that were not opened again for ``quiet`` seconds."""
    for name in about(key):
        close(key, name, quiet=quiet)


def standing(language: str) -> dict[str, str]:
    """What lasts, of all workers, and does not stop acceptance, as ``{"<kind> <about>": reason}``: what does is looked at by itself.

    A reason that only another worker knows is said in general words.
    """
    found = {}
    for (key, name), value in metrics.standing(metrics.CONDITION).items():
        kind, mine = KINDS[key], _standing.get((key, name))
        if value and not kind.stops:
            words = mine.reasons.get(language, "") if mine else text("condition-elsewhere", language, event=kind.opened)
            found[f"{kind.shown or key} {name}"] = words
    return found


def forget() -> None:
    """Nothing is open: for tests, which share a process."""
    with _lock:
        _standing.clear()
    metrics.CONDITION.clear()
