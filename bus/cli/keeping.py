"""What the commands that keep a store share: one of them at a time, a site that is stopped, a reason, a place for a file, an answer."""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bus import lock
from bus.cli.opening import opened
from bus.cli.screen import console, emit, fields, say
from bus.config import Loaded
from bus.plain import plain
from bus.store import Store

WhyOption = Annotated[str, typer.Option("--reason", help="Why; written into the journal with your name.")]


@contextlib.contextmanager
def keeping(site: Path) -> Iterator[tuple[Loaded, Store]]:
    """The site's store, for one command of these at a time."""
    with opened(site) as (loaded, store), (site / "data" / "upkeep.lock").open("a") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            console.print(say("cli-upkeep-busy"), style="red")
            raise typer.Exit(1) from error
        yield loaded, store


@contextlib.contextmanager
def stopped(site: Path) -> Iterator[None]:
    """The site, whose daemon does not run meanwhile."""
    try:
        with lock.sole_daemon(site):
            yield
    except lock.AlreadyRunning as error:
        console.print(say("cli-still-running", site=site, pid=error), style="red")
        raise typer.Exit(1) from error


def destination(path: Path, kind: str, now: datetime) -> Path:
    """A file as it was named, or one with a name of its own in a directory. Nothing is written over."""
    chosen = path / f"govbus-{kind}-{now:%Y%m%dT%H%M%SZ}.tar" if path.is_dir() else path
    if chosen.exists():
        raise typer.BadParameter(f"{plain(str(chosen))} is there already")
    return chosen.absolute()


def stated(reason: str) -> str:
    """The reason that was typed; blank is none."""
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    return reason


def tell(told: Mapping[str, object], sentence: str, json: bool) -> None:
    """What came of it: for programs, or names and values and one sentence."""
    if json:
        emit(told)
    else:
        fields(told)
        console.print(sentence)
