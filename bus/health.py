"""Health: whether the daemon is alive, whether it can take what partners send, and its numbers, as pages.

``/healthz``  503 when a loop of the engine has ended: then only a restart helps.
``/readyz``   503 when nothing can be accepted. It asks what acceptance asks: a transaction through the writer, which waits for the lock
              that a message would wait for, and a block written beside it. At the partners' door it says 200 or 503 and nothing more.
``/metrics``  for operators only, as are the parts and conditions in ``/readyz``.

However often it is asked, it looks once in ``FRESH`` seconds as long as all is well, and once for all who ask; however long the store
takes, an answer comes after ``PATIENCE``. Nothing here waits for the threads that messages are worked in: each kind of look has its own.
What is found is a condition (``bus.conditions``) as long as it lasts, asked for or not.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from bus import conditions, mailboxes, metrics
from bus.checkpointing import Checkpointing
from bus.config import Loaded
from bus.delivery import ROUTE_PREFIX, State
from bus.endpoint import Page, Response
from bus.engine import Engine
from bus.errors import LANGUAGES, Deferred, text
from bus.offload import Look
from bus.plain import plain_json
from bus.store import Gauge, Store
from bus.wakeup import Wakeup
from bus.watch import IN_USE, Watch

#: Seconds for which an answer about readiness holds.
FRESH: Final = 2.0
#: Seconds that one question may take: a health check gives up after as many.
PATIENCE: Final = 3.0
#: Seconds between two looks that nobody asked for; while the store is down, FRESH.
_ROUND: Final = 30.0
#: Seconds without a failure after which the store counts as back: near the end of a disk every other write succeeds.
_QUIET: Final = 10.0
_STORE: Final = "store"
_PUSHED: Final = (State.READY, State.CLAIMED, State.DEAD)
_FETCHED: Final = (State.WAITING, State.DEAD)


def store_trouble(root: Path) -> Callable[[Deferred], None]:
    """What the store is to call when it cannot keep something: one condition, however many messages it costs."""

    def tell(error: Deferred) -> None:
        cause = error.__cause__
        if cause is not None:
            _open_store(root, str(getattr(cause, "orig", None) or getattr(cause, "strerror", None) or type(cause).__name__))

    return tell


def _open_store(root: Path, detail: str) -> None:
    free = _free(root)
    reasons = {language: text("condition-store", language, detail=detail, free=free) for language in LANGUAGES}
    conditions.open(conditions.STORE, _STORE, reasons, free_bytes=free)


def _free(root: Path) -> int:
    """Bytes that we may still write."""
    try:
        disk = os.statvfs(root / "data")
    except OSError:
        return 0
    return disk.f_bavail * disk.f_frsize


@dataclass(slots=True)
class Health:
    """The health of one process. ``loaded`` is the present generation; ``wakeup`` is there once the engine runs with a broker."""

    root: Path
    language: str
    loaded: Loaded
    engine: Engine
    store: Store
    checkpointing: Checkpointing
    watch: Watch
    wakeup: Wakeup | None = None
    _disk: Look[None] = field(init=False)
    _backlog: Look[None] = field(init=False)
    _look: "asyncio.Task[Mapping[str, str]] | None" = None
    _looked: float = 0.0
    _found: Mapping[str, str] = field(default_factory=dict)
    _proof: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self._disk = Look("disk", lambda: _try_writing(self.root / "data"), PATIENCE)
        self._backlog = Look("backlog", self._count, PATIENCE)

    # --- pages ------------------------------------------------------------------------------------------------------

    def for_partners(self) -> Mapping[str, Page]:
        """What the partners' door shows: whether it is well, and nothing of what is not."""
        return {"/healthz": self._healthz, "/readyz": self._status}

    def for_operators(self) -> Mapping[str, Page]:
        """Everything."""
        return {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics}

    async def _healthz(self) -> Response:
        return _page(self.dead())

    async def _status(self) -> Response:
        return Response(503 if (unwell := await self.unwell()) else 200, "application/json", _json({"status": _word(unwell)}))

    async def _readyz(self) -> Response:
        await self._look_at_tokens()
        return _page(await self.unwell(), self.warnings())

    async def _metrics(self) -> Response:
        await self.measure()
        return Response(200, "text/plain; version=0.0.4; charset=utf-8", metrics.text())

    # --- what is not well -------------------------------------------------------------------------------------------

    def dead(self) -> Mapping[str, str]:
        """What only a restart mends."""
        return {} if self.engine.alive() else {"engine": text("health-engine", self.language)}

    async def unwell(self) -> Mapping[str, str]:
        """Why nothing can be accepted, by part; {} when it can. One look at the disk for all who ask, FRESH seconds old at most."""
        now = asyncio.get_running_loop().time()
        # What is not well may be over: that is looked at anew by everybody who asks after the last look has ended.
        fresh = 0.0 if self._found or conditions.is_open(conditions.STORE, _STORE) else FRESH
        if self._look is None or (self._look.done() and now - self._looked >= fresh):
            self._looked = now
            self._look = asyncio.create_task(self._looks())
        self._found = await asyncio.shield(self._look)
        return {**self.dead(), **self._found, **self._keys(), **self.checkpointing.unwell(self.language)}

    def _keys(self) -> Mapping[str, str]:
        """What ails the keys of ours, by name."""
        now = datetime.now(UTC)
        ended = [entry for entry in self.loaded.site.keyring.entries() if entry.kind == "own" and entry.not_after <= now]
        said = {entry.name: text("health-certificate", self.language, at=entry.not_after.isoformat()) for entry in ended}
        return {**said, **{name: failure.reason(self.language) for name, failure in self.watch.down.items()}}

    async def _looks(self) -> Mapping[str, str]:
        unwell = dict[str, str]()
        store, data = await asyncio.gather(self._writes(), _ended(self._disk))
        if store:
            unwell["store"] = text("health-store", self.language, detail=store)
            _open_store(self.root, store)
        if data is not None:
            unwell["data"] = text("health-data", self.language, detail=getattr(data, "strerror", None) or _slow())
        if not store and data is None:
            conditions.close(conditions.STORE, _STORE, quiet=_QUIET)
        return unwell

    async def _writes(self) -> str:
        """Why the store takes no message, or "". One transaction at a time: while it hangs, no second one queues behind it."""
        if self._proof is None or self._proof.done():
            self._proof = asyncio.create_task(self.store.prove())
        done, _ = await asyncio.wait({self._proof}, timeout=PATIENCE)
        if not done:
            return _slow()
        error = self._proof.exception()
        cause = error.__cause__ if isinstance(error, Deferred) else None
        return "" if error is None else str(getattr(cause, "orig", None) or cause or error)

    async def _look_at_tokens(self) -> None:
        """A token that does not answer at all is what it was when it was last looked at."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self.watch.look_at_tokens()

    def warnings(self) -> Mapping[str, str]:
        """What is not well and costs latency, or messages of some partners."""
        said = self.wakeup.unwell() if self.wakeup is not None else {}
        return {**said, **conditions.standing(self.language)}

    async def run(self) -> None:
        """Look now and then though nobody asks, more often while the store is down; until cancelled."""
        while True:
            await self.unwell()
            conditions.close_quiet(conditions.BURIED, conditions.BURIED_QUIET)
            await asyncio.sleep(FRESH if conditions.is_open(conditions.STORE, _STORE) else _ROUND)

    # --- numbers ----------------------------------------------------------------------------------------------------

    async def measure(self) -> None:
        """Bring up to date what is worked out when it is asked for. What the store does not answer stays what it was."""
        await _ended(self._backlog)
        metrics.DISK_FREE.tell({(): _free(self.root)})
        now, entries = datetime.now(UTC), self.loaded.site.keyring.entries()
        # Several certificates lie under one name while they are rotated: the first to end is the one to know of.
        ends: dict[str, datetime] = {}
        for entry in entries:
            if entry.kind in IN_USE:
                ends[entry.name] = min(entry.not_after, ends.get(entry.name, entry.not_after))
        metrics.CERTIFICATE_DAYS.tell({(name,): (end - now).total_seconds() / 86400 for name, end in ends.items()})

    def _count(self) -> None:
        self._tell_backlog(self.store.gauges())
        mailboxes.tell(self.store.mailboxes())

    def _tell_backlog(self, gauges: Iterable[Gauge]) -> None:
        """Every target there is says how much stands there, also when that is nothing: a rule on a series that is gone is silent."""
        empty: dict[tuple[str, ...], float] = {(target, str(state)): 0.0 for target, states in self._targets() for state in states}
        found = {(gauge.target, gauge.state): gauge for gauge in gauges}
        metrics.BACKLOG.tell({**empty, **{place: float(gauge.count) for place, gauge in found.items()}})
        metrics.OLDEST.tell({**empty, **{place: gauge.age for place, gauge in found.items()}})

    def _targets(self) -> Iterable[tuple[str, Iterable[State]]]:
        yield from ((ROUTE_PREFIX + name, _PUSHED) for name in self.loaded.routes)
        boxes = {mailbox for route in self.loaded.routes.values() for mailbox in (*route.mailboxes, route.receipts) if mailbox}
        yield from ((name, _FETCHED) for name in sorted(boxes))
        yield from ((name, _PUSHED) for name, adapter in self.loaded.endpoints.items() if adapter.features.sends and name not in boxes)


async def _ended(look: Look[None]) -> Exception | None:
    """What went wrong with a look, or TimeoutError."""
    try:
        await look()
    except (OSError, Deferred, RuntimeError) as error:
        return error
    return None


def _slow() -> str:
    return f"no answer in {PATIENCE:g} s"


def _word(unwell: Mapping[str, str]) -> str:
    return "unwell" if unwell else "ok"


def _page(unwell: Mapping[str, str], warnings: Mapping[str, str] | None = None) -> Response:
    said = {"status": _word(unwell), "parts": dict(unwell), "warnings": dict(warnings or {})}
    return Response(503 if unwell else 200, "application/json", _json({name: value for name, value in said.items() if value}))


def _json(said: Mapping[str, object]) -> bytes:
    return plain_json(orjson.dumps(said).decode()).encode() + b"\n"


def _try_writing(directory: Path) -> None:
    """One block, written and removed: a full or read-only disk can be read for a long time before anybody notices."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        file.write(bytes(4096))
