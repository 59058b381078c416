"""What operators and units do in these tests: type commands, send documents, read mailboxes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helping import Done, govbus

from bus import generation
from bus.errors import Deferred
from bus.generation import Generation
from bus.receipt import Receipt
from sandbox import documents
from sandbox.documents import PARTNER_AGENCY, SECURITY_AUTHORITY, TELECOM_AUTHORITY, Party
from sandbox.process import BusProcess
from sandbox.unit import Unit

PARTNERS = {TELECOM_AUTHORITY.code: "telecom-authority", SECURITY_AUTHORITY.code: "digital-agency"}
AGENCY, NEIGHBOUR = PARTNER_AGENCY, SECURITY_AUTHORITY


async def typed(*words: object) -> Done:
    """The same in a process of its own, while the test goes on."""
    environ = {**os.environ, "GOVBUS_LANG": "en", "GOVBUS_STORE": ""}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bus", *map(str, words), stdout=pipe, stderr=asyncio.subprocess.STDOUT, env=environ
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    return Done(process.returncode or 0, said.decode())


@asynccontextmanager
async def unit(bus: BusProcess, party: Party = TELECOM_AUTHORITY) -> AsyncIterator[Unit]:
    """A unit's document-management system."""
    keys, trust = bus.site / "certs" / "development" / PARTNERS[party.code], bus.site / "certs" / "own"
    async with Unit.connect(bus.url, party.code, keys=keys, trust=trust) as connected:
        yield connected


def letter(number: int, receiver: Party = SECURITY_AUTHORITY, size: int = 5_000) -> bytes:
    return documents.make(size=size, seed=number, sender=TELECOM_AUTHORITY, receivers=(receiver,), number=number)


@dataclass
class Sender:
    """Sends letters without end, each with an id of its own; repeats, with the same id, what was not answered."""

    bus: BusProcess
    receiver: Party = SECURITY_AUTHORITY
    prefix: str = "load"
    held: dict[str, Receipt] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    deferred: int = 0

    async def run(self, until: Callable[[], bool]) -> None:
        number = 0
        async with unit(self.bus) as connected:
            while not until():
                number += 1
                await self._send(connected, f"{self.prefix}-{number}", letter(number, self.receiver))

    async def _send(self, connected: Unit, name: str, body: bytes) -> None:
        while name not in self.held:
            began = time.monotonic()
            try:
                self.held[name] = await connected.send(body, name)
            except Deferred:
                self.deferred += 1
                await asyncio.sleep(0.05)
            self.seconds.append(time.monotonic() - began)


async def reloaded(bus: BusProcess) -> Generation:
    """SIGHUP, and the daemon's word on it."""
    asked = datetime.now(UTC)
    bus.send_signal(signal.SIGHUP)
    [answer] = await generation.answers(bus.site, asked, 60)
    return answer


def audited(site: Path) -> dict[str, Any]:
    """What the audit says, which must be that all is well."""
    done = govbus("audit", "--site", site, "--json")
    assert done.code == 0, done.said
    report: dict[str, Any] = done.json
    return report
