"""`govbus prune`, `archive` and `audit --archive` beside a running daemon."""

import asyncio
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hands import NEIGHBOUR, Sender, audited, govbus, typed, unit

from sandbox.process import BusProcess


async def test_fault_55_pruned_under_load_while_letters_come_in(site: Path, start: Callable[..., BusProcess], tmp_path: Path) -> None:
    """What has ended goes into an archive that proves itself; no letter is refused or lost; senders wait no longer than at rest, by far."""
    bus = start(site)
    before = Sender(bus, prefix="before")
    await before.run(lambda: len(before.held) >= 60)
    async with unit(bus, NEIGHBOUR) as reader:
        for name in before.held:
            await reader.confirm(name)
    # The option knows whole seconds: the next one.
    await asyncio.sleep(1)
    cut = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    stop = asyncio.Event()
    during = Sender(bus, prefix="during")
    load = asyncio.create_task(during.run(stop.is_set))
    done = await typed("prune", "--before", cut, "--archive", tmp_path, "--force", "--reason", "hết hạn lưu", "--site", site, "--json")
    stop.set()
    await load
    assert done.code == 0, done.said
    told = done.json
    assert (told["messages"], during.deferred) == (60, 0)
    assert bus.stop() == 0
    report = audited(site)
    assert report["counts"]["accepted"] == len(during.held)
    assert [(each["event"], each["reason"]) for each in report["prunings"]] == [("pruning", "hết hạn lưu"), ("pruned", "hết hạn lưu")]
    proved = govbus("audit", "--archive", told["file"], "--site", site)
    assert (proved.code, "pruned at" in proved.said) == (0, True), proved.said
    # Generous: other processes share this machine. What a pruning takes is transactions of some ten milliseconds.
    assert statistics.median(during.seconds) < 10 * statistics.median(before.seconds)


def test_a_pruning_must_be_meant(site: Path, tmp_path: Path) -> None:
    """Without a place for the archive, without a reason, or of what is younger than a month: usage errors, exit 2."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    for words in (
        ("--before", "2020-01-01", "--reason", "r"),
        ("--before", "2020-01-01", "--no-archive", "--reason", " "),
        ("--before", yesterday, "--no-archive", "--reason", "r"),
        ("--before", "2999-01-01", "--no-archive", "--force", "--reason", "r"),
    ):
        done = govbus("prune", *words, "--site", site)
        assert done.code == 2, (words, done.said)


def test_nothing_is_written_over(site: Path, tmp_path: Path) -> None:
    """A file that is there already is left alone."""
    there = tmp_path / "there.tar"
    there.write_bytes(b"mine")
    for words in (("archive", there, "--before", "2020-01-01"), ("backup", there)):
        assert govbus(*words, "--site", site).code == 2
    assert there.read_bytes() == b"mine"
