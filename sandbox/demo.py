"""``govbus demo``: the ministry's bus between its partners, on this machine, with a day's post; and a check of the outcome.

Three buses run as real daemons (the ministry's, the Government Office's hub, a partner agency's). Around them work real clients: two
units, the Government Office's desk and the agency's desk. At the end the demo compares, file by file, what the clients hold with what
was sent, verifies every receipt, and asks ``govbus audit`` of every bus. A bus that is killed on the way (by ``--kill``, or by
whoever watches) is started again, as a service manager would; the outcome must be the same.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from bus import edxml
from bus.cli.screen import language
from bus.edxml.model import Document
from bus.errors import Deferred, Rejected, said
from bus.message import KIND_DOCUMENT, KIND_RECEIPT
from bus.octets import whole
from sandbox import documents, outcome, sites
from sandbox.documents import GOVERNMENT_OFFICE, PARTIES, PARTNER_AGENCY, SECURITY_AUTHORITY, TELECOM_AUTHORITY, Party
from sandbox.government_office import DOCUMENTS, Desk, Letter
from sandbox.process import BusProcess, DidNotStart
from sandbox.programme import UNITS, Item, programme
from sandbox.progress import Progress
from sandbox.run import Refused, Run
from sandbox.unit import Unit

#: The partner names of the units in routes.yaml.
PARTNER_OF = {TELECOM_AUTHORITY.code: "telecom-authority", SECURITY_AUTHORITY.code: "digital-agency"}
#: Everything must have arrived after this, or is lost.
PATIENCE = 100.0
#: A client's pause between two looks into its mailbox, and before it repeats what was deferred.
PAUSE = 0.2
#: Above this many octets a unit sends its document by MTOM.
MTOM_BYTES = 200_000
#: How many documents one sender has on the way to the bus at once.
WIDTH = 4

#: What ends a demo early, and one that is kept.
ENDED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


def run(*, documents: int, keep: bool, json: bool, kills: int = 0) -> int:
    """Play it; the exit code: 0 when everything adds up. Whatever signal ends it, no daemon and no key is left behind."""
    begin = time.monotonic()
    for number in ENDED_BY:
        signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="govbus-demo-") as directory, Progress(quiet=json) as progress:
        progress.say("demo-preparing")
        run = _prepare(Path(directory))
        try:
            asyncio.run(_play(run, programme(documents), progress, kills))
            result = outcome.judge(run, time.monotonic() - begin)
            progress.done(run)
            outcome.show(result, json=json)
            if keep:
                with contextlib.suppress(SystemExit):
                    outcome.keep_running(run)
        finally:
            run.stopping = True
            for number in ENDED_BY:
                signal.signal(number, signal.SIG_IGN)
            for bus in run.buses.values():
                bus.stop()
    return 0 if result.good else 1


def _end(number: int, _frame: object) -> None:
    """Once: what is then put away is put away whole."""
    for each in ENDED_BY:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _prepare(directory: Path) -> Run:
    made = sites.create(directory, datetime.now(UTC))
    buses = {name: BusProcess(getattr(made, name), port=made.ports[name]) for name in ("hub", "agency", "ministry")}
    return Run(made, buses)


async def _play(run: Run, items: list[Item], progress: Progress, kills: int) -> None:
    await asyncio.gather(*(asyncio.to_thread(bus.start) for bus in run.buses.values()))
    # A task that fails ends all of them, and the demo with the reason.
    async with _clients(run) as (units, desk, agency), asyncio.TaskGroup() as group:
        deaths = group.create_task(_kill(run, kills))
        background = [
            group.create_task(work)
            for work in (
                _supervise(run),
                _collect_desk(run, desk),
                _collect_agency(run, agency),
                *(_collect_unit(run, unit) for unit in units.values()),
                progress.follow(run),
            )
        ]
        await _send_all(run, items, units, desk)
        # However quick it all went: who asked for deaths sees each of them survived.
        await deaths
        await _until_complete(run)
        run.stopping = True
        for task in background:
            task.cancel()


@contextlib.asynccontextmanager
async def _clients(run: Run) -> AsyncIterator[tuple[dict[str, Unit], Desk, Unit]]:
    async with contextlib.AsyncExitStack() as stack:
        units = {party.code: await stack.enter_async_context(connect_unit(run.sites, party)) for party in UNITS}
        hub = f"http://127.0.0.1:{run.sites.ports['hub']}/vxp/exchange"
        desk = await stack.enter_async_context(Desk(hub, run.sites.desk_secret, lambda: datetime.now(UTC)))
        agency = await stack.enter_async_context(
            Unit.connect(
                f"https://127.0.0.1:{run.sites.ports['agency']}",
                PARTNER_AGENCY.code,
                keys=run.sites.key("partner-agency"),
                trust=run.sites.agency / "certs" / "own",
                inbox="/soap/desk",
            )
        )
        yield units, desk, agency


def connect_unit(made: sites.Sites, party: Party) -> Unit:
    """A unit's client of the ministry's bus, with the unit's development key."""
    return Unit.connect(
        f"https://127.0.0.1:{made.ports['ministry']}",
        party.code,
        keys=made.key(PARTNER_OF[party.code]),
        trust=made.ministry / "certs" / "own",
    )


# --- sending ------------------------------------------------------------------------------------------------------------


async def _send_all(run: Run, items: list[Item], units: dict[str, Unit], desk: Desk) -> None:
    width = {code: asyncio.Semaphore(WIDTH) for code in PARTIES}

    async def send(item: Item) -> None:
        async with width[item.sender.code]:
            if item.sender is GOVERNMENT_OFFICE:
                _expect(run, item)
                await _persist(lambda: desk.send(item.body))
            else:
                await _send_from_unit(run, item, units[item.sender.code])

    await asyncio.gather(*(send(item) for item in items))


async def _send_from_unit(run: Run, item: Item, unit: Unit) -> None:
    if not item.refused:
        _expect(run, item)
    try:
        first = await _persist(lambda: unit.send(item.body, item.message_id, mtom=len(item.body) > MTOM_BYTES))
    except Rejected as error:
        code, _, reason = str(said(error.values.get("detail", str(error)), language())).partition(" ")
        run.refused.append(Refused(item.message_id, item.refused, code, reason))
        if code != item.refused:
            run.unexpected.append(f"{item.message_id}: refused with {code} {reason}")
        return
    if item.refused:
        run.unexpected.append(f"{item.message_id}: accepted, but {item.refused} was expected")
    if item.again:
        second = await _persist(lambda: unit.send(item.body, item.message_id))
        run.repeated += 1
        if second.id != first.id:
            run.unexpected.append(f"{item.message_id}: sent again, it got another receipt")
    else:
        run.accepted[item.sender.code] += 1


def _expect(run: Run, item: Item) -> None:
    for receiver in item.receivers:
        run.ledger.expect(receiver.code, item.body)


async def _persist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call while it is deferred: what every client of the bus must do, and all that it must do."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await call()
        except Deferred:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE)


# --- collecting -----------------------------------------------------------------------------------------------------------


async def _collect_desk(run: Run, desk: Desk) -> None:
    """The Government Office: keep, confirm, and report the status 01 to the sender."""

    async def keep(letter: Letter) -> None:
        if run.seen(GOVERNMENT_OFFICE.code, letter.doc_id):
            return
        run.ledger.arrive(GOVERNMENT_OFFICE.code, letter.body)
        if letter.kind == DOCUMENTS and isinstance(letter.content, Document):
            report = documents.make_status("01", letter.content, GOVERNMENT_OFFICE)
            run.ledger.expect(letter.content.header.sender.organ_id, report)

    while True:
        await _patiently(lambda: desk.collect(keep))


async def _collect_agency(run: Run, agency: Unit) -> None:
    async def keep(_kind: str, body: bytes) -> None:
        run.ledger.arrive(PARTNER_AGENCY.code, body)

    while True:
        await _patiently(lambda: _empty_mailbox(run, agency, keep))


async def _collect_unit(run: Run, unit: Unit) -> None:
    """A unit: keep what came, and answer the Government Office's documents with the status 01."""

    async def keep(kind: str, body: bytes) -> None:
        if kind == KIND_RECEIPT:
            unit.read_receipt(body)
            run.mailed_receipts += 1
            return
        run.ledger.arrive(unit.organ, body)
        if kind == KIND_DOCUMENT:
            await _acknowledge(run, unit, body)

    while True:
        await _patiently(lambda: _empty_mailbox(run, unit, keep))


async def _acknowledge(run: Run, unit: Unit, body: bytes) -> None:
    content = edxml.read(edxml.parse(body))
    if not isinstance(content, Document):
        return
    sender = content.header.sender.organ_id
    status = documents.make_status("01", content, PARTIES[unit.organ])
    run.ledger.expect(sender, status)
    await _persist(lambda: unit.send(status, f"status-01-{unit.organ}-{content.header.document_id}"))
    run.accepted[unit.organ] += 1


async def _empty_mailbox(run: Run, unit: Unit, keep: Callable[[str, bytes], Awaitable[None]]) -> int:
    entries = await unit.pending(200)
    for entry in entries:
        fetched = await unit.fetch(entry.message_id)
        if not run.seen(unit.organ, entry.message_id):
            await keep(entry.kind, whole(fetched.body))
        await unit.confirm(entry.message_id)
    return len(entries)


async def _patiently(collect: Callable[[], Awaitable[int]]) -> None:
    """One round; a bus that is away comes back."""
    with contextlib.suppress(Deferred):
        if await collect():
            return
    await asyncio.sleep(PAUSE)


async def _until_complete(run: Run) -> None:
    """Wait until everything has arrived and every delivery has ended; what has not by then is lost."""
    deadline = time.monotonic() + PATIENCE
    with outcome.watched(run) as stores:
        while time.monotonic() < deadline:
            alive = not any(bus.died for bus in run.buses.values())
            if alive and run.ledger.complete and await asyncio.to_thread(outcome.drained, stores):
                return
            await asyncio.sleep(PAUSE)


# --- dying ----------------------------------------------------------------------------------------------------------------


async def _supervise(run: Run) -> None:
    """What a service manager does: a bus that died is started again."""
    while not run.stopping:
        for bus in run.buses.values():
            if bus.died and not run.stopping:
                run.restarts += 1
                # It may be killed again before it is ready: then it is still dead, and the next round starts it.
                with contextlib.suppress(DidNotStart):
                    await asyncio.to_thread(bus.start)
        await asyncio.sleep(PAUSE / 2)


async def _kill(run: Run, kills: int) -> None:
    """``kill -9`` of the ministry's bus, at moments nobody chose."""
    for _ in range(kills):
        await asyncio.sleep(1.5)
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.buses["ministry"].pid, signal.SIGKILL)
