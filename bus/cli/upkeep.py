"""Commands that keep a store for years: prune, archive, backup, restore, hold, reconcile, reload."""

import asyncio
import contextlib
import fcntl
import getpass
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import file_digest
from pathlib import Path
from typing import Annotated

import typer

from bus import daemon, datadir, generation, lock
from bus.cli.opening import opened, surveyed
from bus.cli.screen import JsonOption, SiteOption, aware, console, emit, fields, language, say, table
from bus.config import Loaded
from bus.reconciling import Reconciled, Verdict, judge
from bus.store import Store
from bus.store.archive import Order
from bus.store.backup import unpack

#: What is younger is pruned only on request: partners repeat for days, mailboxes are read for a month, and a date is easily mistyped.
YOUNGEST = timedelta(days=30)
#: Seconds in which a reload must be done.
PATIENCE = 60.0

BeforeOption = Annotated[datetime, typer.Option("--before", help="What ended before this time (UTC).")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; written into the journal with your name.")]


@contextlib.contextmanager
def _keeping(site: Path) -> Iterator[tuple[Loaded, Store]]:
    """The site's store, for one command of these at a time."""
    with opened(site) as (loaded, store), (site / "data" / "upkeep.lock").open("a") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            console.print(say("cli-upkeep-busy"), style="red")
            raise typer.Exit(1) from error
        yield loaded, store


def _certificates(site: Path) -> dict[str, bytes]:
    """What the site's receipts are verified with."""
    return {path.name: path.read_bytes() for path in sorted((site / "certs" / "own").rglob("*.crt"))}


def _place(path: Path, kind: str, now: datetime) -> Path:
    """A file as it was named, or one with a name of its own in a directory. Nothing is written over."""
    place = path / f"govbus-{kind}-{now:%Y%m%dT%H%M%SZ}.tar" if path.is_dir() else path
    if place.exists():
        raise typer.BadParameter(f"{place} is there already")
    return place.absolute()


def prune(
    before: BeforeOption,
    reason: WhyOption,
    archive: Annotated[Path | None, typer.Option(help="File or directory for the archive, written first.")] = None,
    no_archive: Annotated[bool, typer.Option("--no-archive", help="Keep nothing of what is pruned.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what ended less than 30 days ago.")] = False,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Remove messages that ended before a date, with their octets, receipts and journal rows, while the daemon runs."""
    now = daemon.utc_now()
    if (archive is None) != no_archive:
        raise typer.BadParameter("say where the archive goes, or --no-archive", param_hint="--archive")
    if aware(before) > now - (timedelta() if force else YOUNGEST):
        raise typer.BadParameter("less than 30 days ago; --force if it is meant", param_hint="--before")
    with _keeping(site) as (_, store):
        place = _place(archive, "archive", now) if archive else None
        done = asyncio.run(store.prune(Order(aware(before), getpass.getuser(), _why(reason), place, _certificates(site))))
    told = {**asdict(done), "file": str(place or "")}
    _tell(told, say("cli-pruned", messages=done.messages, refusals=done.refusals), json)


def _why(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    return reason


def archive(
    file: Annotated[Path, typer.Argument(help="File or directory for the archive.")],
    before: BeforeOption,
    since: Annotated[datetime | None, typer.Option("--from", help="What ended at this time (UTC) or later.")] = None,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Write an archive of what ended in a time, and remove nothing. `govbus audit --archive FILE` verifies it."""
    with _keeping(site) as (_, store):
        place = _place(file, "archive", daemon.utc_now())
        order = Order(aware(before), getpass.getuser(), "", None, _certificates(site))
        rows = store.archive(order, place, aware(since) if since else None)
    _tell({**rows, "file": str(place)}, say("cli-archived", file=place), json)


def backup(
    file: Annotated[Path, typer.Argument(help="File or directory for the backup.")],
    with_keys: Annotated[bool, typer.Option("--with-keys", help="With private keys and site.env: keep the file like a key then.")] = False,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Copy the store, its large bodies and the site's files into one file, while the daemon runs."""
    now = daemon.utc_now()
    with _keeping(site) as (_, store):
        place = _place(file, "backup", now)
        said = {"at": now.isoformat(), "by": getpass.getuser(), "keys": with_keys}
        told = store.backup(place, _files(site, with_keys=with_keys), said)
    with place.open("rb") as written:
        digest = file_digest(written, "sha256").hexdigest()
    _tell({**told, "file": str(place), "sha256": digest}, say("cli-backed-up", file=place), json)


def _files(site: Path, *, with_keys: bool) -> dict[str, Path]:
    """The site's files by their names: what it was configured with."""
    found = [site / "routes.yaml", *(path for name in ("schemas", "certs") for path in sorted((site / name).rglob("*")))]
    open_to_all = [path for path in found if with_keys or path.suffix not in {".key", ".p12"}]
    secret = [site / "site.env"] if with_keys else []
    return {str(path.relative_to(site)): path for path in [*open_to_all, *secret] if path.is_file()}


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `govbus backup` wrote.", exists=True, dir_okay=False)],
    reason: WhyOption,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Put a backup in place of the store of a site that is stopped. Nothing that was owed is sent until you resend it.

    One that was killed is undone first: type it again.
    """
    why = _why(reason)
    if os.environ.get("GOVBUS_STORE"):
        raise typer.BadParameter("GOVBUS_STORE names another store; restore is for the embedded one", param_hint="GOVBUS_STORE")
    site.mkdir(exist_ok=True)
    datadir.recover(site)
    with _stopped(site):
        beside = site / datadir.RESTORING
        shutil.rmtree(beside, ignore_errors=True)
        manifest = unpack(file, beside, site)
        try:
            held = asyncio.run(_hold(site, beside, {"by": getpass.getuser(), "reason": why, "backup": manifest["at"]}))
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        replaced = datadir.put(site, beside, daemon.utc_now())
    told = {"at": manifest["at"], "rows": manifest["rows"], "held": held, "replaced": str(replaced)}
    _tell(told, say("cli-restored", at=manifest["at"], held=held, replaced=replaced), json)


@contextlib.contextmanager
def _stopped(site: Path) -> Iterator[None]:
    try:
        with lock.sole_daemon(site):
            yield
    except lock.AlreadyRunning as error:
        console.print(say("cli-still-running", site=site, pid=error), style="red")
        raise typer.Exit(1) from error


async def _hold(site: Path, data: Path, said: Mapping[str, str]) -> int:
    """Hold what is owed in a store that lies aside, and journal in each chain that it goes on from a backup."""
    loaded = surveyed(site)
    store = daemon.open_store_at(loaded.site, data, "operator")
    try:
        held, chains = await store.hold(), store.chains()
        await store.note("restored", {**said, "held": held})
    finally:
        store.close()
    for chain in chains:
        if chain != "operator":
            store = daemon.open_store_at(loaded.site, data, chain)
            try:
                await store.note("restored", said)
            finally:
                store.close()
    return held


def hold(reason: WhyOption, site: SiteOption = Path(), json: JsonOption = False) -> None:
    """After PostgreSQL was restored by its own means, before any node starts: hold what is owed until you resend or cancel it."""
    why = _why(reason)

    async def held(store: Store) -> int:
        number = await store.hold()
        await store.note("restored", {"by": getpass.getuser(), "reason": why, "held": number})
        return number

    with _stopped(site), opened(site) as (_, store):
        number = asyncio.run(held(store))
    _tell({"held": number}, say("cli-held", held=number), json)


def reconcile(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Signed receipts, or directories of them (*.xml).", exists=True)],
    record: Annotated[bool, typer.Option("--record", help="Write what was forgotten or lost into the journal.")] = False,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Compare receipts that partners hold with the store: after a restore, what was lost since the backup. Exit 1 if anything was."""
    files = [file for path in paths for file in (sorted(path.rglob("*.xml")) if path.is_dir() else [path])]
    with opened(site) as (loaded, store):
        evidence = daemon.open_evidence(loaded.site)
        found = [(file, judge(store, evidence, file.read_bytes())) for file in files]
        rows = [_row(file, each) for file, each in found if each.verdict is not Verdict.KNOWN]
        missed = [row for row in rows if row["verdict"] in {Verdict.FORGOTTEN, Verdict.LOST, Verdict.DIFFERS}]
        if record and missed:
            asyncio.run(store.note("reconciled", {"by": getpass.getuser(), "found": missed}))
    counts = Counter(each.verdict for _, each in found)
    if json:
        emit({"counts": counts, "found": rows})
    else:
        columns = ["verdict", "status", "message", "at", "what"]
        table(columns, [[row["verdict"], row["status"], row["message"], row["at"], _advice(row)] for row in rows])
        console.print(say("cli-reconciled", known=counts[Verdict.KNOWN], missed=len(missed), files=len(files)))
    raise typer.Exit(1 if missed else 0)


def _row(file: Path, each: Reconciled) -> dict[str, object]:
    receipt = each.receipt
    said = {"receipt": receipt.id, "message": receipt.message_id, "status": receipt.status, "at": receipt.at.isoformat()} if receipt else {}
    blank = dict.fromkeys(("receipt", "message", "status", "at"), "")
    why = each.reason.reason(language()) if each.reason else ""
    return {"file": str(file), "verdict": each.verdict, **blank, **said, "deliveries": " ".join(each.deliveries), "reason": why}


def _advice(row: Mapping[str, object]) -> object:
    if row["verdict"] == Verdict.FOREIGN:
        return row["reason"]
    if row["verdict"] == Verdict.FORGOTTEN and not row["deliveries"]:
        return say("cli-reconcile-gone")
    return say(f"cli-reconcile-{row['verdict']}", deliveries=row["deliveries"])


def reload(site: SiteOption = Path(), json: JsonOption = False) -> None:
    """Have the running daemon take up the site's changed files, and say what came of it. What is broken changes nothing; exit 1."""
    pid = lock.holder(site)
    if pid is None:
        console.print(say("cli-not-running", site=site), style="red")
        raise typer.Exit(1)
    asked = datetime.now(UTC)
    os.kill(pid, signal.SIGHUP)
    answers = asyncio.run(generation.answers(site, asked, PATIENCE))
    faults = sorted({fault for answer in answers for fault in answer.faults})
    if json:
        emit([asdict(answer) for answer in answers])
    elif not answers:
        console.print(say("cli-reload-silent", seconds=int(PATIENCE)), style="red")
    else:
        for fault in faults or sorted({warning for answer in answers for warning in answer.warnings}):
            print(fault)
        done = [f"{answer.chain} {answer.number}" for answer in answers]
        console.print(say("cli-reload-failed" if faults else "cli-reloaded", generations=", ".join(done)))
    raise typer.Exit(0 if answers and not faults else 1)


def _tell(told: Mapping[str, object], sentence: str, json: bool) -> None:
    if json:
        emit(told)
    else:
        fields(told)
        console.print(sentence)


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    for command in (prune, archive, backup, restore, hold, reconcile, reload):
        app.command()(command)
