"""Reconciling: what partners hold, signed by us, against what the store knows. After a restore it tells what was lost since the backup.

A receipt proves itself by our signature; so a statement that we made, and no longer remember, is recognised, and says which message it
was about, what became of it, and when.
"""

from dataclasses import dataclass
from enum import StrEnum

from bus.errors import Rejected
from bus.evidence import Evidence
from bus.receipt import Receipt, Status
from bus.store import Store
from bus.store.tables import is_held


class Verdict(StrEnum):
    """What a receipt is to the store."""

    KNOWN = "known"
    #: We said it; the store knows the message, not the receipt: what was held at the restore may have been done already.
    FORGOTTEN = "forgotten"
    #: It is about a message that was pruned: the archive has it.
    ARCHIVED = "archived"
    #: We said it; the store does not know the message: its sender must hand it in again.
    LOST = "lost"
    #: The store's receipt with this id says something else: one of the two is forged.
    DIFFERS = "differs"
    #: Not signed by this site, or no receipt.
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """``receipt`` is None for what is none of ours; then ``reason`` says why (by language)."""

    verdict: Verdict
    receipt: Receipt | None = None
    reason: Rejected | None = None
    deliveries: tuple[str, ...] = ()


def judge(store: Store, evidence: Evidence, xml: bytes) -> Reconciled:
    """What one receipt is to the store. ``deliveries``: what the store still holds back of its message."""
    try:
        receipt = evidence.read(xml)
    except Rejected as error:
        return Reconciled(Verdict.FOREIGN, reason=error)
    stories = [story for story in store.show(receipt.message_id) if story.message["digest"] == receipt.digest]
    same = [row for story in stories for row in story.receipts if row["id"] == receipt.id]
    if same:
        says = (same[0]["status"], same[0]["code"], same[0]["previous"])
        return Reconciled(Verdict.KNOWN if says == (receipt.status, receipt.code, receipt.previous) else Verdict.DIFFERS, receipt)
    if not stories:
        archived = store.archived(receipt.message_id, receipt.digest)
        return Reconciled(Verdict.ARCHIVED if archived else Verdict.LOST, receipt)
    held = [row["id"] for story in stories for row in story.deliveries if is_held(row["state"], row["due"])]
    return Reconciled(Verdict.FORGOTTEN, receipt, deliveries=tuple(held) if receipt.status is not Status.ACCEPTED else ())
