"""Commands about the site itself: init, check, run, demo, keys, steps, adapters, schema."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bus import config, continuity, daemon, lock, log, ownership, pki, scaffold
from bus.cli.opening import surveyed
from bus.cli.screen import JsonOption, SiteOption, console, emit, language, say, table
from bus.config.components import Component
from bus.errors import Fault
from bus.listeners import CannotListen, OperatorsCannotListen
from bus.operators import NoAddress

#: Names in one warning.
_MOST_NAMED = 4


def init(directory: Annotated[Path, typer.Argument(help="A new or empty directory.")], json: JsonOption = False) -> None:
    """Write a runnable site with its own fresh development PKI."""
    try:
        scaffold.create(directory, datetime.now(UTC))
    except scaffold.NotEmpty as error:
        console.print(say("cli-not-empty", directory=directory), style="red")
        raise typer.Exit(1) from error
    if json:
        emit({"site": str(directory)})
    else:
        console.print(say("cli-initialised", directory=directory))


def check(
    site: SiteOption = Path(),
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as faults.")] = False,
    json: JsonOption = False,
) -> None:
    """Report every fault of the site's files, one a line; exit 1 if any is more than a warning, or --strict."""
    found = continuity.check(site, os.environ, daemon.store_url(site, os.environ), daemon.utc_now)
    faults = [*found, *ownership.leaving(site), *_of_development(site)]
    wrong = [fault for fault in faults if strict or not fault.warning]
    if json:
        emit([{"file": f.file, "line": f.line, "column": f.column, "text": f.text, "warning": f.warning} for f in faults])
    else:
        for fault in faults:
            print(fault.said(language()))
        print(say("cli-check-faults", count=len(wrong)) if wrong else say("cli-check-good"))
    raise typer.Exit(1 if wrong else 0)


def _of_development(site: Path) -> list[Fault]:
    """One warning for all the keys and authorities of development that the site rests on."""
    names = pki.in_use(site / "certs")
    if not names:
        return []
    shown = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return [Fault.of("certs", "development-keys", {"names": shown}, warning=True)]


def run(
    site: SiteOption = Path(),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8443,
    workers: Annotated[int, typer.Option(help="Processes over one socket.", min=1, max=64)] = 1,
    operators: Annotated[
        str | None, typer.Option(help="HOST:PORT for /metrics and the whole /readyz, or off; by default 127.0.0.1:8451.")
    ] = None,
    new_store: Annotated[bool, typer.Option("--new-store", help="Make a new store although this site has had one that is gone.")] = False,
) -> None:
    """Run the daemon. JSON log lines on stderr; `bus.ready` carries the addresses. SIGTERM drains, SIGHUP reloads."""
    log.configure()
    try:
        daemon.run(site, os.environ, host, port, workers, operators, new_store=new_store)
    except NoAddress as error:
        raise typer.BadParameter(str(error), param_hint="--operators") from error
    except OperatorsCannotListen as error:
        console.print(say("cli-operators-cannot-listen", detail=error), style="red")
        raise typer.Exit(1) from error
    except lock.AlreadyRunning as error:
        console.print(say("cli-already-running", site=site, pid=error), style="red")
        raise typer.Exit(1) from error
    except CannotListen as error:
        console.print(say("cli-cannot-listen", host=host, port=port, detail=error), style="red")
        raise typer.Exit(1) from error


def demo(
    documents: Annotated[int, typer.Option(help="How many documents.", min=5, max=100_000)] = 36,
    keep: Annotated[bool, typer.Option(help="Leave everything running until Ctrl-C.")] = False,
    kill: Annotated[int, typer.Option(help="kill -9 the ministry's bus this often on the way; it is started again.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Run the bus and its sandbox partners in a temporary site, send documents down every route, and check the outcome."""
    from sandbox import demo as play  # noqa: PLC0415 - the sandbox stands above the machine and is loaded for this command only

    raise typer.Exit(play.run(documents=documents, keep=keep, json=json, kills=kill))


def keys(site: SiteOption = Path(), json: JsonOption = False) -> None:
    """List the site's keys and certificates, the revocation lists and responses held, and when each ends."""
    loaded = surveyed(site)
    now = daemon.utc_now()
    keyring = loaded.site.keyring
    daemon.know_statuses(loaded.site)
    rows = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "partner": entry.partner,
            "subject": entry.subject,
            "not_after": entry.not_after.isoformat(),
            "days": (entry.not_after - now).days,
            "detail": entry.detail,
            "fingerprint": entry.fingerprint,
            "expired": entry.not_after <= now,
        }
        for entry in keyring.entries()
    ]
    unread = [fault for fault in loaded.warnings if fault.file.startswith("certs/")]
    if json:
        emit(rows + [_unread(fault) for fault in unread])
    else:
        lines = [{**row, "days": say("cli-key-expired", days=row["days"]) if row["expired"] else row["days"]} for row in rows]
        table(["name", "kind", "partner", "subject", "not_after", "days", "detail"], [list(line.values())[:7] for line in lines])
        for fault in unread:
            print(fault.said(language()))


def _unread(fault: Fault) -> dict[str, object]:
    """A row about what lies among the certificates and does not count in full."""
    words = fault.vi if language() == "vi" and fault.vi else fault.text
    row = {"name": fault.file.removeprefix("certs/"), "kind": "unread", "partner": "", "subject": "", "not_after": None, "days": None}
    return {**row, "detail": words, "fingerprint": ""}


def steps(json: JsonOption = False) -> None:
    """Document each step: what it does and its options."""
    _document(config.steps(), json)


def adapters(json: JsonOption = False) -> None:
    """Document each adapter: what it does and its options."""
    _document(config.adapters(), json)


def _document(components: Mapping[str, Component], json: bool) -> None:
    documents = config.documentation(components)
    if json:
        emit(documents)
        return
    for document in documents:
        console.print(document["name"], style="bold")
        console.print(document["text"])
        table(["option", "type", "default", "description"], [list(option.values()) for option in document["options"]])


def schema(json: JsonOption = True) -> None:  # noqa: ARG001 - it is JSON either way; every command takes --json
    """Print the JSON Schema of routes.yaml, for editors."""
    emit(config.json_schema())


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    for command in (init, check, run, demo, keys, steps, adapters, schema):
        app.command()(command)
