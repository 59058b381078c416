"""What goes into the store and comes out of it."""

from dataclasses import dataclass
from datetime import datetime

from bus.delivery import Delivery
from bus.message import Message


@dataclass(frozen=True, slots=True)
class Owed:
    """A debt to be recorded: ``message`` (headers and body as they are to be sent) to ``target``, or into ``owner``'s mailbox."""

    route: str
    target: str
    message: Message
    expires: datetime
    owner: str = ""
    order_key: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """A claimed delivery with its message; ``original_digest`` is the digest of the message as it was accepted."""

    delivery: Delivery
    message: Message
    original_digest: str


class LostClaim(Exception):
    """The claim is no longer ours: its lease ran out and the delivery was claimed, or ended, by someone else. Nothing was changed."""
