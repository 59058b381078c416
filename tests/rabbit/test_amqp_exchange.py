"""Documents in from a queue and out to a queue: acknowledged only when they are ours, delivered only when they are the broker's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import amqp
import pytest
from amqp_bus import AmqpBus, eventually, letter, load, running
from lxml import etree
from rabbit_hands import awaited, got, put, waiting
from rabbit_server import MAX_MESSAGE_SIZE, RabbitServer

from adapters.amqp import Adapter
from bus.config import Loaded
from bus.endpoint import Answer, Bus
from bus.engine import Engine
from bus.errors import Deferred
from bus.message import Message
from sandbox import documents
from sandbox.process import BusProcess

Site = Callable[..., Loaded]


@pytest.fixture
def site(rabbit: RabbitServer, name: str, certs: Path, tmp_path: Path) -> Site:
    """Loads the site, (again,) with more options for the unit's queue; the agency's queue and the one for answers are there."""
    quorum = {"x-queue-type": "quorum"}
    with rabbit.connect() as connection:
        for kind in ("out", "answers"):
            connection.channel().queue_declare(f"{name}-{kind}", durable=True, auto_delete=False, arguments=quorum)
    environment = {"BROKER": rabbit.url(), "IN": f"{name}-in", "OUT": f"{name}-out", "ANSWERS": f"{name}-answers"}

    def make(extra: str = ", answers: env:ANSWERS", **changed: str) -> Loaded:
        return load(tmp_path / "site", certs, environment | changed, extra)

    return make


@pytest.fixture
async def bus(site: Site, rabbit: RabbitServer, name: str) -> AsyncIterator[AmqpBus]:
    """The bus, running, its queue declared."""
    async with running(site()) as bus:
        await eventually(lambda: exists(rabbit, f"{name}-in"))
        yield bus


def exists(rabbit: RabbitServer, queue: str) -> bool:
    return queue in rabbit_queues(rabbit, queue)


def rabbit_queues(rabbit: RabbitServer, queue: str) -> set[str]:
    """The queue, if it is there."""
    with rabbit.connect() as connection:
        try:
            connection.channel().queue_declare(queue, passive=True)
        except amqp.NotFound:
            return set()
    return {queue}


async def answer(rabbit: RabbitServer, name: str) -> Any:
    return await asyncio.to_thread(awaited, rabbit, f"{name}-answers")


def receipt_of(message: Any) -> dict[str, str]:
    root = etree.fromstring(message.body)
    return {etree.QName(child).localname: child.text or "" for child in root}


async def test_an_id_is_the_same_at_this_door_as_at_the_others(rabbit: RabbitServer, name: str, bus: AmqpBus) -> None:
    """XML's white space around a message-id is none of it, another blank is; one of white space alone is refused with an answer."""
    for number, (written, meant) in enumerate(((" so 1 ", "so 1"), ("so\t 2\u00a0", "so 2\u00a0"), ("\u3000 3", "\u3000 3")), 40):
        await asyncio.to_thread(put, rabbit, f"{name}-in", letter(number), message_id=written)
        told = await answer(rabbit, name)
        assert (receipt_of(told)["MessageId"], told.properties["correlation_id"]) == (meant, written)
    for written in (" \t ", "a\x01"):
        await asyncio.to_thread(put, rabbit, f"{name}-in", letter(49), message_id=written)
        told = await answer(rabbit, name)
        assert (told.headers["kind"], told.headers["code"]) == ("refusal", "5.5.4")


async def test_a_document_goes_from_queue_to_queue_with_its_receipt(rabbit: RabbitServer, name: str, bus: AmqpBus) -> None:
    """Octet for octet, persistent, with headers that say what it is; the sender gets the signed receipt, and the queue is empty."""
    body = letter(1)
    await asyncio.to_thread(put, rabbit, f"{name}-in", body, message_id="doc-1", content_encoding="utf-8")
    told = await answer(rabbit, name)
    receipt = receipt_of(told)
    assert (told.properties["correlation_id"], told.headers["kind"]) == ("doc-1", "receipt")
    assert (receipt["Status"], receipt["MessageId"]) == ("ACCEPTED", "doc-1")
    out = await asyncio.to_thread(awaited, rabbit, f"{name}-out")
    assert (out.body, out.properties["delivery_mode"], out.headers["sha-256"]) == (body, 2, receipt["Sha256"])
    assert (out.headers["kind"], out.headers["from"]) == ("document", documents.TELECOM_AUTHORITY.code)
    await eventually(lambda: not bus.store.gauges())
    assert bus.faults() == ()
    await bus.engine.stop()
    assert waiting(rabbit, f"{name}-in") == 0


async def test_a_redelivery_is_one_document(rabbit: RabbitServer, name: str, bus: AmqpBus) -> None:
    """The same message-id twice, and the same content without one twice: two documents, four answers, pairs of the same receipt."""
    for properties in ({"message_id": "twice"}, {"message_id": "twice"}, {}, {}):
        await asyncio.to_thread(put, rabbit, f"{name}-in", letter(2 + len(properties)), **properties)
    answers = [await answer(rabbit, name) for _ in range(4)]
    assert len({each.body for each in answers}) == 2
    await eventually(lambda: not bus.store.gauges())
    assert waiting(rabbit, f"{name}-out") == 2


async def test_a_refusal_is_told_to_the_sender_and_journalled(rabbit: RabbitServer, name: str, bus: AmqpBus) -> None:
    """The answer has code, reasons in both languages and a reference; the message is gone from the queue, and nothing is delivered."""
    stranger = documents.make(size=5_000, sender=documents.PUBLIC_SECURITY, receivers=(documents.PARTNER_AGENCY,))
    wrong = [(b"not XML", "bad-1", "5.6.0"), (b"", "bad-2", "5.6.0"), (stranger, "bad-3", "5.7.1"), (letter(4), "bad\0id", "5.5.4")]
    for body, message_id, code in wrong:
        await asyncio.to_thread(put, rabbit, f"{name}-in", body, message_id=message_id)
        told = await answer(rabbit, name)
        said = json.loads(told.body)
        assert (told.headers["kind"], said["code"], said["message-id"]) == ("refusal", code, message_id)
        assert said["reference"]
        assert set(said["reasons"]) == {"vi", "en"}
    assert bus.faults() == ()
    await bus.engine.stop()
    assert (waiting(rabbit, f"{name}-in"), waiting(rabbit, f"{name}-out")) == (0, 0)


async def test_without_answers_a_refused_message_is_dead_lettered_and_the_next_one_passes(
    rabbit: RabbitServer, name: str, site: Site
) -> None:
    """The queue that we declare has a place for it: <queue>.dead."""
    async with running(site(extra="")):
        await eventually(lambda: exists(rabbit, f"{name}-in"))
        await asyncio.to_thread(put, rabbit, f"{name}-in", b"not XML at all", message_id="bad")
        await asyncio.to_thread(put, rabbit, f"{name}-in", letter(5), message_id="good")
        dead = await asyncio.to_thread(awaited, rabbit, f"{name}-in.dead")
        out = await asyncio.to_thread(awaited, rabbit, f"{name}-out")
    assert (dead.properties["message_id"], dead.body, out.body) == ("bad", b"not XML at all", letter(5))


async def test_a_queue_that_is_there_is_taken_as_it_is(rabbit: RabbitServer, name: str, site: Site) -> None:
    """A classic queue of the partner's own making works, and is not declared anew."""
    with rabbit.connect() as connection:
        connection.channel().queue_declare(f"{name}-in", durable=True, auto_delete=False)
    await asyncio.to_thread(put, rabbit, f"{name}-in", letter(6), message_id="early")
    async with running(site()):
        assert receipt_of(await answer(rabbit, name))["MessageId"] == "early"
    assert not exists(rabbit, f"{name}-in.dead")


class Reluctant:
    """The bus, with a store that is away for the first ``times`` attempts at each message."""

    def __init__(self, bus: Bus, times: int) -> None:
        self._bus = bus
        self._left: dict[str, int] = {}
        self._times = times
        self.attempts = 0

    async def accept(self, endpoint: str, message: Message) -> Answer:
        left = self._left.setdefault(message.digest, self._times)
        self.attempts += 1
        if left:
            self._left[message.digest] -= 1
            raise Deferred("store-unavailable")
        return await self._bus.accept(endpoint, message)

    async def refuse(self, endpoint: str, partner: str, error: Exception, digest: str) -> str:
        return await self._bus.refuse(endpoint, partner, error, digest)


async def test_fault_24_a_store_that_is_away_burns_no_delivery_limit(
    rabbit: RabbitServer, name: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delivery limit 2, prefetch 8, five failures a message: nothing is dead-lettered, all are accepted once when the store is back."""
    monkeypatch.setattr("adapters.amqp.inbox._FIRST_PAUSE", 0.02)
    limited = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 2,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{name}-dead",
    }
    with rabbit.connect() as connection:
        channel = connection.channel()
        channel.queue_declare(f"{name}-dead", durable=True, auto_delete=False)
        channel.queue_declare(f"{name}-in", durable=True, auto_delete=False, arguments=limited)
    for number in range(12):
        await asyncio.to_thread(put, rabbit, f"{name}-in", letter(number), message_id=f"doc-{number}")
    loaded = site()
    inbound = loaded.endpoints["unit-queue"]
    assert isinstance(inbound, Adapter)
    start = inbound.start
    reluctant: list[Reluctant] = []

    async def start_with_a_store_that_is_away(engine: Engine) -> None:
        reluctant.append(Reluctant(engine, 5))
        await start(reluctant[0])  # type: ignore[arg-type]

    monkeypatch.setattr(inbound, "start", start_with_a_store_that_is_away)
    async with running(loaded) as bus:
        ids = {receipt_of(await answer(rabbit, name))["MessageId"] for _ in range(12)}
        assert bus.faults() == ()
    assert waiting(rabbit, f"{name}-in") == 0
    assert ids == {f"doc-{number}" for number in range(12)}
    assert reluctant[0].attempts == 12 * 6
    assert waiting(rabbit, f"{name}-dead") == 0


async def test_what_the_broker_has_taken_back_is_worked_by_nobody(
    rabbit: RabbitServer, name: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is being tried is redelivered after the connection was cut: the old attempts end, only the new ones go on."""
    monkeypatch.setattr("adapters.amqp.inbox._FIRST_PAUSE", 0.02)
    loaded = site(extra=", prefetch: 4")
    async with running(loaded) as bus:
        await eventually(lambda: exists(rabbit, f"{name}-in"))
        bus.store.accept = away  # type: ignore[method-assign]
        for number in range(4):
            await asyncio.to_thread(put, rabbit, f"{name}-in", letter(number), message_id=f"doc-{number}")
        inbox = loaded.endpoints["unit-queue"]._inbox  # type: ignore[attr-defined]
        await eventually(lambda: len(inbox._working) == 4)
        before = set(inbox._working)
        await asyncio.to_thread(rabbit.control, "close_all_connections", "cut by the test")
        await eventually(lambda: len(inbox._working) == 4 and before.isdisjoint(inbox._working))


async def away(*_: object, **__: object) -> Answer:
    """A store that cannot be written."""
    raise Deferred("store-unavailable")


async def test_fault_24_what_the_broker_redelivers_after_a_death_is_the_same_message(rabbit: RabbitServer, name: str, site: Site) -> None:
    """Accepted and not acknowledged, for the connection is cut in between, twice: each is one document, none is dead-lettered."""
    async with running(site(extra=", prefetch: 4, answers: env:ANSWERS")) as bus:
        await eventually(lambda: exists(rabbit, f"{name}-in"))
        for number in range(10):
            await asyncio.to_thread(put, rabbit, f"{name}-in", letter(number), message_id=f"doc-{number}")
            if number in {3, 7}:
                await asyncio.to_thread(rabbit.control, "close_all_connections", "cut by the test")
        told = set[str]()
        while len(told) < 10:
            told.add(receipt_of(await answer(rabbit, name))["MessageId"])
        await eventually(lambda: not bus.store.gauges())
        assert bus.faults() == ()
    out = {message.properties["message_id"] for message in iter(lambda: got(rabbit, f"{name}-out"), None)}
    assert len(out) == 10
    assert (waiting(rabbit, f"{name}-in"), waiting(rabbit, f"{name}-in.dead")) == (0, 0)


async def test_fault_23_a_missing_target_queue_defers_until_it_is_there(rabbit: RabbitServer, name: str, site: Site) -> None:
    """Accepted and owed while the agency has no queue; delivered when it has one, by the ordinary retry."""
    async with running(site(OUT=f"{name}-later")) as bus:
        await eventually(lambda: exists(rabbit, f"{name}-in"))
        await asyncio.to_thread(put, rabbit, f"{name}-in", letter(7), message_id="early")
        assert receipt_of(await answer(rabbit, name))["Status"] == "ACCEPTED"
        await eventually(lambda: bus.standing().get("READY"))
        with rabbit.connect() as connection:
            connection.channel().queue_declare(f"{name}-later", durable=True, auto_delete=False)
        assert (await asyncio.to_thread(awaited, rabbit, f"{name}-later")).body == letter(7)
        await eventually(lambda: not bus.store.gauges())
        assert bus.faults() == ()


async def test_fault_21_a_document_over_the_brokers_limit_ends_with_a_negative_receipt(
    rabbit: RabbitServer, name: str, bus: AmqpBus
) -> None:
    """The broker will never take it: DEAD with its reason, not retried for ever."""
    adapter = bus.loaded.endpoints["agency-queue"]
    large = documents.make(size=MAX_MESSAGE_SIZE + 200_000, seed=8, receivers=(documents.PARTNER_AGENCY,))
    headers = {"sender": "unit", "sender-message-id": "large", "kind": "document", "from": documents.TELECOM_AUTHORITY.code}
    await bus.engine.accept("unit-queue", Message("", headers, large))
    await eventually(lambda: bus.standing().get("DEAD"))
    assert adapter.features.sends
    assert bus.faults() == ()


async def test_with_a_prefetch_of_one_the_queues_order_is_kept(rabbit: RabbitServer, name: str, site: Site) -> None:
    """Twenty documents of changing size are accepted, and answered, in the order of the queue."""
    async with running(site(extra=", prefetch: 1, answers: env:ANSWERS")):
        await eventually(lambda: exists(rabbit, f"{name}-in"))
        for number in range(20):
            size = 5_000 if number % 2 else 300_000
            body = documents.make(size=size, seed=number, receivers=(documents.PARTNER_AGENCY,))
            await asyncio.to_thread(put, rabbit, f"{name}-in", body, message_id=f"doc-{number}")
        answers = [receipt_of(await answer(rabbit, name))["MessageId"] for _ in range(20)]
    assert answers == [f"doc-{number}" for number in range(20)]


async def test_kill_9_between_commit_and_acknowledgement_loses_and_doubles_nothing(
    rabbit: RabbitServer, name: str, site: Site, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """The real daemon is killed twice while a queue flows through it: each document is accepted once, and reaches the other queue."""
    site(", prefetch: 4, answers: env:ANSWERS")
    environment = {"BROKER": rabbit.url(), "IN": f"{name}-in", "OUT": f"{name}-out", "ANSWERS": f"{name}-answers"}
    process = start(tmp_path / "site", environment=environment)
    await eventually(lambda: exists(rabbit, f"{name}-in"))

    async def flow() -> None:
        for number in range(60):
            await asyncio.to_thread(put, rabbit, f"{name}-in", letter(number), message_id=f"doc-{number}")

    flowing = asyncio.create_task(flow())
    for least in (10, 30):
        await eventually(lambda least=least: waiting(rabbit, f"{name}-answers") >= least)  # type: ignore[misc]
        process.kill()
        await asyncio.to_thread(process.start)
    await flowing
    told = {receipt_of(await answer(rabbit, name))["MessageId"] for _ in range(60)}
    while len(told) < 60:
        told.add(receipt_of(await answer(rabbit, name))["MessageId"])
    out: dict[str, str] = {}
    while len(set(out.values())) < 60:
        message = await asyncio.to_thread(awaited, rabbit, f"{name}-out")
        out[message.properties["message_id"]] = message.headers["sha-256"]
    assert len(out) == 60
    assert process.stop() == 0
    async with running(site()) as bus:
        await eventually(lambda: not bus.store.gauges())
        assert len(bus.store.search(limit=100)) == 60
        assert bus.faults() == ()


async def test_a_reload_loses_and_doubles_nothing(rabbit: RabbitServer, name: str, site: Site) -> None:
    """New adapters start before the old ones stop, while documents come in: each is accepted once and delivered once."""
    async with running(site()) as bus:
        await eventually(lambda: exists(rabbit, f"{name}-in"))

        async def flow() -> None:
            for number in range(20):
                await asyncio.to_thread(put, rabbit, f"{name}-in", letter(number), message_id=f"doc-{number}")

        flowing = asyncio.create_task(flow())
        for _ in range(3):
            again = site()
            await bus.engine.replace_configuration(again.site, again.endpoints, again.routes)
        await flowing
        assert len({receipt_of(await answer(rabbit, name))["MessageId"] for _ in range(20)}) == 20
        await eventually(lambda: not bus.store.gauges())
        assert bus.faults() == ()
    assert waiting(rabbit, f"{name}-in") == 0
    out = [message.properties["message_id"] for message in iter(lambda: got(rabbit, f"{name}-out"), None)]
    assert (len(out), len(set(out))) == (20, 20)
