"""The command about what was refused at the doors, and a refusal as `show REFERENCE` tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bus.cli.opening import opened
from bus.cli.screen import JsonOption, SiteOption, aware, console, emit, fields, language, table
from bus.plain import plain
from bus.store.refusals import Refusal, WantedRefusals

_COLUMNS = ("at", "count", "reference", "partner", "source", "endpoint", "code", "last", "document", "subject_line", "place")


def refused(
    site: SiteOption = Path(),
    partner: Annotated[str, typer.Option(help="Only of this partner, as it was authenticated.")] = "",
    code: Annotated[str, typer.Option(help="Only with this code, or one that begins so, such as 5.7.")] = "",
    since: Annotated[datetime | None, typer.Option(help="Refused at or after (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    json: JsonOption = False,
) -> None:
    """List refusals, newest first, by the reference that the sender's fault bears; a stranger's by minute, code and source."""
    with opened(site) as (_, store):
        found = store.refused(WantedRefusals(partner, code, aware(since) if since else None, limit))
    if json:
        emit([asdict(each) for each in found])
        return
    table(_COLUMNS, [_line(each) for each in found])


def tell(found: Sequence[Refusal], *, json: bool) -> None:
    """Refusals in full, each with its row in the journal."""
    if json:
        emit([{"refused": asdict(each)} for each in found])
        return
    for each in found:
        console.print(plain(each.reference), style="bold")
        fields(_said(each))


def _said(refusal: Refusal) -> Mapping[str, object]:
    fields_of = {name: value for name, value in asdict(refusal).items() if name not in {"reference", "reasons", "chain", "seq"}}
    return {**fields_of, "reason": _reason(refusal), "journal": f"{refusal.chain} {refusal.seq}"}


def _reason(refusal: Refusal) -> str:
    return refusal.reasons.get(language(), "") or next(iter(refusal.reasons.values()), "")


def _line(each: Refusal) -> list[object]:
    at = each.at.isoformat(timespec="seconds")
    document = each.number or each.document_id
    whose = (each.partner, each.source, each.endpoint)
    return [at, each.count, each.reference, *whose, each.code, _reason(each), document, each.subject, each.place]


def register(app: typer.Typer) -> None:
    """Put this command into the program."""
    app.command()(refused)
