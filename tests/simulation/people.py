"""Who uses the bus: senders that repeat until they are answered, readers of mailboxes, operators. Each remembers what it was told."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

import small_site
from nodes import Cluster, Node, ask
from virtual_loop import Life
from world import Unreachable, World

from bus.errors import BusError, Deferred, Rejected, catalogue
from bus.message import SENDER_MESSAGE_ID, Message
from bus.store.archive import Order

#: No answer, or one that says "later": ask again.
AGAIN = (Unreachable, Deferred, ConnectionRefusedError)
#: The refusal of a message that was accepted long ago, and pruned.
ARCHIVED = catalogue()["message-archived"].code


@dataclass
class Ledger:
    """What people were told. ``receipts`` and ``refused`` by letter, ``confirmed`` by mailbox and id."""

    letters: dict[str, Message] = field(default_factory=dict)
    receipts: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    confirmed: dict[tuple[str, str], bytes] = field(default_factory=dict)
    ignored: set[tuple[str, str]] = field(default_factory=set)


def write_letters(world: World) -> dict[str, Message]:
    """The seed's letters, by a name that only this world knows."""
    letters = {}
    for number in range(world.knobs.messages):
        dice = world.dice
        sender = dice.choice(list(small_site.UNITS))
        to = dice.choice(list(small_site.PLACES))
        letters[f"letter-{number}"] = small_site.letter(
            sender,
            "" if world.strikes("no-id") else f"{sender}-{number}",
            to,
            owner=dice.choice((*small_site.UNITS.values(), *small_site.UNITS.values(), "000.00.99.G99")) if to == "mailbox" else "",
            key=dice.choice(("", "k1", "k1", "k2")),
            worked=dice.random() < 0.4,
            words=f"{number} {'poison' if dice.random() < 0.15 else ''}",
        )
    return letters


@dataclass(eq=False)
class People:
    """Everyone outside the bus."""

    cluster: Cluster
    ledger: Ledger = field(default_factory=Ledger)
    sending: int = 0

    @property
    def world(self) -> World:
        return self.cluster.world

    def begin(self) -> None:
        """Hand out the letters, and open the mailboxes."""
        for name, message in write_letters(self.world).items():
            if self.world.dice.random() < 0.2 and message.header(SENDER_MESSAGE_ID):
                self.world.outside(self._lay_out, name, message, after=self._sometime())
                continue
            self.ledger.letters[name] = message
            self.sending += 1
            self.world.spawn(self._send(name, message))
        for unit in small_site.UNITS:
            self.world.spawn(self._read(unit))

    def _sometime(self) -> float:
        return self.world.dice.uniform(0, 0.8 * self.world.knobs.horizon)

    def _lay_out(self, name: str, message: Message) -> None:
        """A letter that waits to be polled."""
        worked = message.body.replace(b"<owner></owner>", b"<owner>000.00.02.G14</owner>").replace(b"000.00.99.G99", b"000.00.02.G14")
        self.cluster.feed.waiting[message.header(SENDER_MESSAGE_ID)] = message.with_body(worked)

    # --- senders -----------------------------------------------------------------------------------------------------

    async def _send(self, name: str, message: Message) -> None:
        world = self.world
        await asyncio.sleep(self._sometime())
        xml = await self._hand_in(name, message)
        if xml is not None:
            self.ledger.receipts[name] = xml
            world.note("answered", name)
            await self._send_again(name, message, xml)
        self.sending -= 1

    async def _hand_in(self, name: str, message: Message) -> bytes | None:
        """The receipt, or None for a letter that was refused; tried until one of the two is known."""
        while True:
            try:
                answer = await ask(self.cluster.any_node(), lambda engine: engine.accept(small_site.DOOR, message))
            except AGAIN as error:
                self.world.note("not-answered", f"{name} {error!r}")
                await asyncio.sleep(self.world.dice.uniform(1, 60) * self.world.knobs.scale)
            except Rejected as error:
                self.world.note("refused", f"{name} {error}")
                self.ledger.refused[name] = error.code
                return None
            else:
                return answer.xml

    async def _send_again(self, name: str, message: Message, first: bytes) -> None:
        """The same letter again, and another one under its id."""
        if self.world.strikes("impatient"):
            again = await self._hand_in(name, message)
            if again is None and self.ledger.refused.pop(name) == ARCHIVED:
                self.world.note("answered-archived", name)
            elif again != first:
                self.world.find(f"{name}: sent twice, and the receipts differ")
        if self.world.strikes("other-content") and message.header(SENDER_MESSAGE_ID):
            other = message.with_body(message.body.replace(b"<words>", b"<words>other "))
            if await self._hand_in(f"{name}, other content", other) is not None:
                self.world.find(f"{name}: other content was accepted under its id")

    # --- readers of mailboxes --------------------------------------------------------------------------------------------

    async def _read(self, unit: str) -> None:
        period = self.world.knobs.horizon / 3
        while True:
            await asyncio.sleep(self.world.dice.uniform(0.2, 1.0) * period)
            try:
                node = self.cluster.any_node()
                for entry in await ask(node, lambda engine: engine.pending(unit, 50)):
                    await self._collect(node, unit, entry.message_id)
            except (*AGAIN, Rejected) as error:
                self.world.note("reader-failed", f"{unit} {error!r}")

    async def _collect(self, node: Node, unit: str, id_: str) -> None:
        world, place = self.world, (unit, id_)
        if place in self.ledger.ignored:
            return
        if place not in self.ledger.confirmed and world.strikes("never-confirm"):
            self.ledger.ignored.add(place)
            return
        fetched = await ask(node, lambda engine: engine.fetch(unit, id_))
        if sha256(fetched.body).hexdigest() != fetched.digest:
            world.find(f"{unit} {id_}: fetched octets that are not those of its digest")
        world.note("fetched", f"{unit} {id_} {fetched.kind}")
        for _ in range(2 if world.strikes("confirm-again") else 1):
            answer = await ask(node, lambda engine: engine.confirm(unit, id_, not world.strikes("declines"), "sai mẫu"))
            self.ledger.confirmed[place] = answer.xml
            world.note("confirmed", f"{unit} {id_} {answer.receipt.status}")

    # --- operators ------------------------------------------------------------------------------------------------------

    def operate(self) -> None:
        """Somebody sends a few dead deliveries again, or cancels some; a process of its own, which may die too."""
        world = self.world
        known = [row["message_id"] for row in world.database.rows("SELECT DISTINCT message_id FROM deliveries ORDER BY seq")]
        if not known:
            return
        chosen = world.dice.sample(known, min(len(known), world.dice.randint(1, 3)))
        act = world.dice.choice(("resend", "resend", "cancel"))
        world.live(Life("operator"), self._operate(act, chosen))

    async def _operate(self, act: str, ids: list[str]) -> None:
        store = self.cluster.open_store("operator")
        try:
            touched = await getattr(store, act)(ids, "nguyen.a", "thử lại")
        except BusError as error:
            self.world.note("operator-failed", error)
        else:
            self.world.note(act, f"{len(touched)} of {ids}")

    def prune(self) -> None:
        """An operator has what ended a while ago removed, beside everything else that goes on; his process may die in the middle."""
        before = self.world.clock() - timedelta(seconds=self.world.dice.uniform(0, 0.5) * self.world.knobs.horizon)
        order = Order(before=before, by="nguyen.a", reason="thử", archive=None, certificates={})
        self.world.live(Life("pruner"), self._prune(order))

    async def _prune(self, order: Order) -> None:
        store = self.cluster.open_store("operator")
        try:
            pruned = await store.prune(order)
        except BusError as error:
            self.world.note("prune-failed", error)
        else:
            self.world.note("pruned" if pruned.messages else "pruned-nothing", pruned)
