"""The contracts between the machine and its channel adapters (EIP *Channel Adapter*, *Messaging Gateway*).

``adapters/<name>.py`` is ``<name>:`` in routes.yaml. The module defines

``Options``    a pydantic model: the keys under ``<name>:``; its field descriptions are the documentation
``Adapter``    a class with the shape below; its docstring is the documentation; ``features`` says what it can do

An adapter never touches the store: it hands messages to the ``Bus`` it was started with, and is handed messages to send.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from bus.errors import BusError
from bus.message import Message
from bus.octets import Body
from bus.options import PushOptions
from bus.organisations import Organisation
from bus.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bus answers to an accepted or confirmed message: the receipt and its signed XML. It is on disk already."""

    receipt: Receipt
    xml: bytes
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """One entry of a mailbox listing. ``message_id`` is the id to fetch and confirm by."""

    message_id: str
    document_id: str
    from_organ: str
    subject: str
    kind: str
    received_at: datetime
    size: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A mailbox message's octets and their SHA-256 (lower-case hex)."""

    message_id: str
    kind: str
    body: Body
    digest: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A push the partner took: SHA-256 of the octets that left, and the partner's reply, kept as the proof of delivery."""

    digest: str
    reply: bytes = b""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What proves who sent a message: the request with its sender's signature, octet for octet as it came in, and its Content-Type."""

    body: Body
    content_type: str


class Bus(Protocol):
    """What the machine offers to an adapter. Every method raises Rejected or Deferred and nothing else."""

    async def accept(self, endpoint: str, message: Message, request: SignedRequest | None = None) -> Answer:
        """Take responsibility for ``message``: gate, then durable storage, then the signed receipt. D2 and D3.

        ``request``: what it came in, where that bears its sender's signature; it is kept with the message.
        """

    async def refuse(self, endpoint: str, partner: str, error: Exception, digest: str) -> str:
        """Journal a refusal that happened before there was a message; returns the reference to put in the fault."""

    def turn(self, partner: str) -> None:
        """Count one request of a partner that was identified, at whichever door. Deferred 4.3.2 when it calls more often than it may."""

    async def once(self, partner: str, digest: str, until: datetime) -> None:
        """Use up what counts once for the whole site, such as a nonce, by its SHA-256. Rejected 5.7.9 when it was used before."""

    async def pending(self, partner: str, limit: int, kinds: Sequence[str] = ()) -> Sequence[Pending]:
        """The partner's mailbox, oldest first, documents and statuses before receipts; all kinds when ``kinds`` is empty."""

    async def fetch(self, partner: str, message_id: str) -> Fetched:
        """One message of the partner's mailbox; the first fetch writes a FETCHED receipt. Unknown or another's: Rejected 5.2.1."""

    async def confirm(self, partner: str, message_id: str, done: bool, reason: str = "", request: SignedRequest | None = None) -> Answer:
        """End a mailbox delivery: CONFIRMED, or REJECTED with the partner's reason. Repeating it gives the first answer.

        ``request``: what it was said in, where the partner signed that; it is kept with the receipt.
        """

    async def receipts(self, partner: str, message_id: str) -> Sequence[bytes]:
        """Signed receipts (XML) of a message this partner sent, or those that name it as receiver; oldest first."""

    def organisations(self, changed_since: date | None = None) -> Sequence[Organisation]:
        """The code book."""

    async def known(self, endpoint: str, partner: str, sender_message_id: str) -> bool:
        """Whether a message that this partner knows by this id already came in at this endpoint (a poller need not fetch it again)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as an adapter sees it: read whole, bounded in size. Header names are lower-case.

    ``refusal`` is set, and the body empty, where the edge itself would not take the body (over the size limit, or too many bytes
    in flight): the adapter answers it in its own protocol, as it would any other error.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    base_url: str
    peer_certificate: bytes | None = None
    refusal: BusError | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a Request; ``headers`` beside Content-Type and Content-Length."""

    status: int
    content_type: str
    body: Body
    headers: tuple[tuple[str, str], ...] = ()


#: An HTTP door: mounted at a path by ``bus/http.py``, which owns the server, its limits and its TLS.
Door = Callable[[Request], Awaitable[Response]]
#: A page of the daemon's own, such as ``/healthz``.
Page = Callable[[], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Features:
    """What an adapter declares, and its contract suite then demands; ``lane``: how what it sends is to be worked; ``calls``: the partner
    that it sends to; ``relays``: what it takes in is usually what others wrote.
    """

    accepts: bool = False
    sends: bool = False
    mailbox: bool = False
    lane: PushOptions = field(default_factory=PushOptions)
    calls: str = ""
    relays: bool = False


class Adapter(Protocol):
    """A channel adapter: ``Adapter(name, options, site)``."""

    #: On the class, all the adapter can do; on an instance, what this endpoint can do by the side it takes.
    features: Features
    name: str

    def doors(self) -> Sequence[tuple[str, Door]]:
        """HTTP path prefixes this endpoint answers, such as ``/soap/documents``."""

    async def start(self, bus: Bus) -> None:
        """Begin taking messages in: keep ``bus``, start pollers. Returns at once."""

    async def stop(self) -> None:
        """Stop pollers, close connections; returns when nothing of this adapter runs any more."""

    async def send(self, message: Message) -> Sent:
        """Deliver to the partner, once; Deferred when it may work later, Rejected when it never will."""
