"""Wake-ups between nodes: heard by all others, never in anybody's way, and nothing but latency when they are lost."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from rabbit_hands import got, put, until, waiting
from rabbit_line import Line
from rabbit_server import RabbitServer

from bus.amqp import Broker
from bus.wakeup import Wakeup


class Ear:
    """What one process heard, and whether anything new came."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.news = asyncio.Event()
        self.threads: set[str] = set()

    def heard(self, target: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.targets.append(target)
        self.loop.call_soon_threadsafe(self.news.set)

    async def until(self, *targets: str) -> None:
        """Wait until all of ``targets`` were heard."""
        async with asyncio.timeout(30):
            while not set(targets) <= set(self.targets):
                await self.news.wait()
                self.news.clear()


async def listening(*wakeups: Wakeup) -> None:
    """Wait until all of them are connected."""
    async with asyncio.timeout(30):
        while not all("listening" in each.working for each in wakeups):
            await asyncio.sleep(0.01)


Join = Callable[..., tuple[Wakeup, Ear]]


@pytest.fixture
async def join(rabbit: RabbitServer, name: str) -> AsyncIterator[Join]:
    """Adds a process to the bus ``name``."""
    made: list[Wakeup] = []

    def make(chain: str, **options: object) -> tuple[Wakeup, Ear]:
        ear = Ear()
        settings = {"url": rabbit.url(), "name": f"govbus {chain}", "heartbeat": 1, "patience": 2, **options}
        made.append(Wakeup(Broker(**settings), bus=name, chain=chain, heard=ear.heard))  # type: ignore[arg-type]
        return made[-1], ear

    yield make
    for each in made:
        await each.stop()


async def test_a_nudge_reaches_every_other_process_and_not_its_sender(join: Join) -> None:
    """Two others hear it; the one that said it does not."""
    (one, own), (two, second), (three, third) = join("one"), join("two"), join("three")
    await listening(one, two, three)
    one.tell("route:documents")
    await asyncio.gather(second.until("route:documents"), third.until("route:documents"))
    two.tell("agency")
    await asyncio.gather(own.until("agency"), third.until("agency"))
    assert (own.targets, second.targets) == (["agency"], ["route:documents"])


async def test_many_nudges_for_one_target_are_few_on_the_wire(join: Join) -> None:
    """What is told while a round is under way goes out once, each target for itself, and the last one told is always sent."""
    (one, _), (two, ear) = join("one"), join("two")
    await listening(one, two)
    for _ in range(1000):
        one.tell("agency")
    one.tell("other")
    await ear.until("agency", "other")
    assert len(ear.targets) == 2


async def test_a_nudge_carries_the_target_and_nothing_else(rabbit: RabbitServer, join: Join, name: str) -> None:
    """A claim check: the octets on the wire are the target's name."""
    one, _ = join("one")
    await listening(one)
    spy = f"{name}-spy"
    with rabbit.connect() as connection:
        channel = connection.channel()
        channel.queue_declare(spy, durable=True, auto_delete=False)
        channel.queue_bind(spy, f"govbus.{name}.nudges")
    one.tell("agency")
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(waiting, rabbit, spy):
            await asyncio.sleep(0.01)
    message = got(rabbit, spy)
    assert message is not None
    assert (message.body, message.headers) in [(b"agency", {"from": "one"}), ("agency", {"from": "one"})]


async def test_a_dead_nodes_queue_stays_small(rabbit: RabbitServer, join: Join, name: str) -> None:
    """Quorum queues, bounded in number and in time; what does not fit goes to the dead-letter queue, bounded too."""
    one, _ = join("one")
    await listening(one)
    await one.stop()
    said = await asyncio.to_thread(rabbit.control, "list_queues", "--no-table-headers", "name", "type", "arguments")
    queues = {line.split("\t")[0]: line for line in said.splitlines() if name in line}
    own, dead = queues[f"govbus.{name}.nudges.one"], queues[f"govbus.{name}.nudges.dead"]
    assert {"quorum" in own, '"x-message-ttl",30000' in own, '"x-max-length",1000' in own, '"x-expires",86400000' in own} == {True}
    assert f'"x-dead-letter-exchange","govbus.{name}.nudges.dead"' in own
    assert {"quorum" in dead, '"x-message-ttl",86400000' in dead, '"x-max-length",1000' in dead} == {True}
    await asyncio.to_thread(put, rabbit, f"govbus.{name}.nudges.one", b"agency", 1_010)
    await asyncio.to_thread(until, lambda: waiting(rabbit, f"govbus.{name}.nudges.dead") == 10)
    assert waiting(rabbit, f"govbus.{name}.nudges.one") == 1_000


async def test_without_a_broker_telling_costs_nothing_and_says_what_is_missing(name: str) -> None:
    """Nobody listens: tell returns at once, what was told is forgotten, and both sides are reported."""
    ear = Ear()
    alone = Wakeup(Broker("amqp://127.0.0.1:1/", "govbus one"), bus=name, chain="one", heard=ear.heard)
    for number in range(1000):
        alone.tell(f"target-{number}")
    async with asyncio.timeout(20):
        while len(alone.unwell()) < 2:
            await asyncio.sleep(0.01)
    assert set(alone.unwell()) == {"broker, listening", "broker, telling"}
    await alone.stop()


async def test_fault_22_a_half_open_line_is_noticed_by_a_listener(rabbit: RabbitServer, join: Join, line: Line) -> None:
    """The line goes dead without being closed: within heartbeats it is reported; when it works again, nudges are heard again."""
    (one, _), (two, ear) = join("one"), join("two", url=rabbit.url(port=line.port))
    await listening(one, two)
    line.dead.set()
    async with asyncio.timeout(20):
        while "broker, listening" not in two.unwell():
            await asyncio.sleep(0.01)
    line.dead.clear()
    await listening(two)
    one.tell("agency")
    await ear.until("agency")


async def test_fault_23_a_deleted_queue_is_declared_again(rabbit: RabbitServer, join: Join, name: str) -> None:
    """An operator deletes a node's queue: the node hears of it, declares it anew, and is woken as before."""
    (one, _), (two, ear) = join("one"), join("two")
    await listening(one, two)
    with rabbit.connect() as connection:
        connection.channel().queue_delete(f"govbus.{name}.nudges.two")
    async with asyncio.timeout(20):
        while "agency" not in ear.targets:
            one.tell("agency")
            await asyncio.sleep(0.02)


async def test_fault_20_a_memory_alarm_silences_the_voice_and_neither_the_ear_nor_the_loop(
    rabbit: RabbitServer, join: Join, name: str
) -> None:
    """Publishers are blocked: tell still returns at once, the loop runs, the trouble is reported; afterwards nudges flow by themselves."""
    (one, _), (two, ear) = join("one"), join("two")
    await listening(one, two)
    one.tell("before")
    await ear.until("before")
    await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", "0.00001")
    try:
        async with asyncio.timeout(20):
            while "broker, telling" not in one.unwell():
                one.tell("during")
                await asyncio.sleep(0.01)
        assert "broker, listening" not in one.unwell()
    finally:
        await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", "0.4")
    async with asyncio.timeout(20):
        while "after" not in ear.targets:
            one.tell("after")
            await asyncio.sleep(0.02)


async def test_what_others_put_into_the_queue_harms_nobody(rabbit: RabbitServer, join: Join, name: str) -> None:
    """Octets that are no name, and messages without our header, are taken out and passed on as hints; the next nudge is heard."""
    (one, _), (two, ear) = join("one"), join("two")
    await listening(one, two)
    await asyncio.to_thread(put, rabbit, f"govbus.{name}.nudges.two", b"\xff\xfe\x00")
    one.tell("agency")
    await ear.until("agency")
    assert await asyncio.to_thread(waiting, rabbit, f"govbus.{name}.nudges.two") == 0


async def test_the_rights_that_the_documentation_grants_are_enough(rabbit: RabbitServer, join: Join, name: str, repository: Path) -> None:
    """A user with the permissions of docs/scale-out.md, and no others, declares, tells and hears."""
    granted = re.search(r"set_permissions -p govbus govbus '(.+)' '(.+)' '(.+)'", (repository / "docs" / "scale-out.md").read_text())
    assert granted
    await asyncio.to_thread(rabbit.control, "add_user", name, "secret")
    await asyncio.to_thread(rabbit.control, "set_permissions", "-p", "/", name, *granted.groups())
    url = f"amqp://{name}:secret@127.0.0.1:{rabbit.port}/"
    (one, _), (two, ear) = join("one", url=url), join("two", url=url)
    await listening(one, two)
    one.tell("agency")
    await ear.until("agency")
    assert one.unwell() == {}


async def test_fault_19_a_restarted_broker_is_found_again(rabbit: RabbitServer, join: Join) -> None:
    """The broker goes away and comes back: reported at once, and after the restart nudges are heard without anybody's help."""
    (one, _), (two, ear) = join("one"), join("two")
    await listening(one, two)
    await asyncio.to_thread(rabbit.control, "stop_app")
    async with asyncio.timeout(20):
        while "broker, listening" not in one.unwell():
            one.tell("lost")
            await asyncio.sleep(0.01)
    await asyncio.to_thread(rabbit.control, "start_app")
    async with asyncio.timeout(60):
        while "agency" not in ear.targets:
            one.tell("agency")
            await asyncio.sleep(0.05)
