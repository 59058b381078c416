"""What goes into the store and comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bus.delivery import Delivery, State
from bus.endpoint import Answer
from bus.message import Message


@dataclass(frozen=True, slots=True)
class Owed:
    """A debt to be recorded: ``message`` (headers and body as they are to be sent) to ``target``, or into ``owner``'s mailbox.

    With ``lease`` it is claimed as it is recorded, unless its order key has it wait: the node that records it works it at once.
    """

    route: str
    target: str
    message: Message
    expires: datetime
    owner: str = ""
    order_key: str = ""
    lease: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The message as receipts and deliveries speak of it: a few columns of its row."""

    id: str
    public_id: str
    document_id: str
    organ: str
    sender: str
    digest: str
    receipts_to: str

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "Subject":
        """The subject in a row of ``messages``."""
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Debt:
    """A delivery as the units that change it see it: the columns they decide on. ``revision`` tells whether it still is so."""

    id: str
    message_id: str
    route: str
    target: str
    owner: str
    order_key: str
    receipt_id: str
    receivers: str
    digest: str
    state: State
    revision: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed delivery with its message; ``original_digest`` is the digest of the message as it was accepted.

    ``debt`` and ``subject`` are the store's own: what it knew when it was claimed, so that it need not ask again when the work is done.
    """

    delivery: Delivery
    message: Message
    original_digest: str
    debt: Debt
    subject: Subject


@dataclass(frozen=True, slots=True)
class Accepted(Answer):
    """The answer to an accepted message, and what of its debts was claimed at once."""

    works: tuple[Work, ...] = ()


class LostClaim(Exception):
    """The claim is no longer ours: its lease ran out and the delivery was claimed, or ended, by someone else. Nothing was changed."""
