"""Commands that keep a store for years: prune, archive, hold, reconcile, reload."""

import asyncio
import getpass
import os
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from bus import daemon, generation, lock, regular
from bus.cli.keeping import WhyOption, destination, keeping, stated, stopped, tell
from bus.cli.opening import opened
from bus.cli.screen import JsonOption, SiteOption, aware, console, emit, language, say, table
from bus.plain import plain
from bus.reconciling import Reconciled, Verdict, judge
from bus.store import Store
from bus.store.archive import Order

#: What is younger is pruned only on request: partners repeat for days, mailboxes are read for a month, and a date is easily mistyped.
YOUNGEST = timedelta(days=30)
#: Seconds in which a reload must be done.
PATIENCE = 60.0

BeforeOption = Annotated[datetime, typer.Option("--before", help="What ended before this time (UTC).")]


def _certificates(site: Path) -> dict[str, bytes]:
    """What the site's receipts are verified with."""
    return {path.name: regular.octets(path) for path in sorted((site / "certs" / "own").rglob("*.crt")) if path.is_file()}


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
    with keeping(site) as (_, store):
        place = destination(archive, "archive", now) if archive else None
        done = asyncio.run(store.prune(Order(aware(before), getpass.getuser(), stated(reason), place, _certificates(site))))
    told = {**asdict(done), "file": str(place or "")}
    tell(told, say("cli-pruned", messages=done.messages, refusals=done.refusals), json)


def archive(
    file: Annotated[Path, typer.Argument(help="File or directory for the archive.")],
    before: BeforeOption,
    since: Annotated[datetime | None, typer.Option("--from", help="What ended at this time (UTC) or later.")] = None,
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Write an archive of what ended in a time, and remove nothing. `govbus audit --archive FILE` verifies it."""
    with keeping(site) as (_, store):
        place = destination(file, "archive", daemon.utc_now())
        order = Order(aware(before), getpass.getuser(), "", None, _certificates(site))
        rows = store.archive(order, place, aware(since) if since else None)
    tell({**rows, "file": str(place)}, say("cli-archived", file=place), json)


def hold(reason: WhyOption, site: SiteOption = Path(), json: JsonOption = False) -> None:
    """After PostgreSQL was restored by its own means, before any node starts: hold what is owed until you resend or cancel it."""
    why = stated(reason)

    async def held(store: Store) -> int:
        number = await store.hold()
        await store.note("restored", {"by": getpass.getuser(), "reason": why, "held": number})
        return number

    with stopped(site), opened(site) as (_, store):
        number = asyncio.run(held(store))
    tell({"held": number}, say("cli-held", held=number), json)


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
            print(plain(fault))
        done = [f"{answer.chain} {answer.number}" for answer in answers]
        console.print(say("cli-reload-failed" if faults else "cli-reloaded", generations=", ".join(done)))
    raise typer.Exit(0 if answers and not faults else 1)


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    for command in (prune, archive, hold, reconcile, reload):
        app.command()(command)
