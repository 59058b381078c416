"""An event loop in which nothing happens by itself: time is a number that jumps to the next timer, and the seed says whose turn it is.

Of what is ready to run, one piece is drawn by lot (or the oldest, where the seed wants order). Threads become calls. Every piece of work
belongs to the *life* of a node, or to the world outside: the pieces of a life that has ended are never run again, not even its
``finally``; those of one that stands still (SIGSTOP) are kept until it goes on.

Raises ``Stuck`` when nothing is left to happen, or too much has happened.
"""

import asyncio
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any


class Stuck(Exception):
    """The run cannot end by itself."""


class Died(BaseException):
    """The life that runs has just ended; nothing of ours catches this."""


@dataclass(eq=False)
class Life:
    """One run of one node's process."""

    name: str
    alive: bool = True
    still: bool = False
    kept: list[asyncio.Handle] = field(default_factory=list)


#: The life that the running piece of work belongs to; None: the world outside.
LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class _Task(asyncio.Task):
    """A task whose place in a set does not depend on its address, so that a seed means the same in every process."""

    def __init__(self, coro: Coroutine[Any, Any, Any], number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class _Future(asyncio.Future):
    """A future that knows whose it is."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self.life = LIFE.get()
        super().__init__(loop=loop)


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one coroutine to its end. ``troubles``: what escaped from callbacks and tasks of the living."""

    def __init__(self, dice: random.Random, *, orderly: bool) -> None:
        self._dice = dice
        self._orderly = orderly
        self._now = 0.0
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._tasks: list[_Task] = []
        self._open = True
        self.steps = 0
        self.troubles: list[str] = []

    def run(self, main: Coroutine[Any, Any, None], most: int) -> None:
        """Run ``main`` and whatever it starts, in at most that many steps. Raises Stuck, and what ``main`` raises."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main, context=contextvars.Context())
            while not task.done():
                self._step(most)
            task.result()
        finally:
            self._close()
            asyncio._set_running_loop(None)

    def end(self, life: Life) -> None:
        """Nothing of this life is run any more."""
        life.alive = False
        life.kept.clear()

    def hold(self, life: Life) -> None:
        """The life stands still."""
        life.still = True

    def let_go(self, life: Life) -> None:
        """The life goes on, with all that came due meanwhile."""
        life.still = False
        self._ready += life.kept
        life.kept = []

    # --- one step ---------------------------------------------------------------------------------------------------

    def _step(self, most: int) -> None:
        self.steps += 1
        if self.steps > most:
            raise Stuck(f"more than {most} steps at {self._now:.3f} s")
        if not self._ready:
            self._advance()
        handle = self._ready.pop(0 if self._orderly else self._dice.randrange(len(self._ready)))
        if handle.cancelled():
            return
        life = handle._context.get(LIFE)
        if life is None or (life.alive and not life.still):
            handle._run()
        elif life.alive:
            life.kept.append(handle)

    def _advance(self) -> None:
        """To the next moment at which something is due."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Stuck(f"nothing is left to happen at {self._now:.3f} s")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])

    def _close(self) -> None:
        """Let go of what never ended, without letting it do anything."""
        self._open = False
        for task in self._tasks:
            task._log_destroy_pending = task._log_traceback = False
            if not task.done():
                try:
                    task.get_coro().close()
                except BaseException:
                    continue
        self._tasks.clear()

    # --- what asyncio asks of a loop ----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._open:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if self._open:
            heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: contextvars.Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        task = _Task(coro, len(self._tasks), loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """The call is made at once; its caller learns of it later."""
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            self.call_soon(_settle, future, None, error)
        else:
            self.call_soon(_settle, future, result, None)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        life = getattr(context.get("future"), "life", None) or LIFE.get()
        error = context.get("exception")
        if self._open and (life is None or life.alive) and not isinstance(error, Died):
            self.troubles.append(f"{context['message']}: {error!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._open

    def is_closed(self) -> bool:
        return not self._open


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
