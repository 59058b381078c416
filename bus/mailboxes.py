"""Mailboxes that fill up: operators are told while there is time, and when one is full (conditions), and how full each is (gauges).

``mailbox-filling``   from WARNED of its quota on; over when there is less
``mailbox-full``      when nothing more went in, or nothing more can; over when there is less than WARNED again
"""

from collections.abc import Iterable
from typing import Final

from bus import conditions, metrics
from bus.errors import LANGUAGES, BusError, text
from bus.store import Fill

#: The share of a quota from which on operators are told.
WARNED: Final = 0.8
_FULL: Final = "mailbox-full"


def look(fills: Iterable[Fill]) -> None:
    """What fills up, or does no longer, as the store has counted it."""
    for fill in fills:
        if fill.share < WARNED:
            conditions.close(conditions.MAILBOX_FULL, fill.owner)
            conditions.close(conditions.MAILBOX_FILLING, fill.owner)
            continue
        conditions.open(conditions.MAILBOX_FILLING, fill.owner, _reasons(fill), partner=fill.owner)
        if fill.share >= 1.0:
            conditions.open(conditions.MAILBOX_FULL, fill.owner, _reasons(fill), partner=fill.owner)


def refused(error: Exception) -> None:
    """A message did not go into a mailbox, whoever was told: the sender at the door, or nobody but the log."""
    if isinstance(error, BusError) and error.key == _FULL:
        for owner in error.values["owners"]:  # type: ignore[attr-defined]
            conditions.open(conditions.MAILBOX_FULL, owner, error.reasons, partner=owner)


def tell(fills: Iterable[Fill]) -> None:
    """The gauges: of every mailbox there is, also an empty one."""
    known = list(fills)
    metrics.MAILBOX_MESSAGES.tell({(fill.owner,): float(fill.messages) for fill in known})
    metrics.MAILBOX_BYTES.tell({(fill.owner,): float(fill.octets) for fill in known})
    metrics.MAILBOX_SHARE.tell({(fill.owner,): fill.share for fill in known})


def _reasons(fill: Fill) -> dict[str, str]:
    values = {
        "partner": fill.owner,
        "share": int(100 * fill.share),
        "messages": fill.messages,
        "most_messages": fill.quota.messages,
        "octets": fill.octets,
        "most_octets": fill.quota.octets,
    }
    return {language: text("mailbox-filling", language, **values) for language in LANGUAGES}
