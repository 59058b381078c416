"""Where work runs that would hold up the event loop: inline while it is small, else in the threads of its own kind (D7).

Measured: handing a 5 kB message to a thread costs more than working it; lxml, cryptography and pybase64 release the GIL on big ones.

Promise: no kind of work waits for another kind, and no owner of work for another owner. Each kind has a ``Pool``: threads, of which one
owner holds a share at most; and a line, in which owners have their turn one after the other, and of which one owner holds a part at
most. Strangers together hold half of either. Work that finds no place, or waits for one for longer than its pool's patience, raises
Deferred ``bus-busy`` (4.3.2). What health asks has a thread of its own (``Look``).

The owner of work is whoever the running task acts for (``act_for``): a partner, or an address before a partner is identified.

Work that finds out on its way that it belongs into a pool (few messages do) calls ``demand`` first. Elsewhere that ends it, and
``offload`` begins it again there: so whoever calls it must not have changed anything yet.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, ParamSpec, TypeVar

from bus import metrics
from bus.errors import Deferred

#: Bodies above this many octets are worked in a thread.
INLINE = 1 << 20
#: What work that found no place is to wait before it comes again, in seconds.
_RETRY_AFTER = 5.0

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose work it is. ``known``: a partner that was identified, or the bus itself; else an address."""

    name: str
    known: bool = True


_BUS = Owner("")
_OWNER: contextvars.ContextVar[Owner] = contextvars.ContextVar("owner", default=_BUS)
_here = threading.local()


def act_for(name: str, *, known: bool = True) -> None:
    """From here on the running task works for this partner; or, not ``known``, for this address."""
    _OWNER.set(Owner(name, known))


@contextlib.contextmanager
def acting_for(name: str) -> Iterator[None]:
    """Work within it is this partner's; a task that lives on (a poller) is its own again afterwards."""
    token = _OWNER.set(Owner(name))
    try:
        yield
    finally:
        _OWNER.reset(token)


def owner() -> Owner:
    """Whom the running task works for; the bus itself is ""."""
    return _OWNER.get()


class Elsewhere(BaseException):
    """Work runs outside the pool that it belongs into. For ``offload`` alone: no handler of failures is to take it for one."""

    def __init__(self, pool: "Pool") -> None:
        super().__init__(pool.name)
        self.pool = pool


@dataclass(slots=True)
class _Place:
    """A place in a pool's line."""

    owner: Owner
    loop: asyncio.AbstractEventLoop
    turn: "asyncio.Future[None]"
    granted: bool = False


class Pool:
    """The threads for one kind of work, and its line."""

    def __init__(self, name: str, threads: int, *, share: int, line: int, each: int, patience: float | None) -> None:
        """``share`` of ``threads`` and ``each`` of the places in ``line`` are the most that one owner holds.

        ``patience``: seconds that work waits for its turn; None where it waits for as long as it takes.
        """
        self.name = name
        self._most, self._share, self._line_most, self._each, self._patience = threads, share, line, each, patience
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"govbus-{name}")
        self._lock = threading.Lock()
        self._running: Counter[Owner] = Counter()
        self._line: OrderedDict[Owner, deque[_Place]] = OrderedDict()

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` returns, or raises, from one of the threads. Raises Deferred 4.3.2 when there is no room."""
        mine = _OWNER.get()
        await self._enter(mine)
        call = _Call(self, mine, partial(contextvars.copy_context().run, work, *args, **kwargs))
        future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        future.add_done_callback(lambda _: call.abandon())
        return await future

    async def _enter(self, mine: Owner) -> None:
        with self._lock:
            if not self._line.get(mine) and self._free(mine):
                self._running[mine] += 1
                return
            if not self._has_place(mine):
                raise self._busy()
            loop = asyncio.get_running_loop()
            place = _Place(mine, loop, loop.create_future())
            self._line.setdefault(mine, deque()).append(place)
        try:
            async with asyncio.timeout(self._patience):
                await place.turn
        except (TimeoutError, asyncio.CancelledError) as error:
            self._give_up(place)
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _busy(self) -> Deferred:
        metrics.POOL_FULL.labels(self.name).inc()
        return Deferred("bus-busy", retry_after=_RETRY_AFTER)

    def _free(self, mine: Owner) -> bool:
        strangers = sum(number for one, number in self._running.items() if not one.known)
        fits = self._running.total() < self._most and self._running[mine] < self._share
        return fits and (mine.known or strangers < max(1, self._most // 2))

    def _has_place(self, mine: Owner) -> bool:
        waiting = {one: len(places) for one, places in self._line.items()}
        strangers = sum(number for one, number in waiting.items() if not one.known)
        fits = sum(waiting.values()) < self._line_most and waiting.get(mine, 0) < self._each
        return fits and (mine.known or strangers < self._line_most // 2)

    def _give_up(self, place: _Place) -> None:
        with self._lock:
            if not place.granted:
                places = self._line[place.owner]
                places.remove(place)
                if not places:
                    del self._line[place.owner]
                return
        self.leave(place.owner)

    def leave(self, mine: Owner) -> None:
        """A thread, or a turn that nobody takes, is free: let those in who wait. From any thread."""
        with self._lock:
            self._running[mine] -= 1
            if not self._running[mine]:
                del self._running[mine]
            while (following := next((one for one in self._line if self._free(one)), None)) is not None:
                self._let_in(following)

    def _let_in(self, following: Owner) -> None:
        places = self._line[following]
        place = places.popleft()
        # Its owner's next one goes behind everybody else's.
        self._line.move_to_end(following)
        if not places:
            del self._line[following]
        # A loop that was closed has nobody waiting any more.
        with contextlib.suppress(RuntimeError):
            place.loop.call_soon_threadsafe(_wake, place.turn)
            place.granted = True
            self._running[following] += 1


def _wake(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_result(None)


class _Call(Generic[T]):
    """Work in a thread. Its place is free when the thread has done it, whether or not anybody still waits for it."""

    __slots__ = ("_begun", "_lock", "_owner", "_pool", "_work")

    def __init__(self, pool: Pool, mine: Owner, work: Callable[[], T]) -> None:
        self._pool, self._owner, self._work = pool, mine, work
        self._begun, self._lock = False, threading.Lock()

    def __call__(self) -> T:
        if not self._begin():
            raise asyncio.CancelledError
        before = getattr(_here, "pool", None)
        _here.pool = self._pool
        try:
            return self._work()
        finally:
            _here.pool = before
            self._pool.leave(self._owner)

    def abandon(self) -> None:
        """Free the place of work that was given up before a thread began it."""
        if self._begin():
            self._pool.leave(self._owner)

    def _begin(self) -> bool:
        with self._lock:
            begun, self._begun = self._begun, True
            return not begun


#: Work over large bodies: parsing, verifying, packing. More threads than cores, because some of it reads files on its way.
LARGE = Pool("large", 8, share=4, line=128, each=16, patience=20.0)
#: PDFs that may be signed: one thread for each reading process (``bus.pdf``).
PDFS = Pool("pdf", 2, share=1, line=64, each=8, patience=20.0)
#: Questions to the store: mailboxes, receipts, what came in already. As many as it has connections for.
READS = Pool("store", 4, share=2, line=512, each=64, patience=20.0)
#: Large bodies from and to files. Nobody is refused in the middle of a body: a request has one call here at most, and requests are counted.
FILES = Pool("files", 8, share=4, line=1 << 20, each=1 << 20, patience=None)
#: What the bus does for itself: reload, checkpoints, pruning, connections that end.
UPKEEP = Pool("upkeep", 4, share=4, line=1 << 10, each=1 << 10, patience=None)


def demand(pool: Pool) -> None:
    """Returns in a thread of ``pool``, and in one that is no pool's (a command's); raises Elsewhere on an event loop or in another pool."""
    here = getattr(_here, "pool", None)
    if here is pool:
        return
    if here is not None:
        raise Elsewhere(pool)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise Elsewhere(pool)


async def offload(size: int, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` returns, or raises; ``size`` is how many octets it is about. Raises Deferred 4.3.2 when its pool has no room."""
    pool: Pool | None = LARGE if size > INLINE else None
    while True:
        try:
            return work(*args, **kwargs) if pool is None else await pool.run(work, *args, **kwargs)
        except Elsewhere as elsewhere:
            pool = elsewhere.pool


class Look(Generic[T]):
    """A look at something that may not answer, with a thread of its own. Whoever asks while one is under way joins it: nobody queues."""

    def __init__(self, name: str, look: Callable[[], T], patience: float = 5.0) -> None:
        self._look, self._patience = look, patience
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"govbus-{name}")
        self._under_way: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        """What was seen. Raises what the look raises, and TimeoutError when it takes longer than ``patience`` seconds."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, self._look)
        async with asyncio.timeout(self._patience):
            return await asyncio.shield(self._under_way)
