"""A real bus with an AMQP queue on either side: engine, embedded store and adapters, on the broker of these tests.

::

    unit ──▶ <name>-in ──▶ bus ──▶ <name>-out ──▶ agency
                            └────▶ <name>-answers ──▶ unit
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from bus import audit, config
from bus.config import Loaded
from bus.engine import Engine
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.store import Store
from sandbox import documents

T = TypeVar("T")

ROUTES = """
site: {organisation: 000.00.00.G14, name: Bộ thử nghiệm, key: own/bus, tls: none}
partners:
  unit: {codes: [000.00.01.G14]}
  agency: {codes: [000.00.00.G18, G18]}
endpoints:
  unit-queue: {amqp: {url: env:BROKER, partner: unit, take: env:IN%s}}
  agency-queue: {amqp: {url: env:BROKER, partner: agency, routing-key: env:OUT, timeout: 5s}}
routes:
  - name: outgoing
    from: unit-queue
    gate: [authorize: {sender: From/OrganId}]
    to: [agency-queue]
    retry: {first: 100ms, most: 500ms, give-up: 1h}
"""


def now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


def letter(number: int) -> bytes:
    """A document from the unit to the agency."""
    return documents.make(size=5_000, seed=number, receivers=(documents.PARTNER_AGENCY,))


@dataclass(slots=True)
class AmqpBus:
    """The bus, running."""

    store: Store
    engine: Engine
    loaded: Loaded
    evidence: Evidence

    def standing(self) -> dict[str, int]:
        """How many deliveries stand in each state."""
        return {gauge.state: gauge.count for gauge in self.store.gauges()}

    def faults(self) -> object:
        """What the audit finds."""
        return audit.audit(self.store, self.evidence).findings


def load(root: Path, certs: Path, environment: dict[str, str], extra: str = ", answers: env:ANSWERS") -> Loaded:
    """A site; ``extra``: more options of the unit's queue."""
    root.mkdir(exist_ok=True)
    (root / "routes.yaml").write_text(ROUTES % extra, encoding="utf-8")
    (root / "data").mkdir(exist_ok=True)
    if not (root / "certs").exists():
        shutil.copytree(certs, root / "certs")
        shutil.copytree(Path(__file__).resolve().parents[2] / "schemas", root / "schemas")
    return config.load(root, environment=environment, clock=now)


@contextlib.asynccontextmanager
async def running(loaded: Loaded) -> AsyncIterator[AmqpBus]:
    """The bus over a loaded site."""
    site = loaded.site
    evidence = Evidence(site.keyring.signer(site.key), site.keyring.own, now)
    url = f"sqlite:///{site.root / 'data' / 'bus.db'}"
    store = Store.open(url, seal=evidence.seal, organisation=site.organisation, clock=now, ids=uuid7(now), chain="main")
    engine = Engine(site, store, loaded.endpoints, loaded.routes, clock=now, ids=uuid7(now), jitter=lambda: 0.5)
    await engine.start()
    try:
        yield AmqpBus(store, engine, loaded, evidence)
    finally:
        await engine.stop()
        store.close()


async def eventually(question: Callable[[], T], seconds: float = 30) -> T:
    """The first true answer of ``question``, which is asked in a thread."""
    async with asyncio.timeout(seconds):
        while not (answer := await asyncio.to_thread(question)):
            await asyncio.sleep(0.02)
    return answer
