"""Commands about messages: messages, show, dead, resend, cancel, receipts, audit."""

import asyncio
import getpass
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from bus import audit as oracle
from bus import daemon, stamping
from bus.cli import meaning, refusals
from bus.cli.meaning import PartnerOption, Unclear
from bus.cli.opening import opened, signing
from bus.cli.screen import JsonOption, SiteOption, aware, console, emit, fields, language, say, table
from bus.delivery import ROUTE_PREFIX, State
from bus.errors import Rejected, suggestion
from bus.plain import plain, plain_lines
from bus.signature import xades
from bus.store import Found, Hits, Store, Story
from bus.store.tables import columns, is_held
from bus.timestamps import Authority

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; written into the journal with your name.")]
Ids = Annotated[list[str], typer.Argument(help="Message ids.")]


#: How ``--before`` may be written; the last is how ``_end`` writes it.
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f%z"]


def messages(
    site: SiteOption = Path(),
    route: Annotated[str, typer.Option(help="Only this route.")] = "",
    partner: Annotated[str, typer.Option(help="Only from this partner.")] = "",
    state: Annotated[str, typer.Option(help="Only with a delivery in this state: READY, CLAIMED, WAITING, DONE, DEAD.")] = "",
    key: Annotated[str, typer.Option(help="An id, a DocumentId, a document's number or its beginning, or a part of the subject.")] = "",
    since: Annotated[datetime | None, typer.Option(help="Accepted at or after (UTC).")] = None,
    before: Annotated[
        datetime | None, typer.Option(formats=_TIMES, help="Accepted earlier than this (UTC): goes on with a search.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    json: JsonOption = False,
) -> None:
    """Search messages, newest first."""
    if state and state.upper() not in State.__members__:
        raise typer.BadParameter(f"{state!r} is not a state; known: {', '.join(State)}", param_hint="--state")
    with opened(site) as (loaded, store):
        _demand_known("route", route, loaded.routes, store.search(route=route, limit=1))
        _demand_known("partner", partner, loaded.site.partners, store.search(partner=partner, limit=1))
        moment, until = (aware(each) if each else None for each in (since, before))
        found = store.search(route, partner, state.upper(), key, moment, limit, until)
        _list(found, json)
        _end(found)


def _demand_known(kind: str, name: str, declared: Iterable[str], seen: Hits) -> None:
    """A name that stands neither in routes.yaml nor in the store is a slip: an empty answer would pass for news."""
    if name and name not in declared and not seen and seen.back_to is None:
        raise typer.BadParameter(say(f"cli-unknown-{kind}", name=name, suggestion=suggestion(name, declared)), param_hint=f"--{kind}")


def dead(site: SiteOption = Path(), limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50, json: JsonOption = False) -> None:
    """List dead letters: messages with a delivery that was given up, or is held."""
    with opened(site) as (_, store):
        named = dict.fromkeys([*store.held(limit), *(each.id for each in store.search(state=State.DEAD, limit=limit))])
        found = [(story, _given_up(story)) for each in named for story in store.show(each)]
    if json:
        emit([{**story.message, "standing": story.standing, "dead": deliveries} for story, deliveries in found])
        return
    rows = [
        [_whole_second(story.message["accepted"]), *_of(story.message, "id", "document_id"), *_of(each, "target", "attempt"), _last(each)]
        for story, deliveries in found
        for each in deliveries
    ]
    table(["accepted", "id", "document", "target", "attempts", "last"], rows)


def _given_up(story: Story) -> list[Any]:
    """Deliveries that only an operator's word moves: dead, or held since a backup was restored."""
    return [each for each in story.deliveries if each["state"] == State.DEAD or is_held(each["state"], each["due"])]


def _whole_second(stamp: str) -> str:
    return _second(datetime.fromisoformat(stamp))


def _last(delivery: Any) -> str:
    return f"{delivery['last_code']} {delivery[f'last_reason_{language()}']}"


def _list(found: Sequence[Found], json: bool) -> None:
    if json:
        emit([asdict(each) for each in found])
        return
    rows = [
        [_second(each.accepted), each.id, each.route, _from(each), each.receivers, each.document_id, each.subject, each.standing]
        for each in found
    ]
    table(["accepted", "id", "route", "from", "to", "document", "subject_line", "standing"], rows)


def _from(each: Found) -> str:
    """The sender that the message names, and the partner that was authenticated: they differ where a hub relays."""
    return f"{each.organ} ({each.sender})"


def _end(found: Hits) -> None:
    """Say how far was searched, where that was not all; not among what programs read."""
    if found.back_to:
        typer.echo(say("cli-searched-back", at=found.back_to.isoformat(timespec="microseconds")), err=True)


def _second(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def show(
    message: Annotated[str, typer.Argument(metavar="ID|NUMBER|REFERENCE")],
    partner: PartnerOption = "",
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """One message: where it is, its deliveries with attempts and errors, its receipts, its journal. Or one refusal, by its reference."""
    with opened(site) as (_, store):
        meant = meaning.look(store, message, partner)
        if isinstance(meant, Unclear):
            _show_refusal(store, meant, json=json)
            return
        stories = store.show(meant)
        if json:
            emit([asdict(story) for story in stories])
        else:
            for story in stories:
                _tell(story)


def _show_refusal(store: Store, meant: Unclear, *, json: bool) -> None:
    """What was refused under this reference; where there is nothing either, the name is unclear."""
    found = [] if meant.choices else store.refusal(meant.name)
    if found:
        refusals.tell(found, json=json)
        return
    if not meant.choices and not json:
        typer.echo(say("cli-no-reference"))
    meaning.refuse([meant], json=json)


#: What ``show`` tells of the message's own row.
_SHOWN = ("public_id", "document_id", "subject", "kind", "route", "endpoint", "sender", "organ", "receivers", "accepted", "size", "digest")


def _tell(story: Story) -> None:
    console.print(f"{story.message['id']}  {story.standing}", style="bold")
    fields({name: story.message[name] for name in _SHOWN})
    owed = [delivery for delivery in story.deliveries if not delivery["receipt_id"]]
    tries = [[*_of(each, "route", "target", "owner", "state", "attempt", "due"), _last(each)] for each in owed]
    table(["route", "target", "owner", "state", "attempts", "due", "last"], tries)
    table(
        ["at", "status", "code", "recipient", "receipt"], [_of(each, "at", "status", "code", "recipient", "id") for each in story.receipts]
    )
    table(["at", "event", "chain", "seq"], [_of(each, "at", "event", "chain", "seq") for each in story.journal])
    if found := [row for each in _inspected(story) for row in _signatures(each)]:
        table(["file", "signed_at", "signer", "profile", "verdict"], found)


def _inspected(story: Story) -> list[Any]:
    """What the step pdf-signatures found, as journalled: at the gate, or in the route."""
    return [found for row in story.journal for found in row["detail"].get("taps", {}).get("pdf-signatures", ())]


def _signatures(file: Mapping[str, Any]) -> list[list[Any]]:
    """A line for each signature of a file; one for a file that has none."""
    if not file["signatures"]:
        return [[file["name"], "", "", "", _verdict(file["state"], file["detail"])]]
    return [
        [file["name"], one["stamped"] or one["claimed"], one["signer"], one["profile"], _verdict(_judgement(one), one["detail"])]
        for one in file["signatures"]
    ]


def _judgement(signature: Mapping[str, Any]) -> str:
    return next((word for word in ("trusted", "valid") if signature[word]), "invalid")


def _verdict(word: str, detail: str) -> str:
    return say(f"cli-pdf-{word}") + (f": {detail}" if detail else "")


def _of(row: Mapping[str, Any], *columns: str) -> list[Any]:
    return [row[column] for column in columns]


def receipts(
    message: Annotated[str, typer.Argument(metavar="ID")],
    partner: PartnerOption = "",
    site: SiteOption = Path(),
    time_stamp: Annotated[bool, typer.Option("--time-stamp", help="As XAdES-B-T: the site's authority is asked to stamp each.")] = False,
    json: JsonOption = False,
) -> None:
    """The signed receipts of a message, as XML, oldest first."""
    with opened(site) as (loaded, store):
        found = store.receipts_of(meaning.one(store, message, partner, json=json))
    if time_stamp:
        found = asyncio.run(_time_stamped(found, loaded.site.timestamps))
    if json:
        emit([xml.decode() for xml in found])
    else:
        for xml in found:
            put(xml)


def put(xml: bytes) -> None:
    """Print a receipt: a file gets the very octets, which are signed; a terminal is not commanded by them."""
    text = xml.decode()
    print(plain_lines(text) if sys.stdout.isatty() else text)


async def _time_stamped(found: Sequence[bytes], authority: Authority | None) -> list[bytes]:
    if authority is None:
        raise Rejected("timestamps-undeclared")
    tokens = [(await stamping.fetch(authority, xades.time_stamped(xml), daemon.utc_now))[0] for xml in found]
    return [xades.with_timestamp(xml, token) for xml, token in zip(found, tokens, strict=True)]


def resend(ids: Ids, reason: ReasonOption, partner: PartnerOption = "", site: SiteOption = Path(), json: JsonOption = False) -> None:
    """Send what these messages owe now; dead deliveries are owed again."""
    _operate("resend", ids, reason, partner, site, json)


def cancel(ids: Ids, reason: ReasonOption, partner: PartnerOption = "", site: SiteOption = Path(), json: JsonOption = False) -> None:
    """Give up deliveries of these messages; the sender gets a receipt CANCELLED."""
    _operate("cancel", ids, reason, partner, site, json)


def _operate(action: str, ids: Sequence[str], reason: str, partner: str, site: Path, json: bool) -> None:
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")

    with opened(site) as (loaded, store):
        if action == "cancel":
            signing(loaded)
        known = meaning.owed(store, ids, partner, json=json)
        before = [each for name in known for each in _deliveries(store, name)]
        operate = store.resend if action == "resend" else store.cancel
        changed = asyncio.run(operate(known, getpass.getuser(), reason))
    left = [_left(action, each) for each in before if each["id"] not in changed]
    if json:
        emit({"deliveries": changed, "unchanged": left})
    else:
        console.print(say(f"cli-{action}", count=len(changed)))
        for each in left:
            console.print(plain(each["why"]))
    raise typer.Exit(0 if changed else 1)


def _deliveries(store: Store, name: str) -> list[Any]:
    """What a message owes, or one delivery by its own id, as it stands; what was routed on is told by what it led to."""
    with store.snapshot() as snapshot:
        about = snapshot.about(name)
        found = [row for row in about.deliveries if not row.receipt_id] if about else [snapshot.delivery(name)]
        onward = [row for row in found if row and not (row.state == State.DONE and row.target.startswith(ROUTE_PREFIX))]
        return [dict(columns(row)) for row in onward]


def _left(action: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Why a delivery stays as it is."""
    state = row["outcome"] or row["state"]
    why = say(f"cli-{action}-not", delivery=row["id"], target=row["target"], state=say(f"cli-state-{row['state']}", owner=row["owner"]))
    return {"delivery": row["id"], "message": row["message_id"], "target": row["target"], "state": state, "why": why}


def audit(
    site: SiteOption = Path(),
    archive: Annotated[Path | None, typer.Option(help="An archive to prove instead, by itself.", exists=True, dir_okay=False)] = None,
    json: JsonOption = False,
) -> None:
    """Prove the store: conservation per route, hash chains, receipts, digests; exit 1 on any break."""
    with opened(site) as (loaded, store):
        evidence = daemon.open_evidence(loaded.site)
        anchors = loaded.site.timestamps.anchors if loaded.site.timestamps else ()
        report = oracle.audit_archive(archive, evidence, store) if archive else oracle.audit(store, evidence, anchors)
    if json:
        emit({"ok": report.ok, **asdict(report)})
    else:
        for finding in report.findings:
            console.print(plain(finding), style="red")
        for note in report.notes:
            console.print(plain(note), style="dim")
        for told in (each for each in report.prunings if each["event"] == "pruned"):
            console.print(say("cli-audit-pruning", **{name: told.get(name, "") for name in _PRUNING}))
        fields(report.counts)
        console.print(say("cli-audit-good" if report.ok else "cli-audit-broken", count=len(report.findings)))
    raise typer.Exit(0 if report.ok else 1)


#: What the audit tells of a pruning.
_PRUNING = ("at", "before", "by", "reason", "messages", "archive")


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    for command in (messages, show, dead, resend, cancel, receipts, audit):
        app.command()(command)
