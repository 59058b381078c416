"""Commands about partners: rename, mailboxes."""

import asyncio
import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from bus import daemon
from bus.cli.screen import JsonOption, SiteOption, console, emit, say, table
from bus.errors import Rejected, suggestion
from bus.quotas import Quota
from bus.store import Fill

group = typer.Typer(name="partner", help="Partners.", no_args_is_help=True)


@group.callback()
def partner() -> None:
    """Partners: what is theirs in the store."""


@group.command()
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name it had in routes.yaml.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name it has in routes.yaml now.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; written into the journal with your name.")],
    site: SiteOption = Path(),
    json: JsonOption = False,
) -> None:
    """Move a partner's waiting mail, ids and history to its new name. First edit routes.yaml, then this, then `govbus reload`."""
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    with daemon.opened(site, os.environ, "operator") as (loaded, store):
        partners = loaded.site.partners
        if new not in partners:
            raise Rejected("rename-no-partner", new=new, known=suggestion(new, partners))
        if old in partners:
            raise Rejected("rename-still-partner", old=old)
        held = asyncio.run(store.rename(old, new, partners[new].codes, getpass.getuser(), reason))
    counts = {"documents": held.documents, "receipts": held.receipts, "sent": held.sent}
    if json:
        emit({"old": old, "new": new, **counts})
    else:
        console.print(say("cli-renamed", old=old, new=new, **counts))


@group.command()
def mailboxes(site: SiteOption = Path(), json: JsonOption = False) -> None:
    """Show how full each partner's mailbox is; receipts do not count."""
    with daemon.opened(site, os.environ, "operator") as (loaded, store):
        fills = {fill.owner: fill for fill in store.mailboxes()}
        rows = [_mailbox(name, partner.mailbox, fills.get(name)) for name, partner in sorted(loaded.site.partners.items())]
    if json:
        emit(rows)
    else:
        table(["partner", "full", "messages", "most_messages", "bytes", "most_bytes"], [list(map(str, row.values())) for row in rows])


def _mailbox(partner: str, quota: Quota, fill: Fill | None) -> dict[str, object]:
    messages, octets = (fill.messages, fill.octets) if fill else (0, 0)
    return {
        "partner": partner,
        "full": f"{quota.share(messages, octets):.0%}",
        "messages": messages,
        "most_messages": quota.messages,
        "bytes": octets,
        "most_bytes": quota.octets,
    }


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    app.add_typer(group)
