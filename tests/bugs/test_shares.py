"""Nobody's work waits for another's: each kind has its own threads, and of those one owner holds a share at most."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sieged_site
from sieged_site import OTHER, SIGNED, UNIT, letter

from bus import offload
from bus.errors import Deferred
from bus.offload import Elsewhere, Look, Pool, act_for, demand
from sandbox.process import BusProcess


async def test_a_partner_whose_pdfs_are_never_read_keeps_nobody_else_waiting(
    siege_certs: Path, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """Its reading process stands still, its PDFs fill their places, the next one is told 4.3.2; everybody else is served as ever."""
    bus = start(sieged_site.write(tmp_path / "site", siege_certs), environment={"UNIT_PASSWORD": "bí mật"})
    async with sieged_site.client(bus, UNIT) as unit, sieged_site.client(bus, OTHER) as other:
        await unit.send(letter(UNIT, OTHER, SIGNED), "first")
        (reader,) = sieged_site.children(bus.pid)
        os.kill(reader, signal.SIGSTOP)
        try:
            attack = [asyncio.create_task(unit.send(letter(UNIT, OTHER, SIGNED), f"slow-{number}")) for number in range(12)]
            done, waiting = set[asyncio.Task[object]](), set(attack)
            while len(done) < 3:
                some, waiting = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
                done |= some
            for refused in done:
                failure = refused.exception()
                assert isinstance(failure, Deferred)
                assert "4.3.2" in failure.reason("en")
                assert failure.retry_after
            (entry,) = await other.pending()
            assert len((await other.fetch(entry.message_id)).body) > 1000
            assert await unit.receipts("first")
            assert b'"ok"' in await asyncio.to_thread(sieged_site.page, bus, "/readyz")
            assert (await other.send(letter(OTHER, UNIT, SIGNED), "with a PDF")).status == "ACCEPTED"
            assert (await other.send(letter(OTHER, UNIT, bytes(3 << 20)), "large")).status == "ACCEPTED"
            assert len(waiting) == 9
        finally:
            os.kill(reader, signal.SIGCONT)
        assert {receipt.status for receipt in await asyncio.gather(*waiting)} == {"ACCEPTED"}


def test_nothing_runs_in_the_threads_that_are_everybodys() -> None:
    """asyncio's default executor has one queue for all: no module of ours puts anything into it."""
    root = Path(offload.__file__).parent.parent
    texts = {path: path.read_text(encoding="utf-8") for part in ("bus", "adapters") for path in (root / part).rglob("*.py")}
    assert [str(path) for path, text in texts.items() if "asyncio.to_thread" in text or "run_in_executor(None" in text] == []


class Held:
    """Work that a test lets go; ``running``: who is in a thread now."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.running: list[str] = []

    def work(self, name: str) -> str:
        self.running.append(name)
        self.gate.wait(30)
        return name


async def run(pool: Pool, held: Held, owner: str, *, known: bool = True) -> str:
    """Work for somebody, as a request's task does it."""
    act_for(owner, known=known)
    return await pool.run(held.work, owner)


async def until_running(held: Held, number: int) -> None:
    async with asyncio.timeout(20):
        while len(held.running) < number:
            await asyncio.sleep(0.01)


async def test_an_owner_holds_its_share_and_no_more_and_turns_go_round() -> None:
    """Of four threads one owner has two; who comes later passes its line, and what waits is let in one owner after the other."""
    pool, held = Pool("test", 4, share=2, line=100, each=10, patience=20.0), Held()
    greedy = [asyncio.create_task(run(pool, held, "greedy")) for _ in range(8)]
    await until_running(held, 2)
    modest = asyncio.create_task(run(pool, held, "modest"))
    await until_running(held, 3)
    assert sorted(held.running) == ["greedy", "greedy", "modest"]
    held.gate.set()
    assert await asyncio.gather(*greedy, modest) == ["greedy"] * 8 + ["modest"]


async def test_strangers_together_hold_half_however_many_addresses_they_have() -> None:
    """Each address is an owner, and all of them leave the other half to partners."""
    pool, held = Pool("test", 4, share=4, line=8, each=8, patience=20.0), Held()
    strangers = [asyncio.create_task(run(pool, held, f"192.0.2.{number}", known=False)) for number in range(20)]
    await until_running(held, 2)
    partners = [asyncio.create_task(run(pool, held, f"partner-{number}")) for number in range(2)]
    await until_running(held, 4)
    assert sorted(held.running)[2:] == ["partner-0", "partner-1"]
    held.gate.set()
    ended = await asyncio.gather(*strangers, *partners, return_exceptions=True)
    assert [str(one)[:5] for one in ended].count("4.3.2") == 20 - 2 - 4


async def test_who_waits_too_long_or_goes_away_leaves_no_place_taken() -> None:
    """4.3.2 when patience is over; a caller that is cancelled, in the line or in a thread, gives its place back."""
    pool, held = Pool("test", 1, share=1, line=10, each=10, patience=0.05), Held()
    first = asyncio.create_task(run(pool, held, "a"))
    await until_running(held, 1)
    with pytest.raises(Deferred, match=r"4\.3\.2"):
        await run(pool, held, "b")
    gone = asyncio.create_task(run(pool, held, "c"))
    await asyncio.sleep(0)
    gone.cancel()
    first.cancel()
    await asyncio.gather(first, gone, return_exceptions=True)
    held.gate.set()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await run(pool, held, "d") == "d"
                break
            except Deferred:
                continue
    assert not pool._running
    assert not pool._line


async def test_work_is_begun_again_where_it_belongs() -> None:
    """What demands a pool ends on the loop and in other pools' threads, and runs in that pool's; its failures stay its own."""
    seen: list[str] = []

    def work() -> str:
        seen.append(threading.current_thread().name)
        demand(offload.PDFS)
        return "done"

    assert await offload.offload(1, work) == "done"
    assert await offload.offload(offload.INLINE + 1, work) == "done"
    assert [name.split("_")[0] for name in seen] == ["MainThread", "govbus-pdf", "govbus-large", "govbus-pdf"]
    with pytest.raises(Elsewhere):
        demand(offload.PDFS)


async def test_whoever_asks_how_it_is_joins_the_look_that_is_under_way() -> None:
    """A store that does not answer costs one thread, however many ask; each is told so in time."""
    held = Held()
    look = Look("test", lambda: held.work("look"), patience=0.2)
    asked = await asyncio.gather(*(look() for _ in range(50)), return_exceptions=True)
    assert {type(one) for one in asked} == {TimeoutError}
    assert held.running == ["look"]
    held.gate.set()
    assert await look() == "look"
