"""A real bus in this process, with two partners on real sockets: an agency that speaks SOAP and a hub that speaks VXP."""

import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from helping import until
from partner_server import Asked, PartnerServer

from bus import config
from bus.audit import audit
from bus.endpoint import Adapter, Request, Response
from bus.engine import Engine
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.lanes import LEASE
from bus.message import KIND, SENDER, SENDER_MESSAGE_ID, Message
from bus.site import Clock, Site
from bus.store import Store

#: Longer than anything here takes; a test that waits this long has failed.
PATIENCE = 30.0

#: What fails is retried at once; the agency's own bus keeps what it gets.
MINISTRY = """\
site: {organisation: 000.00.00.G14, name: Bộ thử nghiệm, key: own/bus, tls: none}
partners:
  telecom-authority: {codes: [000.00.01.G14], trust: trust/telecom-authority}
  partner-agency: {codes: [000.00.00.G18, G18], trust: trust/partner-agency}
  government-office: {codes: [000.00.00.G22, G22]}
endpoints:
  documents: {soap: {path: /soap/documents, security: {verify: wss-x509, sign: own/bus}}}
  agency:
    soap:
      url: env:AGENCY_URL
      partner: partner-agency
      timeout: 20s
      security: {verify: wss-x509, sign: own/bus}
      probe-first: 100ms
      probe-most: 200ms
  exchange:
    vxp:
      url: env:VXP_URL
      system: 000.00.00.G14
      secret: env:VXP_SECRET
      partner: government-office
      poll: 1h
      timeout: 20s
      probe-first: 100ms
      probe-most: 200ms
routes:
  - name: documents
    from: documents
    choose: [{when: "To/OrganId = '000.00.00.G18'", to: [agency]}, {otherwise: [exchange]}]
    receipts: documents
    retry: {first: 50ms, factor: 1, most: 1h, give-up: 1h}
"""
AGENCY = """\
site: {organisation: 000.00.00.G18, name: Cơ quan thử nghiệm, key: own/bus, tls: own/tls}
partners:
  ministry: {codes: [000.00.00.G14, G14], trust: trust/ministry}
  desk: {codes: [000.00.00.G18, G18], trust: own}
endpoints:
  documents: {soap: {path: /soap/documents, security: {verify: wss-x509, sign: own/bus}}}
routes:
  - {name: documents, from: documents, authorize: none, because: "the ministry relays what its units write", to: [{documents: To/OrganId}]}
"""


#: The same, but a call is given up after a second.
HASTY = MINISTRY.replace("timeout: 20s", "timeout: 1s")
RECEIVER = {"agency": "000.00.00.G18", "exchange": "000.00.00.G22"}
_EDXML = "http://www.mic.gov.vn/TBT/QCVN_102_2016"


def letter(name: str, to: str, text: str = "") -> bytes:
    """A small fictitious document with the subject ``name`` for ``agency`` or ``exchange``."""
    organ = "<edXML:{0}><edXML:OrganId>{1}</edXML:OrganId><edXML:OrganName>Cơ quan {1}</edXML:OrganName></edXML:{0}>"
    return (
        f'<edXML xmlns="{_EDXML}"><edXML:edXMLEnvelope xmlns:edXML="{_EDXML}"><edXML:edXMLHeader><edXML:MessageHeader>'
        f"{organ.format('From', '000.00.01.G14')}{organ.format('To', RECEIVER[to])}"
        f"<edXML:DocumentId>000.00.01.G14,2026/03/15,{name}</edXML:DocumentId>"
        "<edXML:Code><edXML:CodeNumber>1</edXML:CodeNumber><edXML:CodeNotation>CV-TN</edXML:CodeNotation></edXML:Code>"
        "<edXML:PromulgationInfo><edXML:Place>Hà Nội</edXML:Place><edXML:PromulgationDate>2026/03/15</edXML:PromulgationDate>"
        f"</edXML:PromulgationInfo><edXML:Subject>{name}</edXML:Subject><edXML:Content>{text}</edXML:Content>"
        "<edXML:SteeringType>1</edXML:SteeringType></edXML:MessageHeader></edXML:edXMLHeader></edXML:edXMLEnvelope></edXML>"
    ).encode()


def handed_in(name: str, to: str, text: str = "") -> Message:
    """The letter as a unit's message, under an id of its own."""
    headers = {SENDER: "telecom-authority", SENDER_MESSAGE_ID: name, KIND: "document"}
    return Message(f"message-{name}", headers, letter(name, to, text))


def copy_site(site: Path, directory: Path) -> Path:
    """A site's files below a test's own directory, without the addresses that were written for it."""
    copy = shutil.copytree(site, directory / site.name)
    (copy / ".env").unlink(missing_ok=True)
    return copy


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Bus:
    """One bus, running."""

    site: Site
    store: Store
    engine: Engine
    evidence: Evidence
    endpoints: Mapping[str, Adapter]

    def count(self) -> int:
        """How many messages it has."""
        return audit(self.store, self.evidence).counts["messages"]

    async def asked(self, asked: Asked) -> Response:
        """The answer of its door ``documents``."""
        ((path, door),) = [door for door in self.endpoints["documents"].doors() if door[0] == "/soap/documents"]
        return await door(Request(asked.method, path, "", dict(asked.headers), asked.body, "https://agency.example"))


@asynccontextmanager
async def bus(
    directory: Path,
    environment: Mapping[str, str],
    *,
    routes: str = "",
    clock: Clock = now,
    chain: str = "main",
    lease: timedelta = LEASE,
    lanes: bool = True,
) -> AsyncIterator[Bus]:
    """A bus over a site, with these routes for its own; one of several where it has a ``chain`` of its own. Idle without ``lanes``."""
    if routes:
        (directory / "routes.yaml").write_text(routes, encoding="utf-8")
    loaded = config.load(directory, environment=environment, clock=clock)
    evidence = Evidence(loaded.site.keyring.signer(loaded.site.key), loaded.site.keyring.own, clock)
    url = f"sqlite:///{directory / 'data' / 'bus.db'}"
    store = Store.open(url, seal=evidence.seal, organisation=loaded.site.organisation, clock=clock, ids=uuid7(clock), chain=chain)
    engine = Engine(loaded.site, store, loaded.endpoints, loaded.routes, clock=clock, ids=uuid7(clock), lease=lease)
    if lanes:
        await engine.start()
    try:
        yield Bus(loaded.site, store, engine, evidence, loaded.endpoints)
    finally:
        await engine.stop(grace=2.0)
        store.close()


async def hub_answer(asked: Asked) -> Response:
    """What a good hub says to anything."""
    said = {"DocId": f"hub-{asked.name}"} if asked.path.endswith("sendEdoc") else {"data": []}
    return Response(200, "application/json", json.dumps({"status": "OK", "ErrorCode": "0", "ErrorDesc": "", **said}).encode())


@dataclass
class Rig:
    """The ministry's bus, the agency's behind its server, and the hub's server."""

    ministry: Bus
    agency_bus: Bus
    servers: Mapping[str, PartnerServer]

    async def hand_in(self, name: str, to: str, text: str = "") -> str:
        """A document for ``agency`` or ``exchange`` from a unit; the id of the receipt."""
        return (await self.ministry.engine.accept("documents", handed_in(name, to, text))).receipt.id

    def statuses(self, name: str) -> list[str]:
        """What the receipts of a document say, oldest first."""
        return [self.ministry.evidence.read(xml).status.value for xml in self.ministry.store.receipts_of(name)]

    def failures(self, name: str) -> list[str]:
        """The codes under which its attempts failed."""
        return [detail["code"] for detail in self.acts(name, "deferred")]

    def acts(self, name: str, event: str) -> list[dict[str, Any]]:
        """What the journal says of it under ``event``."""
        (story,) = self.ministry.store.show(name)
        rows = [row for row in story.journal if row["event"] == event]
        return [{"at": row["at"], **row["detail"]} for row in rows]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to be so."""
        await until(holds)

    async def delivered(self, *names: str) -> None:
        """Wait until each of these has ended well."""
        await self.until(lambda: all(self.statuses(name) == ["ACCEPTED", "DELIVERED"] for name in names))

    async def survives(self, misbehaviours: Sequence[str], *, code: str | None = None) -> None:
        """Each partner misbehaves in each of these ways, each way at another document, once.

        Then all are delivered, at the second attempt, the first one having failed with ``code``. (A partner that is given up so soon
        that it may fail again by itself: at the second or later.)
        """
        names = {f"{to}-{way.replace(' ', '-')}": (to, way) for to in self.servers for way in misbehaviours}
        for name, (to, way) in names.items():
            self.servers[to].script[name] = [way]
        for name, (to, _) in names.items():
            await self.hand_in(name, to)
        await self.delivered(*names)
        for name, (to, way) in names.items():
            failures = self.failures(name)
            if code is not None:
                assert failures == [code], (name, way, failures)
            assert failures, (name, way)
