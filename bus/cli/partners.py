"""Commands about partners: rename."""

import asyncio
import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from bus import daemon
from bus.cli.screen import JsonOption, SiteOption, console, emit, say
from bus.errors import Rejected, suggestion

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


def register(app: typer.Typer) -> None:
    """Put these commands into the program."""
    app.add_typer(group)
