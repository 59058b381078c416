"""Large documents: how far the bus's resident memory grows while one passes, as a multiple of the document's size.

A ministry's bus, the agency's and the hub's run as they do in earnest. One document at a time is sent by a unit (as an MTOM attachment,
or as base64 in the envelope), routed, and then fetched from a mailbox, or pushed over SOAP or VXP. Growth is the kernel's: the high
water of the ministry's process (``VmHWM``, which includes mapped files) from just before the document to its last receipt, less what
it held before.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bus.edxml import write_document
from bus.errors import Deferred
from sandbox import documents, sites
from sandbox.process import BusProcess
from sandbox.unit import Unit

MEGABYTE = 1_000_000
SIZES = (50 * MEGABYTE, 100 * MEGABYTE)
#: A document that takes longer than this is stuck, not slow.
MOST_SECONDS = 180.0
_SENDER, _MAILBOX = documents.TELECOM_AUTHORITY, documents.SECURITY_AUTHORITY


@dataclass(frozen=True, slots=True)
class Way:
    """A way through the bus: who receives, whether the unit sends by MTOM, and whether the receiver fetches from a mailbox."""

    name: str
    receiver: documents.Party
    mtom: bool
    fetched: bool = False


WAYS = (
    Way("MTOM in, fetched", _MAILBOX, mtom=True, fetched=True),
    Way("base64 in, fetched", _MAILBOX, mtom=False, fetched=True),
    Way("MTOM in, pushed over VXP", documents.GOVERNMENT_OFFICE, mtom=True),
    Way("MTOM in, pushed over SOAP", documents.PARTNER_AGENCY, mtom=True),
)


class Stuck(Exception):
    """A document did not arrive in time."""


def document(size: int, number: int, receiver: documents.Party) -> bytes:
    """An edXML document of about ``size`` octets, nearly all of them its one file."""
    whole = documents.document(seed=number, number=number, receivers=(receiver,))
    file = replace(whole.attachments[0], data=random.Random(number).randbytes(size * 3 // 4))
    return write_document(replace(whole, attachments=(file,)))


@contextmanager
def running(directory: Path) -> Iterator[tuple[sites.Sites, BusProcess]]:
    """Fresh sites below ``directory``, all three buses started; the ministry's is the one to look at."""
    places = sites.create(directory, datetime.now(UTC))
    with (
        BusProcess(places.hub, port=places.ports["hub"]),
        BusProcess(places.agency, port=places.ports["agency"]),
        BusProcess(places.ministry, port=places.ports["ministry"]) as ministry,
    ):
        yield places, ministry


def connect(places: sites.Sites, ministry: BusProcess, name: str, code: str) -> Unit:
    """A unit of the ministry, by the name of its keys and its code."""
    return Unit.connect(ministry.url, code, keys=places.key(name), trust=places.ministry / "certs" / "own")


async def passed(places: sites.Sites, ministry: BusProcess, way: Way, body: bytes, number: int) -> None:
    """Send ``body`` and return when its last receipt is written. Raises Stuck, and what the bus refuses it with."""
    name = f"large-{number}"
    async with connect(places, ministry, "telecom-authority", _SENDER.code) as sender:
        await sender.send(body, name, mtom=way.mtom)
        if way.fetched:
            async with connect(places, ministry, "digital-agency", _MAILBOX.code) as reader:
                if (await reader.fetch(name)).body != body:
                    raise Stuck(f"{way.name}: other octets came out than went in")
                await reader.confirm(name)
        deadline = time.monotonic() + MOST_SECONDS
        while len(said := [receipt.status for receipt in await sender.receipts(name)]) < 2:
            if time.monotonic() > deadline:
                raise Stuck(f"{way.name}: {said}; see {ministry.site / 'bus.log'}")
            await asyncio.sleep(0.1)


def growth(pid: int, held: int) -> int:
    """Octets by which the process has been larger, at its largest, than ``held``."""
    return _status(pid, "VmHWM") - held


def start_measuring(pid: int) -> int:
    """Forget the high water so far (proc(5), clear_refs 5); the octets that the process holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


async def crowd(places: sites.Sites, ministry: BusProcess, bodies: Sequence[bytes]) -> dict[str, Any]:
    """Hand all ``bodies`` in at once; how many were taken, how many put off (4.3.2), and how much the process grew meanwhile."""
    held = start_measuring(ministry.pid)
    began = time.monotonic()

    async def one(number: int, body: bytes) -> str:
        try:
            async with connect(places, ministry, "telecom-authority", _SENDER.code) as sender:
                await sender.send(body, f"crowd-{number}", mtom=True)
        except Deferred as error:
            return error.reason("en")
        return "taken"

    said = await asyncio.gather(*(one(number, body) for number, body in enumerate(bodies)))
    return {
        "documents": len(bodies),
        "mb": round(sum(map(len, bodies)) / MEGABYTE),
        "taken": said.count("taken"),
        "put_off": len(said) - said.count("taken"),
        "seconds": round(time.monotonic() - began, 1),
        "growth_mb": round(growth(ministry.pid, held) / MEGABYTE, 1),
    }


def measure(ways: Sequence[Way] = WAYS, sizes: Sequence[int] = SIZES, *, many: int = 10) -> dict[str, Any]:
    """By size in MB and by way: seconds from sending to the last receipt, peak growth in MB, and growth as a multiple of the size.

    Under ``together``: ``many`` documents of 50 MB at once (``crowd``).
    """
    figures: dict[str, Any] = {}
    with TemporaryDirectory(prefix="govbus-large-") as directory, running(Path(directory)) as (places, ministry):
        warm = document(2 * MEGABYTE, 1, _MAILBOX)
        asyncio.run(passed(places, ministry, WAYS[0], warm, 1))
        number = 1
        for size in sizes:
            for way in ways:
                number += 1
                body = document(size, number, way.receiver)
                held, began = start_measuring(ministry.pid), time.monotonic()
                asyncio.run(passed(places, ministry, way, body, number))
                grown = growth(ministry.pid, held)
                figures.setdefault(f"{size // MEGABYTE} MB", {})[way.name] = {
                    "seconds": round(time.monotonic() - began, 1),
                    "growth_mb": round(grown / MEGABYTE, 1),
                    "growth_ratio": round(grown / len(body), 2),
                }
        bodies = [document(50 * MEGABYTE, 1000 + each, _MAILBOX) for each in range(many)]
        figures["together"] = asyncio.run(crowd(places, ministry, bodies))
    return figures
