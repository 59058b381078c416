"""The post of the crash suite: parties that never give up, and what each of them holds in the end.

Two units and the Government Office's desk send without end; each repeats what was not answered, with the same id, until it holds the
answer. Readers empty the mailboxes and repeat what was not answered. An operator looks after what the agency refused. All of them note
what they were promised and what they got; ``findings`` compares the two. None of it comes from the bus's own records.
"""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from crash_agency import PARDONED, POSTPONED, REFUSED, Agency
from crash_nodes import Node

from bus.errors import Deferred, Rejected
from bus.message import KIND_RECEIPT
from bus.receipt import Receipt, Status
from sandbox import documents
from sandbox.demo import connect_unit
from sandbox.documents import GOVERNMENT_OFFICE, PARTNER_AGENCY, Party
from sandbox.government_office import Desk
from sandbox.ledger import Key, Ledger
from sandbox.programme import UNITS
from sandbox.sites import Sites
from sandbox.unit import Unit

#: What a sender pauses between two documents, and a client before it repeats what was put off or looks again, seconds.
PACE = 0.1
PAUSE = 0.1
#: While so much has not arrived, or has not all of its receipts, nobody sends more: the post keeps pace with the machine.
MOST_UNSETTLED = 20
#: A client that still has no answer after this time gives up, which is a finding.
PATIENCE = 120.0
#: Ways a unit's document goes, by weight.
WAYS = {"office": 3, "agency": 3, "pardoned": 1, "refused": 1, "postponed": 1, "unit": 2, "statuses": 2, "large": 1, "invalid": 1}
#: Share of a unit's documents that go the way that is wanted, where one is.
WANTED_SHARE = 0.5
STATUSES = ("01", "03", "04", "06")
LARGE = 300_000

T = TypeVar("T")


@dataclass(slots=True)
class Promise:
    """A message a unit holds a receipt for: the receipt's id, and how many receipts of which status it must end with."""

    unit: str
    message_id: str
    receipt: str
    statuses: Counter[str]


@dataclass(slots=True)
class Book:
    """What everybody was promised and got."""

    ledger: Ledger = field(default_factory=Ledger)
    promises: dict[str, Promise] = field(default_factory=dict)
    receipts: defaultdict[str, dict[str, Status]] = field(default_factory=lambda: defaultdict(dict))
    orders: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    _expected: set[Key] = field(default_factory=set)
    _open: set[str] = field(default_factory=set)

    def expect(self, place: str, body: bytes) -> None:
        """A document is about to be handed in that must arrive at ``place`` once."""
        self.ledger.expect(place, body)
        self._expected.add(next(reversed(self.ledger.expected)))

    def promise(self, promise: Promise) -> None:
        """A unit holds the first receipt for its message."""
        self.promises[promise.message_id] = promise
        self._open.add(promise.message_id)

    def note(self, receipt: Receipt) -> None:
        """A receipt that a unit holds."""
        self.receipts[receipt.message_id][receipt.id] = receipt.status

    def unsettled(self) -> int:
        """How many documents have not arrived, and how many messages have not all of their receipts."""
        self._expected = {key for key in self._expected if not self.ledger.arrived[key]}
        self._open = {each for each in self._open if self._owed(self.promises[each])}
        return len(self._expected) + len(self._open)

    def missing(self) -> Iterator[str]:
        """Receipts that were owed and are not there."""
        for promise in self.promises.values():
            yield from (f"{promise.message_id}: no receipt {status}" for status in self._owed(promise))

    def _owed(self, promise: Promise) -> Counter[str]:
        return promise.statuses - Counter(map(str, self.receipts[promise.message_id].values()))

    def surplus(self) -> Iterator[str]:
        """Receipts that state what did not happen, or state it twice."""
        for promise in self.promises.values():
            held = Counter(map(str, self.receipts[promise.message_id].values()))
            yield from (f"{promise.message_id}: a receipt {status} too many" for status in held - promise.statuses)
            if promise.receipt not in self.receipts[promise.message_id]:
                yield f"{promise.message_id}: the receipt the sender was answered with, {promise.receipt}, is not among its receipts"


class Post:
    """Everybody around the two buses of a life."""

    def __init__(self, made: Sites, agency: Agency, book: Book, seed: int) -> None:
        self.sending = True
        #: One of WAYS, while somebody waits for what only it brings about.
        self.wanted = ""
        self.book = book
        self._made = made
        self._agency = agency
        self._rng = random.Random(seed)
        self._numbers = itertools.count(1)
        self._seen: set[tuple[str, str]] = set()
        self._confirmed: set[tuple[str, str]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._senders: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def at_work(self, ministry: Node) -> AsyncIterator[None]:
        """Everybody works; an error of one of them ends the block with it."""
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            units = [await stack.enter_async_context(connect_unit(self._made, party)) for party in UNITS]
            hub = f"http://127.0.0.1:{self._made.ports['hub']}/vxp/exchange"
            desk = await stack.enter_async_context(Desk(hub, self._made.desk_secret, lambda: datetime.now(UTC)))
            self._units = dict(zip((party.code for party in UNITS), units, strict=True))
            self._senders = [group.create_task(self._send(party, unit)) for party, unit in zip(UNITS, units, strict=True) for _ in range(2)]
            self._senders.append(group.create_task(self._send_from_office(desk)))
            readers = [group.create_task(self._read(unit)) for unit in units]
            readers += [group.create_task(self._read_desk(desk)), group.create_task(self._operate(ministry))]
            try:
                yield
            finally:
                for task in (*self._senders, *readers):
                    task.cancel()

    # --- senders ------------------------------------------------------------------------------------------------------

    async def rest(self) -> None:
        """No new documents; what is being sent is sent to its end."""
        self.sending = False
        await asyncio.gather(*self._senders)

    async def _send(self, party: Party, unit: Unit) -> None:
        other = next(each for each in UNITS if each is not party)
        fetched = (Status.ACCEPTED, Status.FETCHED, Status.CONFIRMED)
        delivered = (Status.ACCEPTED, Status.DELIVERED)
        ways = {
            "office": self._to(GOVERNMENT_OFFICE, delivered),
            "agency": self._to(PARTNER_AGENCY, delivered),
            "pardoned": self._to(PARTNER_AGENCY, (Status.ACCEPTED, Status.REJECTED, Status.DELIVERED), digit=PARDONED),
            "refused": self._to(PARTNER_AGENCY, (Status.ACCEPTED, Status.REJECTED, Status.CANCELLED), digit=REFUSED),
            "postponed": self._to(PARTNER_AGENCY, delivered, digit=POSTPONED),
            "unit": self._to(other, fetched),
            "statuses": self._statuses,
            "large": self._to(PARTNER_AGENCY, delivered, size=LARGE),
            "invalid": self._invalid,
        }
        while await self._may_send():
            [way] = self._rng.choices(list(WAYS), list(WAYS.values()))
            wanted = self.wanted if self._rng.random() < WANTED_SHARE else ""
            await ways[wanted or way](party, unit, next(self._numbers))

    async def _may_send(self) -> bool:
        await asyncio.sleep(PACE)
        while self.sending and self.book.unsettled() >= MOST_UNSETTLED:
            await asyncio.sleep(PAUSE)
        return self.sending

    def _to(
        self, receiver: Party, statuses: Sequence[Status], *, digit: str = "0", size: int = 5_000
    ) -> Callable[[Party, Unit, int], Awaitable[None]]:
        async def send(party: Party, unit: Unit, number: int) -> None:
            body = documents.make(size=size, seed=number, sender=party, receivers=(receiver,), number=int(f"{number}{digit}"))
            if digit != REFUSED:
                self.book.expect(receiver.code, body)
            await self._hand_in(unit, f"{party.notation}-{number}", body, statuses)

        return send

    async def _statuses(self, party: Party, unit: Unit, number: int) -> None:
        """What a unit reports about a document of the agency's, one report after the other: they must arrive in that order."""
        about = documents.document(seed=number, sender=PARTNER_AGENCY, receivers=(party,), number=number)
        for code in STATUSES:
            body = documents.make_status(code, about, party)
            self.book.expect(PARTNER_AGENCY.code, body)
            await self._hand_in(unit, f"{party.notation}-{number}-{code}", body, (Status.ACCEPTED, Status.DELIVERED))
            self.book.orders[about.header.document_id].append(code)

    async def _invalid(self, party: Party, unit: Unit, number: int) -> None:
        try:
            await persist(lambda: unit.send(documents.invalid("no subject", seed=number), f"{party.notation}-{number}"))
        except Rejected:
            return
        self.book.wrong.append(f"{party.notation}-{number}: has no subject and was accepted")

    async def _hand_in(self, unit: Unit, message_id: str, body: bytes, statuses: Sequence[Status]) -> None:
        receipt = await persist(lambda: unit.send(body, message_id))
        again = await persist(lambda: unit.send(body, message_id)) if self._rng.random() < 0.1 else receipt
        if again.id != receipt.id:
            self.book.wrong.append(f"{message_id}: sent again, it got another receipt")
        self.book.promise(Promise(unit.organ, message_id, receipt.id, Counter(map(str, statuses))))

    async def _send_from_office(self, desk: Desk) -> None:
        while await self._may_send():
            number = next(self._numbers)
            receiver = self._rng.choice(UNITS)
            body = documents.make(size=5_000, seed=number, sender=GOVERNMENT_OFFICE, receivers=(receiver,), number=number)
            self.book.expect(receiver.code, body)
            await persist(lambda body=body: desk.send(body))

    # --- readers ------------------------------------------------------------------------------------------------------

    async def _read(self, unit: Unit) -> None:
        while True:
            for entry in await persist(lambda: unit.pending(50)):
                fetched = await persist(lambda entry=entry: unit.fetch(entry.message_id))
                if self._new(unit.organ, entry.message_id):
                    self._keep(unit, entry.kind, fetched.body)
                await persist(lambda entry=entry: unit.confirm(entry.message_id))
                self._confirmed.add((unit.organ, entry.message_id))
            await asyncio.sleep(PAUSE)

    def _keep(self, unit: Unit, kind: str, body: bytes) -> None:
        if kind == KIND_RECEIPT:
            receipt = unit.read_receipt(body)
            self.book.note(receipt)
            if receipt.status is Status.REJECTED:
                self.book.refused.append((receipt.message_id, receipt.document_id))
        else:
            self.book.ledger.arrive(unit.organ, body)

    async def _read_desk(self, desk: Desk) -> None:
        while True:
            with contextlib.suppress(Deferred):
                async for letter in desk.waiting():
                    if self._new(GOVERNMENT_OFFICE.code, letter.doc_id):
                        self.book.ledger.arrive(GOVERNMENT_OFFICE.code, letter.body)
                    await persist(lambda letter=letter: desk.confirm(letter))
                    self._confirmed.add((GOVERNMENT_OFFICE.code, letter.doc_id))
            await asyncio.sleep(PAUSE)

    def _new(self, place: str, entry: str) -> bool:
        if (place, entry) in self._confirmed:
            self.book.wrong.append(f"{place}: {entry} is offered again after its confirmation was answered")
        known = (place, entry) in self._seen
        self._seen.add((place, entry))
        return not known

    # --- the operator ---------------------------------------------------------------------------------------------------

    async def _operate(self, ministry: Node) -> None:
        """Resend what the agency will take next time, cancel what it never will; a command that was killed is typed again."""
        while True:
            for message_id, document_id in self.book.refused[:]:
                number = document_id.rsplit(",", 1)[1].split("/")[0]
                deed = "cancel" if number.endswith(REFUSED) else "resend"
                self._agency.pardoned.add(document_id)
                while await ministry.command(deed, message_id, "--reason", "the crash suite's operator") not in (0, 1):
                    await asyncio.sleep(PAUSE)
                self.book.refused.remove((message_id, document_id))
            await asyncio.sleep(PAUSE)

    # --- the end --------------------------------------------------------------------------------------------------------

    async def settle(self, patience: float) -> None:
        """Wait until everything has arrived and every receipt is there, or until nothing at all has changed for so many seconds."""
        unsettled, since = self.book.unsettled(), time.monotonic()
        while unsettled and time.monotonic() < since + patience:
            await asyncio.sleep(PAUSE)
            now = self.book.unsettled()
            if now != unsettled:
                unsettled, since = now, time.monotonic()


async def persist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call while it is put off: what every client of the bus must do, and all that it must do."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await call()
        except Deferred:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE)
