"""The load: a ministry's bus and a partner agency's, started as they are in earnest, and a unit that sends as fast as it is answered.

Requests are signed beforehand (a WS-Security timestamp lives five minutes), so that while the bus is measured the sender only sends.
A message counts when its DELIVERED receipt is in the ministry's store: the agency's bus took it, and its reply was verified.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import sqlalchemy as sa
import uvloop
import yaml

from bench import accounting
from bus.store import dialect
from sandbox import sites
from sandbox.process import BusProcess

CONCURRENCY = 16
WARM_UP = 64
#: A drain slower than this is a hang, not a measurement.
DRAIN_SECONDS = 60.0

#: The endpoint that units send to.
DOOR = "unit-documents"

_STANDING = "SELECT count(*) FROM deliveries WHERE state <> 'DONE' AND state IN ('READY', 'CLAIMED')"
_ENDS = "SELECT status, code, reason_en, count(*) FROM receipts WHERE status NOT IN ('ACCEPTED', 'DELIVERED') GROUP BY 1, 2, 3"
_TIMES = (
    "SELECT accepted.at, delivered.at FROM receipts AS accepted JOIN receipts AS delivered USING (message_id)"
    " WHERE accepted.status = 'ACCEPTED' AND delivered.status = 'DELIVERED' AND accepted.at >= :since"
)


class NotMeasurable(Exception):
    """The bus did not do what is to be measured; the text says what it did instead."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run cost, and how long its messages took. Milliseconds but for the rate."""

    messages: int
    seconds: float
    cpu_ms: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Messages a second, from the first request to the last DELIVERED receipt."""
        return self.messages / self.seconds


class Bench:
    """Both buses, running."""

    def __init__(self, places: sites.Sites, ministry: BusProcess, agency: BusProcess, store: str) -> None:
        self.sites = places
        self.agency_pid = agency.pid
        self._ministry = ministry
        self._store = dialect.engine(store, writer=False)
        declared = yaml.safe_load((places.ministry / "routes.yaml").read_text(encoding="utf-8"))
        self.door = ministry.url + declared["endpoints"][DOOR]["soap"]["path"]

    @property
    def pid(self) -> int:
        """The ministry's bus."""
        return self._ministry.pid

    def peak_rss_mb(self) -> float:
        """The ministry's bus at its largest."""
        return accounting.peak_rss_mb(self._ministry.pid)

    def run(self, requests: Sequence[bytes], rate: float | None = None) -> Figures:
        """Send all, as fast as answered or at ``rate`` a second, and wait until the last is delivered. Raises NotMeasurable."""
        began, since = time.monotonic(), datetime.now(UTC)
        cpu = accounting.cpu_seconds(self._ministry.pid)
        uvloop.run(self._send(requests, rate))
        self._drain()
        seconds, cpu = time.monotonic() - began, accounting.cpu_seconds(self._ministry.pid) - cpu
        latencies = self._latencies(since)
        if len(latencies) != len(requests):
            raise NotMeasurable(f"{len(requests)} sent, {len(latencies)} delivered, the others: {self._query(_ENDS) or 'no receipt'}")
        return Figures(len(requests), seconds, cpu * 1000 / len(requests), latencies)

    async def _send(self, requests: Sequence[bytes], rate: float | None) -> None:
        tls = ssl.create_default_context(cafile=self.sites.authority)
        pace = _paced(requests, rate)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=CONCURRENCY)) as session:

            async def sender() -> None:
                for due, request in pace:
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    async with session.post(self.door, data=request, headers={"Content-Type": "text/xml; charset=utf-8"}) as response:
                        answer = await response.read()
                        if response.status != 200:
                            raise NotMeasurable(f"HTTP {response.status}: {answer[:2000].decode(errors='replace')}")

            await asyncio.gather(*(sender() for _ in range(CONCURRENCY)))

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._query(_STANDING)[0][0]:
            if time.monotonic() > deadline:
                raise NotMeasurable(f"still not delivered after {DRAIN_SECONDS:.0f} s; see {self._ministry.site / 'bus.log'}")
            time.sleep(0.02)

    def _latencies(self, since: datetime) -> Sequence[float]:
        stamp = since.isoformat(timespec="microseconds")[:-6] + "Z"
        pairs = self._query(_TIMES, since=stamp)
        return [(datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds() * 1000 for begin, end in pairs]

    def _query(self, statement: str, **values: str) -> Sequence[sa.Row[Any]]:
        with self._store.connect() as connection:
            return connection.execute(sa.text(statement), values).all()

    def count(self, statement: str) -> int:
        """The one number that a query of the ministry's store gives."""
        return int(self._query(statement)[0][0])

    def close(self) -> None:
        """Let go of the store."""
        self._store.dispose()


@contextmanager
def running(directory: Path, workers: int = 1, store: str = "") -> Iterator[Bench]:
    """Fresh sites below ``directory``, the ministry's and the agency's started; ``store``: the ministry's database, if not its own file."""
    places = sites.create(directory, datetime.now(UTC))
    ours = BusProcess(places.ministry, port=places.ports["ministry"], workers=workers, environment={"GOVBUS_STORE": store})
    with BusProcess(places.agency, port=places.ports["agency"]) as agency, ours as ministry:
        bench = Bench(places, ministry, agency, store or f"sqlite:///{places.ministry / 'data' / 'bus.db'}")
        yield bench
        bench.close()


def _paced(requests: Iterable[bytes], rate: float | None) -> Iterator[tuple[float, bytes]]:
    """Each request with the time it is due; shared by all senders."""
    begin = time.monotonic()
    return ((begin + index / rate if rate else begin, request) for index, request in enumerate(requests))
