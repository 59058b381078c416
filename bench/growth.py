"""Growth: what the store's work costs with a million messages waiting, as a multiple of what it costs with a thousand.

Two stores stand side by side and take turns in one process: sixteen messages are accepted, sixteen claimed from the front of the backlog,
routed, claimed again and finished, each step as one group, as that many callers at once form it. So both see the same machine, and the
number that wait stays the same. Receipts are sealed with octets of the right size and no signature, which would hide what the store does.
"""

import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench import backlog
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Sent
from bus.store import Owed, Store, Work, dialect
from bus.store.readers import Readers

FEW, MANY = 1_000, 1_000_000
#: Octets of a waiting body: a million of them should fit on a machine that also does something else.
WAITING_SIZE = 500
#: Octets of the bodies that pass, and of a partner's signed reply.
SIZE, REPLY = 5_000, 3_000
CALLERS = 16
ROUNDS = 200
#: Messages that tell how much room one takes.
MESSAGES = 1_600
LEASE = timedelta(minutes=3)
_TARGET = ROUTE_PREFIX + backlog.ROUTE

Say = Callable[[str], None]


def measure(say: Say, many: int = MANY) -> dict[str, Any]:
    """Cost of the store's steps, of the questions people ask, and of a message's room on disk."""
    with tempfile.TemporaryDirectory(prefix="govbus-growth-") as directory, ExitStack() as stack:
        stores = {}
        for waiting in (FEW, many):
            say(f"growth: {waiting} messages are put into a store")
            began = time.monotonic()
            url = f"sqlite:///{Path(directory) / f'{waiting}.db'}"
            backlog.fill(url, backlog.context(), waiting, backlog.letters(WAITING_SIZE, seed=waiting))
            seconds = time.monotonic() - began
            stores[waiting] = _opened(url)
            stack.callback(stores[waiting].close)
        say(f"growth: {ROUNDS} rounds of {CALLERS} messages in either")
        steps = asyncio.run(_turns(stores))
        return {
            "waiting": many,
            "filled_in_seconds": round(seconds, 1),
            "steps": {name: _ratio(*costs) for name, costs in steps.items()},
            "whole_life": _ratio(*(tuple(map(sum, zip(*each, strict=True))) for each in zip(*steps.values(), strict=True))),
            "questions_ms": _questions(stores[many], url),
            "bytes_a_message": asyncio.run(_room(Path(directory) / "room.db")),
            "log_mb": round((Path(directory) / f"{many}.db-wal").stat().st_size / 1e6, 1),
        }


def _opened(url: str) -> Store:
    given = backlog.context(chain="main")
    return Store.open(url, seal=given.seal, organisation=given.organisation, clock=given.clock, ids=given.ids, chain=given.chain)


async def _room(path: Path) -> dict[str, int]:
    """Octets on disk of a message of SIZE that was routed, sent and answered: in all, and without the two bodies and the reply."""
    store = _opened(f"sqlite:///{path}")
    life = _Life(store, backlog.letters(SIZE, seed=1))
    for _ in range(MESSAGES // CALLERS):
        await life.turn()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        [[messages]] = connection.execute("SELECT count(*) FROM messages")
        [[octets]] = connection.execute("SELECT sum(length(body)) FROM blobs")
    whole = path.stat().st_size
    return {"whole": whole // messages, "without_octets": (whole - octets) // messages}


def _ratio(few: tuple[float, ...], many: tuple[float, ...]) -> dict[str, float]:
    """Milliseconds a message with a thousand waiting, and how much more it is with many: by the clock and in CPU time."""
    wall, cpu = zip(few, many, strict=True)
    return {
        "ms": round(wall[0] / CALLERS, 3),
        "cpu_ms": round(cpu[0] / CALLERS, 3),
        "ratio": round(wall[1] / wall[0], 3),
        "cpu_ratio": round(cpu[1] / cpu[0], 3),
    }


async def _turns(stores: dict[int, Store]) -> dict[str, tuple[tuple[float, ...], ...]]:
    """By step, for either store, the median milliseconds of a group: by the clock, and in CPU time."""
    lives = {waiting: _Life(store, backlog.letters(SIZE, seed=number)) for number, (waiting, store) in enumerate(stores.items(), 2)}
    for number in range(ROUNDS):
        for life in list(lives.values())[:: 1 if number % 2 else -1]:
            await life.turn()
    few, many = lives.values()
    return {name: (few.median(name), many.median(name)) for name in few.costs}


class _Life:
    """One store and what its steps have cost."""

    def __init__(self, store: Store, letter: backlog.Letter) -> None:
        self.costs: dict[str, list[tuple[float, float]]] = {}
        self._store = store
        self._letter = letter
        self._chance = random.Random(1)
        self._number = 1 << 30

    def median(self, step: str) -> tuple[float, float]:
        """Milliseconds by the clock and in CPU time."""
        wall, cpu = zip(*self.costs[step], strict=True)
        return statistics.median(wall) * 1000, statistics.median(cpu) * 1000

    async def turn(self) -> None:
        """Sixteen messages in, sixteen of the oldest out."""
        letters = [self._letter(self._number + number) for number in range(CALLERS)]
        self._number += CALLERS
        await self._time("accept", [self._store.accept(message, owed, receipts_to=backlog.MAILBOX) for message, owed in letters])
        works = await self._claim("claim", _TARGET)
        owed = [
            Owed(backlog.ROUTE, "agency", work.message.with_body(self._chance.randbytes(SIZE)), backlog.now() + LEASE) for work in works
        ]
        await self._time("route", [self._store.routed(work, [each], {}, []) for work, each in zip(works, owed, strict=True)])
        works = await self._claim("claim_to_send", "agency")
        await self._time("finish", [self._store.finish(work, Sent("0" * 64, self._chance.randbytes(REPLY))) for work in works])

    async def _claim(self, name: str, target: str) -> list[Work]:
        [works] = await self._time(name, [self._store.claim(target, CALLERS, LEASE)])
        return list(works)

    async def _time(self, name: str, calls: Sequence[Awaitable[Any]]) -> list[Any]:
        wall, cpu = time.perf_counter(), time.process_time()
        answers = await asyncio.gather(*calls)
        self.costs.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))
        return answers


def _questions(store: Store, url: str) -> dict[str, float]:
    """Milliseconds of each question, asked once before."""
    [found] = store.search(limit=1)
    # The store keeps the answer about gauges for a while; here it is counted each time.
    readers = Readers(dialect.engine(url, writer=False))
    asked: dict[str, Callable[[], object]] = {
        "search_by_id": lambda: store.search(key=found.id),
        "search_by_senders_id": lambda: store.search(key=found.public_id),
        "search_by_document_id": lambda: store.search(key=found.document_id),
        "search_by_subject": lambda: store.search(key="no such subject"),
        "search_dead": lambda: store.search(state="DEAD"),
        "show": lambda: store.show(found.document_id),
        "mailbox_of_200": lambda: asyncio.run(_pending(store)),
        "idle_poll": store.targets_with_work,
        "count_for_gauges": lambda: readers.gauges(backlog.now()),
    }
    return {name: _milliseconds(question) for name, question in asked.items()}


async def _pending(store: Store) -> None:
    assert len(await store.pending(backlog.SENDER_NAME, 200)) == 200


def _milliseconds(question: Callable[[], object]) -> float:
    question()
    began = time.perf_counter()
    question()
    return round((time.perf_counter() - began) * 1000, 1)
