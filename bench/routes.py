"""Many routes: a site with a thousand of them, each to three partners' mailboxes, loaded, started, idle, and with one document passing.

All leave one door, so the document that only the last route takes asks the condition of every other one first.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench import accounting
from bus import config, scaffold
from bus.edxml import write_document
from sandbox import documents
from sandbox.process import BusProcess
from sandbox.unit import Unit

ROUTES = 1_000
#: How long the daemon is left alone.
IDLE_SECONDS = 5.0
#: Documents whose time at the door is taken.
DOCUMENTS = 5
RECEIVERS = (documents.SECURITY_AUTHORITY, documents.GOVERNMENT_OFFICE, documents.PARTNER_AGENCY)
_SENDER = documents.TELECOM_AUTHORITY


def create(site: Path, routes: int = ROUTES) -> None:
    """A site whose routes each take the documents of one subject."""
    nowhere = {"VXP_URL": "http://127.0.0.1:1/vxp/exchange", "VXP_SECRET": "s" * 32, "AGENCY_URL": "https://127.0.0.1:1/soap/documents"}
    scaffold.create(site, datetime.now(UTC), nowhere)
    declared = yaml.safe_load((site / "routes.yaml").read_text(encoding="utf-8"))
    declared["routes"] = [_route(number) for number in range(routes)]
    for name in ("national-exchange", "agency-service"):
        del declared["endpoints"][name]
    (site / "routes.yaml").write_text(yaml.safe_dump(declared, allow_unicode=True), encoding="utf-8")


def _route(number: int) -> dict[str, Any]:
    return {
        "name": f"subject-{number}",
        "from": "unit-documents",
        "when": f"Subject = '{_subject(number)}'",
        "gate": [{"authorize": {"sender": "From/OrganId", "receivers": "To/OrganId"}}],
        "steps": ["trace"],
        "to": [{"unit-inbox": "To/OrganId"}],
        "receipts": "unit-inbox",
    }


def _subject(number: int) -> str:
    return f"Vấn đề số {number}"


def document(number: int, subject: int) -> bytes:
    """A document that only the route of ``subject`` takes."""
    whole = documents.document(seed=number, number=number, receivers=RECEIVERS)
    return write_document(replace(whole, header=replace(whole.header, subject=_subject(subject))))


async def pass_through(bus: BusProcess, bodies: Sequence[bytes]) -> list[float]:
    """Send documents one after the other; seconds until each was accepted. Ends when all lie in the second receiver's mailbox."""
    keys, trust = bus.site / "certs" / "development", bus.site / "certs" / "own"
    seconds = []
    async with Unit.connect(bus.url, _SENDER.code, keys=keys / "telecom-authority", trust=trust) as unit:
        for number, body in enumerate(bodies):
            began = time.monotonic()
            await unit.send(body, f"subject-{number}")
            seconds.append(time.monotonic() - began)
    async with Unit.connect(bus.url, RECEIVERS[0].code, keys=keys / "digital-agency", trust=trust) as reader, asyncio.timeout(30):
        while len(await reader.pending()) < len(bodies):
            await asyncio.sleep(0.05)
    return seconds


def idle_cost(bus: BusProcess, seconds: float = IDLE_SECONDS) -> float:
    """The share of one processor that the daemon uses with nothing to do."""
    cpu, began = accounting.cpu_seconds(bus.pid), time.monotonic()
    time.sleep(seconds)
    return (accounting.cpu_seconds(bus.pid) - cpu) / (time.monotonic() - began)


def measure(routes: int = ROUTES) -> dict[str, Any]:
    """Time and memory of a start, what it costs to do nothing, and the milliseconds of a document at the door."""
    with tempfile.TemporaryDirectory(prefix="govbus-routes-") as directory:
        site = Path(directory) / "site"
        create(site, routes)
        began = time.monotonic()
        config.load(site, environment={}, clock=lambda: datetime.now(UTC))
        loaded = time.monotonic() - began
        began = time.monotonic()
        with BusProcess(site) as bus:
            ready = time.monotonic() - began
            idle = idle_cost(bus)
            seconds = asyncio.run(pass_through(bus, [document(number, routes - 1) for number in range(DOCUMENTS)]))
            return {
                "routes": routes,
                "load_seconds": round(loaded, 2),
                "ready_seconds": round(ready, 2),
                "rss_mb": round(accounting.rss_mb(bus.pid), 1),
                "idle_share_of_a_processor": round(idle, 4),
                "door_ms": round(min(seconds) * 1000, 1),
            }
