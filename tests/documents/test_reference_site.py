"""The daemon of a fresh site, as anybody gets it by `govbus init`, and a document whose PDF is signed."""

import asyncio
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
from signed_pdfs import People, sign, unsigned
from test_pdf_step import letter

from sandbox.process import BusProcess
from sandbox.unit import Unit


def test_the_record_of_a_message_shows_who_signed_and_no_process_stays_behind(
    make_site: Callable[..., Path], start: Callable[..., BusProcess], officials: People
) -> None:
    """`govbus show` names the signer; the daemon reads the PDF in a child of its own, and takes it along when it ends."""
    site = make_site()
    daemon = start(site)
    body = letter(("công văn.signed.pdf", sign(unsigned(), officials.rsa)))
    asyncio.run(_sent(daemon.url, site, body))
    (story,) = orjson.loads(_govbus("show", "m-1", "--site", str(site), "--json"))
    (accepted,) = (row for row in story["journal"] if row["event"] == "accepted")
    (file,) = accepted["detail"]["taps"]["pdf-signatures"]
    (signature,) = file["signatures"]
    assert (file["state"], signature["valid"], signature["trusted"]) == ("signed", True, False)
    assert signature["certificate"] == officials.rsa.signing_cert.sha256.hex()
    readers = [pid for pid in _children(daemon.pid) if b"bus.pdf" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(readers) == 1
    assert daemon.stop() == 0
    assert _ended(readers[0])


async def _sent(url: str, site: Path, body: bytes) -> None:
    keys = site / "certs" / "development" / "telecom-authority"
    async with Unit.connect(url, "000.00.01.G14", keys=keys, trust=site / "certs" / "own") as unit:
        await unit.send(body, "m-1")


def _govbus(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "bus", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _children(process: int) -> list[int]:
    """Those that any thread of the process started."""
    return [int(pid) for task in Path(f"/proc/{process}/task").iterdir() for pid in (task / "children").read_text().split()]


def _ended(process: int) -> bool:
    """Whether the process ends: its line was closed with the daemon. Waits on the kernel's word, for a while."""
    try:
        watch = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    try:
        return bool(poll.poll(10_000))
    finally:
        os.close(watch)
