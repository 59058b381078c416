"""What goes into the store and comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from bus.checkpoint import Span
from bus.delivery import Delivery, State
from bus.endpoint import Answer
from bus.errors import Deferred
from bus.message import AUTHENTICATED, CREDENTIAL, RECEIVERS, Message


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

    @property
    def receiver(self) -> str:
        """Whom it is for, as its sender knows it: organisation codes; the owner's name where there are none."""
        return self.message.header(RECEIVERS) or self.owner


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
    headers: str

    @property
    def authenticated(self) -> tuple[str, str]:
        """The organisation that was authenticated at the door, and by what; ("", "") for a message of before that was noted."""
        headers = orjson.loads(self.headers)
        methods = (credential.split()[0] for credential in headers.get(CREDENTIAL, "").split(", ") if credential)
        return headers.get(AUTHENTICATED, ""), ", ".join(methods)

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
    size: int
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


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement about the journal, as it is kept. ``token``: its own time-stamp, made at ``stamped``; b"" and None without one."""

    number: int
    at: datetime
    digest: str
    xml: bytes
    token: bytes = b""
    stamped: datetime | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """That a journal row stands in a checkpoint: RFC 9162 section 2.1.3. ``index``: its place among rows ``first`` to ``last``."""

    number: int
    chain: str
    first: int
    last: int
    index: int
    path: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many rows the tree is over."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Growth:
    """What the next checkpoint is to state: its ``number``, the digest of the one before, and what has been journalled since.

    ``leaves``: of each span, the hashes of its rows. ``more``: there is more than goes into one checkpoint.
    """

    number: int
    previous: str
    spans: tuple[Span, ...]
    leaves: tuple[bytes, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Filled:
    """So many messages and octets: what a mailbox holds, or may."""

    messages: int
    octets: int

    def plus(self, messages: int, octets: int) -> "Filled":
        """With so much more, or less."""
        return Filled(self.messages + messages, self.octets + octets)


#: What a sender is to wait before it sends to a full mailbox again, in seconds.
_EMPTIED_AFTER = 300.0


def full(receivers: Mapping[str, str]) -> Deferred:
    """That these mailboxes are full: 4.2.2. ``receivers``: by owner, what its sender calls it."""
    return Deferred(
        "mailbox-full", retry_after=_EMPTIED_AFTER, receiver=", ".join(sorted(set(receivers.values()))), owners=tuple(sorted(receivers))
    )


class LostClaim(Exception):
    """The claim is no longer ours: its lease ran out and the delivery was claimed, or ended, by someone else. Nothing was changed."""
