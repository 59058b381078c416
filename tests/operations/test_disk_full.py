"""A disk that is really full: nothing is acknowledged that is not stored, and when there is room again everything goes on by itself."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hands import NEIGHBOUR, Sender, audited, letter, unit
from helping import until

from bus.errors import Deferred
from sandbox.process import BusProcess

#: The whole disk, octets: the site's files take half a megabyte, the daemon's log and store the rest.
DISK = 12 << 20
LARGE = 600_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own. Only root can mount one; elsewhere the acceptance test by file-size limits stands in."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


async def test_fault_12_a_full_disk_refuses_and_a_freed_one_goes_on(
    disk: Path, another: Callable[[Path], Path], start: Callable[..., BusProcess]
) -> None:
    """4.3.1 for small and large, lists go on, the log's own disk full too; then on without a restart, and the audit is clean."""
    site = another(disk / "site")
    bus = start(site)
    sender = Sender(bus)
    async with unit(bus) as telecom, unit(bus, NEIGHBOUR) as neighbour:
        await telecom.send(letter(1), "before")
        await telecom.send(letter(2, NEIGHBOUR, LARGE), "before-large")
        fill = _fill(disk)
        refused = 0
        load = asyncio.create_task(sender.run(lambda: len(sender.held) >= 10))
        for number in range(10):
            for size in (5_000, LARGE):
                try:
                    await telecom.send(letter(100 + number, NEIGHBOUR, size), f"full-{number}-{size}")
                except Deferred as error:
                    refused += error.retry_after is not None
                _top_up(fill)
        assert refused > 10
        assert {"before", "before-large"} <= {entry.message_id for entry in await neighbour.pending()}
        fill.unlink()
        await until(lambda: len(sender.held) >= 10)
        await load
        await telecom.send(letter(1000, NEIGHBOUR, LARGE), "after-large")
        names = {entry.message_id for entry in await neighbour.pending()}
    assert {"before", "before-large", "after-large", *sender.held} <= names
    assert sender.deferred
    assert bus.stop() == 0
    report = audited(site)
    assert report["counts"]["accepted"] >= 13


def _fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    fill = disk / "fill"
    fill.touch()
    _top_up(fill)
    return fill


def _top_up(fill: Path) -> None:
    with fill.open("ab", buffering=0) as file:
        for piece in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(piece)) == piece:
                    pass
            except OSError:
                continue


async def test_an_archive_that_does_not_fit_leaves_nothing_behind(disk: Path, another: Callable[[Path], Path], tmp_path: Path) -> None:
    """A backup onto a full disk says so, and there is no half of it."""
    from hands import govbus

    site = another(tmp_path / "elsewhere")
    fill = _fill(disk)
    done = govbus("backup", disk / "backup.tar", "--site", site)
    assert (done.code, "4.3.1" in done.said) == (1, True), done.said
    assert list(disk.iterdir()) == [fill]
