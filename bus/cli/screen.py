"""How the commands print: JSON for programs, tables for people, in the operator's language."""

import io
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bus import errors
from bus.errors import text
from bus.log import line
from bus.plain import plain

#: Words in square brackets are words: whatever is printed may quote a stranger.
console = Console(highlight=False, soft_wrap=True, markup=False)

SiteOption = Annotated[Path, typer.Option("--site", envvar="GOVBUS_SITE", help="Directory with routes.yaml, schemas/ and certs/.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def settle() -> None:
    """Have the terminal take every text: what its encoding lacks is escaped, and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def aware(moment: datetime) -> datetime:
    """A time as it was typed: UTC, unless it says otherwise."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def language() -> str:
    """The operator's language: "vi" or "en"."""
    return errors.language(os.environ)


def say(key: str, **values: object) -> str:
    """A catalogue text in the operator's language."""
    return text(key, language(), **values)


def emit(data: object) -> None:
    """``data`` as one line of JSON on standard output; where that does not speak Unicode, with JSON's own escapes."""
    written = line(data)
    try:
        written.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        written = json.dumps(json.loads(written))
    print(written, flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """A table whose headings are catalogue keys ``column-<name>``. A cell may hold a stranger's words: nothing in it acts."""
    grid = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(say(f"column-{column}"), overflow="fold")
    for row in rows:
        grid.add_row(*("" if cell is None else Text(plain(str(cell))) for cell in row))
    console.print(grid)


def fields(values: Mapping[str, Any]) -> None:
    """Name and value, one a line."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        console.print(f"  {name:<{width}}  {plain(str(value))}", markup=False)


def site_of(arguments: Sequence[str]) -> Path:
    """The site named on a command line that could not be parsed any better."""
    named = [after for before, after in itertools.pairwise(arguments) if before == "--site"]
    return Path(named[-1] if named else os.environ.get("GOVBUS_SITE", "."))
