"""What operators and units do in these tests: type a command, send a letter, look at a page, reload."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from helping import govbus

from bus import generation
from bus.generation import Generation
from sandbox import documents
from sandbox.documents import SECURITY_AUTHORITY, TELECOM_AUTHORITY
from sandbox.process import BusProcess
from sandbox.unit import Unit

PARTNERS = {TELECOM_AUTHORITY.code: "telecom-authority", SECURITY_AUTHORITY.code: "digital-agency"}


def audited(site: Path, **environment: str) -> dict[str, int]:
    """The audit's counts, when it finds that all is well."""
    done = govbus("audit", "--site", site, "--json", **environment)
    assert done.code == 0, done.said
    counts: dict[str, int] = json.loads(done.said.splitlines()[-1])["counts"]
    return counts


@asynccontextmanager
async def unit(
    bus: BusProcess, code: str = TELECOM_AUTHORITY.code, keys: Path | None = None, trust: Path | None = None
) -> AsyncIterator[Unit]:
    """A unit's system, with the keys that ``govbus init`` made for it unless it brings its own."""
    certs = bus.site / "certs"
    mine, bus_certificates = keys or certs / "development" / PARTNERS[code], trust or certs / "own"
    async with Unit.connect(bus.url, code, keys=mine, trust=bus_certificates) as connected:
        yield connected


def letter(number: int) -> bytes:
    """From the telecom authority to the digital agency."""
    return documents.make(size=4_000, seed=number, sender=TELECOM_AUTHORITY, receivers=(SECURITY_AUTHORITY,), number=number)


def page(bus: BusProcess, path: str) -> tuple[int, str]:
    """One of the bus's own pages, as operators see it."""
    return bus.page(path)


async def pages(bus: BusProcess, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(page, bus, path)


async def reloaded(bus: BusProcess) -> Generation:
    """SIGHUP, and the daemon's word on it."""
    asked = datetime.now(UTC)
    bus.send_signal(signal.SIGHUP)
    [answer] = await generation.answers(bus.site, asked, 60)
    return answer


def events(bus: BusProcess, event: str) -> list[dict[str, Any]]:
    """The lines of the bus's log about one kind of event."""
    return [line for line in bus.log_lines() if line["event"] == event]


def pieces(path: Path) -> list[bytes]:
    """Pieces of a PEM key's private part that would be seen if it were shown: of its lines, and of its octets."""
    lines = path.read_bytes().splitlines()[1:-1]
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    octets = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    if isinstance(key, rsa.RSAPrivateKey):
        # The modulus before it is public; the private exponent begins after some three hundred octets.
        return [lines[8][:40], b"".join(lines)[480:540], octets[330:380]]
    # P-256: the 32 octets of the private value begin at octet 36.
    return [lines[0][48:64], octets[36:68]]
