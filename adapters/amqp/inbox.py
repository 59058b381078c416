"""The receiving half: a message of the queue is acknowledged when it is on disk here, and answered for if it never will be.

Accepted is acknowledged; refused is journalled and rejected, so that the queue's dead-letter exchange has it. With ``answers`` each of the
two is told there first (and a refusal is then acknowledged: its sender has been told). Whatever may pass (the store is away, a bug of ours)
is tried again here, after growing pauses, with the message unacknowledged: given back to the broker it would come at once, and be counted
towards the queue's delivery limit, which takes innocent messages too. (RabbitMQ itself takes back what is held for its consumer_timeout,
half an hour by default.) A process that dies leaves its messages to the broker, which gives them to the next one: the message-id, or else
the content, makes them the same.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

import orjson
import structlog
from amqp.exceptions import NotFound

from bus import conditions, edxml, lexical
from bus.amqp import Broker, Consumer, Letter, Publisher, Received
from bus.endpoint import Answer, Bus
from bus.errors import BusError, Deferred, Rejected
from bus.message import CONTENT_TYPE, CREDENTIAL, SENDER, SENDER_MESSAGE_ID, Message
from bus.offload import UPKEEP, offload

T = TypeVar("T")

#: A larger body is refused, as at the HTTP door.
_MOST_BODY: Final = 96 << 20
#: Pauses between attempts at one message, in seconds: the first, and the longest.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
#: What is being accepted when the endpoint stops may take so long, in seconds; the rest is the broker's again.
_GRACE: Final = 10.0
#: A queue that we declare sets aside what killed its consumers so often.
_DELIVERY_LIMIT: Final = 20

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Source:
    """Which queue, whose, and where answers go ("" for nowhere)."""

    endpoint: str
    partner: str
    queue: str
    answers: str
    prefetch: int


@dataclass(frozen=True, slots=True)
class _Decision:
    """Whether a message is ours now, and what its sender is told."""

    taken: bool
    answer: Letter


class Inbox:
    """Listens from the moment it is made, on the loop that made it."""

    def __init__(self, source: Source, broker: Broker, bus: Bus) -> None:
        self._source = source
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._working: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._publisher = Publisher(broker) if source.answers else None
        self._consumer = Consumer(broker, declare=self._declare, prefetch=source.prefetch, take=self._take, noted=self._noted)

    async def stop(self) -> None:
        """Finish what is being accepted, begin nothing; returns when no thread and no task is left."""
        self._stopping.set()
        if self._working:
            await asyncio.wait(self._working, timeout=_GRACE)
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        await UPKEEP.run(self._consumer.stop)
        if self._publisher is not None:
            await UPKEEP.run(self._publisher.stop)

    # --- in the consumer's thread -----------------------------------------------------------------------------------

    def _declare(self, link: Any) -> str:
        """The queue as it is; or, if there is none, a quorum queue with a place for what was refused."""
        name, aside = self._source.queue, f"{self._source.queue}.dead"
        try:
            link.channel().queue_declare(name, passive=True)
        except NotFound:
            quorum = {"x-queue-type": "quorum"}
            dead = {"x-delivery-limit": _DELIVERY_LIMIT, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": aside}
            channel = link.channel()
            channel.queue_declare(aside, durable=True, auto_delete=False, arguments=quorum)
            channel.queue_declare(name, durable=True, auto_delete=False, arguments={**quorum, **dead})
        return name

    def _take(self, received: Received) -> None:
        self._loop.call_soon_threadsafe(self._begin, received)

    def _noted(self, error: BusError | None) -> None:
        self._loop.call_soon_threadsafe(self._note, error)

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _begin(self, received: Received) -> None:
        if not self._stopping.is_set():
            task = asyncio.create_task(self._work(received))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _work(self, received: Received) -> None:
        decision = await self._persist(received, lambda: self._decide(received))
        if decision is None:
            return
        publisher = self._publisher
        if publisher is not None:
            told = await self._persist(received, lambda: self._tell(publisher, decision.answer))
            if not told:
                return
        received.settle(decision.taken or publisher is not None)

    async def _persist(self, received: Received, attempt: Callable[[], Awaitable[T]]) -> T | None:
        """What ``attempt`` gives, once it gives something; None when we stop before, or the broker has taken the message back."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set() and not received.lost.is_set():
            try:
                result = await attempt()
            except Deferred as error:
                self._note(error)
            except Exception as error:  # noqa: BLE001 - a bug of ours must cost neither the message nor the queue behind it
                _log.exception("amqp.item-failed", endpoint=self._source.endpoint)
                self._note(Deferred("bus-error", reference=type(error).__name__))
            else:
                self._note(None)
                return result
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return None

    async def _decide(self, received: Received) -> _Decision:
        """Accepted, or refused and journalled. Raises Deferred."""
        known_as = received.properties.get("message_id") or ""
        try:
            answer = await self._accept(received.body, known_as)
        except Rejected as error:
            reference = await self._bus.refuse(self._source.endpoint, self._source.partner, error, sha256(received.body).hexdigest())
            return _Decision(False, _refusal(error, reference, self._source.answers, known_as))
        return _Decision(True, _receipt(answer, self._source.answers, known_as))

    async def _accept(self, body: bytes, known_as: str) -> Answer:
        if len(body) > _MOST_BODY:
            raise Rejected("xml-limit", limit="bytes", value=len(body), most=_MOST_BODY)
        try:
            sender_id = lexical.identifier(known_as) if known_as else ""
        except ValueError:
            raise Rejected("parameter-invalid", name="message-id", value=ascii(known_as)) from None
        described = await offload(len(body), lambda: edxml.describe(edxml.parse(body)))
        headers = {**described, CONTENT_TYPE: "application/xml", SENDER: self._source.partner, CREDENTIAL: "amqp"}
        if sender_id:
            headers[SENDER_MESSAGE_ID] = sender_id
        return await self._bus.accept(self._source.endpoint, Message("", headers, body))

    @staticmethod
    async def _tell(publisher: Publisher, answer: Letter) -> bool:
        try:
            await asyncio.wrap_future(publisher.publish(answer))
        except Rejected as error:
            # No answer of ours is too large for a broker; if this one says so, an operator may yet change that.
            raise Deferred("partner-postponed", target=answer.routing_key, detail=error.reason("en")) from error
        return True

    def _note(self, error: BusError | None) -> None:
        """A trouble with the queue, told when it begins and when it is over, not each time."""
        where = self._source.endpoint
        if error is None:
            conditions.close(conditions.FETCHING, where)
        else:
            conditions.open(conditions.FETCHING, where, error.reasons, endpoint=where, queue=self._source.queue, code=error.code)


def _receipt(answer: Answer, queue: str, known_as: str) -> Letter:
    receipt = answer.receipt
    headers = {"kind": "receipt", "status": str(receipt.status), "code": receipt.code, "sha-256": receipt.digest}
    return Letter(answer.xml, "", queue, receipt.id, known_as, "application/xml", headers)


def _refusal(error: Rejected, reference: str, queue: str, known_as: str) -> Letter:
    said = {"code": error.code, "reasons": dict(error.reasons), "at": error.at, "reference": reference, "message-id": known_as}
    headers = {"kind": "refusal", "code": error.code}
    return Letter(orjson.dumps(said), "", queue, reference, known_as, "application/json", headers)
