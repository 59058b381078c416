"""Two real buses on the loopback interface: a hub, and a ministry that is its client and itself a hub for its unit.

::

    unit ──VXP──▶ ministry ──VXP──▶ hub ◀──VXP── Government Office's desk
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import uvicorn

from bus.config import Loaded
from bus.engine import Engine
from bus.evidence import Evidence
from bus.http import Application
from bus.ids import uuid7
from bus.site import Clock
from bus.store import Store

T = TypeVar("T")

MINISTRY, OFFICE, UNIT = "000.00.00.G14", "000.00.00.G22", "000.00.99.G14"
#: When the SDK's requests were recorded, give or take some minutes.
CAPTURED_AT = datetime(2026, 11, 22, 7, 10, tzinfo=UTC)
SECRETS = {"MINISTRY_SECRET": "ministry-secret", "OFFICE_SECRET": "office-secret", "UNIT_SECRET": "unit-secret"}

HUB = """
site: {organisation: 001.00.20.T99, name: Trục thử nghiệm, key: own/bus, tls: none}
partners:
  ministry: {codes: [000.00.00.G14, G14, 000.00.99.G14]}
  government-office: {codes: [000.00.00.G22, G22]}
endpoints:
  exchange:
    vxp:
      path: /vxp/exchange
      systems:
        000.00.00.G14: {secret: env:MINISTRY_SECRET, partner: ministry}
        000.00.00.G22: {secret: env:OFFICE_SECRET, partner: government-office}
routes:
  - name: exchange
    from: exchange
    gate: [authorize: {sender: From/OrganId}]
    to: [exchange: To/OrganId | ResponseFor/OrganId]
"""

MINISTRY_BUS = """
site: {organisation: 000.00.00.G14, name: Bộ thử nghiệm, key: own/bus, tls: none}
partners:
  unit: {codes: [000.00.99.G14]}
  government-office: {codes: [000.00.00.G22, G22]}
endpoints:
  units: {vxp: {path: /vxp/units, systems: {000.00.99.G14: {secret: env:UNIT_SECRET, partner: unit}}}}
  national-exchange:
    vxp: {url: env:VXP_URL, system: 000.00.00.G14, secret: env:MINISTRY_SECRET, partner: government-office, poll: 50ms, timeout: 10s}
routes:
  - name: outgoing
    from: units
    gate: [authorize: {sender: From/OrganId}]
    to: [national-exchange]
    retry: {first: 100ms, most: 1s, give-up: 1h}
  - name: incoming
    from: national-exchange
    gate: [authorize: {sender: From/OrganId}]
    to: [units: To/OrganId | ResponseFor/OrganId]
"""

CODE_BOOK = """code,old_code,name,valid_from,valid_to,successor
G14,000.00.00.G14,Bộ thử nghiệm,2020-01-01,,
G22,000.00.00.G22,Văn phòng thử nghiệm,2020-01-01,,
G14.99,000.00.99.G14,Đơn vị thử nghiệm,2020-01-01,,
G98,,Bộ đã giải thể,2020-01-01,2021-12-31,G14
"""


def now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Node:
    """One running bus."""

    loaded: Loaded
    store: Store
    engine: Engine
    url: str


@contextlib.contextmanager
def machine(loaded: Loaded, clock: Clock = now) -> Iterator[tuple[Engine, Store]]:
    """Engine and store of a loaded site, not started."""
    site = loaded.site
    evidence = Evidence(site.keyring.signer(site.key), site.keyring.own, clock)
    url = f"sqlite:///{site.root / 'data' / 'bus.db'}"
    store = Store.open(url, seal=evidence.seal, organisation=site.organisation, clock=clock, ids=uuid7(clock), chain="main")
    try:
        yield Engine(site, store, loaded.endpoints, loaded.routes, clock=clock, ids=uuid7(clock)), store
    finally:
        store.close()


@contextlib.asynccontextmanager
async def running(loaded: Loaded, listener: socket.socket) -> AsyncIterator[Node]:
    """A bus over a loaded site, its doors on ``listener``."""
    doors = [door for adapter in loaded.endpoints.values() for door in adapter.doors()]
    with machine(loaded) as (engine, store):
        async with _served(Application(doors, {}), listener):
            await engine.start()
            try:
                yield Node(loaded, store, engine, address(listener))
            finally:
                await engine.stop()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the test runner owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _served(application: Application, listener: socket.socket) -> AsyncIterator[None]:
    server = _Server(uvicorn.Config(application, lifespan="off", ws="none", log_config=None, access_log=False))  # type: ignore[arg-type]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def listen_at(port: int = 0) -> socket.socket:
    """A loopback listener; usable as a context manager."""
    return socket.create_server(("127.0.0.1", port))


def address(listener: socket.socket) -> str:
    """The listener's URL."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}"


async def eventually(question: Callable[[], Awaitable[T]]) -> T:
    """The first true answer of an async ``question``; the test fails when none comes in ten seconds."""
    async with asyncio.timeout(10):
        while not (answer := await question()):
            await asyncio.sleep(0.01)
    return answer


def letter(number: str, sender: str = MINISTRY, *receivers: str) -> bytes:
    """A small edXML document, all of it fictitious."""
    to = "".join(
        f"<edXML:To><edXML:OrganId>{code}</edXML:OrganId><edXML:OrganName>Nơi nhận</edXML:OrganName></edXML:To>"
        for code in receivers or [OFFICE]
    )
    return _frame(
        f"<edXML:From><edXML:OrganId>{sender}</edXML:OrganId><edXML:OrganName>Nơi gửi</edXML:OrganName></edXML:From>{to}"
        f"<edXML:DocumentId>{sender},2024/03/15,{number}/BTN-VP</edXML:DocumentId>"
        f"<edXML:Code><edXML:CodeNumber>{number}</edXML:CodeNumber><edXML:CodeNotation>BTN-VP</edXML:CodeNotation></edXML:Code>"
        "<edXML:PromulgationInfo><edXML:PromulgationDate>2024/03/15</edXML:PromulgationDate></edXML:PromulgationInfo>"
        f"<edXML:Subject>V/v thử nghiệm số {number}</edXML:Subject><edXML:SteeringType>1</edXML:SteeringType>"
    )


def status(code: str, document: str, sender: str = OFFICE, receiver: str = MINISTRY) -> bytes:
    """A status message about ``document``."""
    return _frame(
        f"<edXML:From><edXML:OrganId>{sender}</edXML:OrganId><edXML:OrganName>Nơi báo</edXML:OrganName></edXML:From>"
        f"<edXML:ResponseFor><edXML:OrganId>{receiver}</edXML:OrganId><edXML:DocumentId>{document}</edXML:DocumentId></edXML:ResponseFor>"
        f"<edXML:StatusCode>{code}</edXML:StatusCode><edXML:Timestamp>2024/03/15 09:40:00</edXML:Timestamp>"
    )


def _frame(header: str) -> bytes:
    namespace = "http://www.mic.gov.vn/TBT/QCVN_102_2016"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><edXML xmlns="{namespace}">'
        f'<edXML:edXMLEnvelope xmlns:edXML="{namespace}"><edXML:edXMLHeader>'
        f"<edXML:MessageHeader>{header}</edXML:MessageHeader></edXML:edXMLHeader></edXML:edXMLEnvelope></edXML>"
    ).encode()
