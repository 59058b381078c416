"""The demo's live display, on stderr: who holds how much of what was sent to them."""

import asyncio
from types import TracebackType
from typing import Self

import rich.progress
from rich.console import Console

from bus.cli.screen import say
from sandbox.documents import GOVERNMENT_OFFICE, PARTNER_AGENCY, Party
from sandbox.programme import UNITS
from sandbox.run import Run

_PLACES: tuple[Party, ...] = (GOVERNMENT_OFFICE, PARTNER_AGENCY, *UNITS)


class Progress:
    """A context manager; quiet where a program reads the output."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            console=self._console,
            disable=quiet,
        )
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def say(self, key: str) -> None:
        """One line of text."""
        if not self._quiet:
            self._console.print(say(key))

    async def follow(self, run: Run) -> None:
        """Keep the bars up to date until cancelled."""
        self._tasks = {party.code: self._bars.add_task(party.name, total=None) for party in _PLACES}
        self._bars.start()
        while True:
            self._update(run)
            await asyncio.sleep(0.2)

    def _update(self, run: Run) -> None:
        for code, task in self._tasks.items():
            arrived, expected = run.ledger.progress(code)
            self._bars.update(task, completed=arrived, total=expected)

    def done(self, run: Run) -> None:
        """The last word."""
        self._update(run)
        self._bars.stop()
