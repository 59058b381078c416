"""A real bus in this process: real configuration, keys, store and engine, with its SOAP doors called directly."""

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapters.soap import payloads
from bus import config, soap
from bus.endpoint import Adapter, Request, Response
from bus.engine import Engine
from bus.evidence import Evidence
from bus.ids import uuid7
from bus.octets import Body, whole
from bus.signature import wss
from bus.signer import Signer
from bus.site import Site
from bus.soap import SOAP_11, Version
from bus.store import Store
from sandbox.unit import read_signer

REPOSITORY = Path(__file__).resolve().parent.parent.parent
UNIT, OTHER, MINISTRY = "000.00.01.G14", "000.00.00.G18", "000.00.00.G14"
QCVN = "http://www.mic.gov.vn/TBT/QCVN_102_2016"

ROUTES = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit, password: env:UNIT_PASSWORD}}
  other: {{codes: [{OTHER}, G18], trust: trust/other}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus}}}}}}
  several: {{soap: {{path: /soap/several, security: {{verify: [wss-x509, wss-username, mtls], sign: own/bus}}}}}}
  strict: {{soap: {{path: /soap/strict, security: {{verify: wss-username+mtls}}}}}}
routes:
  - {{name: documents, from: documents, to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: several, from: several, to: [{{documents: To/OrganId}}], receipts: documents}}
  - {{name: strict, from: strict, to: [{{documents: To/OrganId}}], receipts: documents}}
"""


def now() -> datetime:
    return datetime.now(UTC)


def document(number: int = 1, *, sender: str = UNIT, receiver: str = OTHER, subject: str = "V/v báo cáo thử nghiệm") -> bytes:
    """A small fictitious edXML document."""
    organ = "<edXML:{0}><edXML:OrganId>{1}</edXML:OrganId><edXML:OrganName>Cơ quan {1}</edXML:OrganName></edXML:{0}>"
    return (
        f'<edXML xmlns="{QCVN}"><edXML:edXMLEnvelope xmlns:edXML="{QCVN}"><edXML:edXMLHeader><edXML:MessageHeader>'
        f"{organ.format('From', sender)}{organ.format('To', receiver)}"
        f"<edXML:DocumentId>{sender},2026/03/15,{number}/CV-TN</edXML:DocumentId>"
        f"<edXML:Code><edXML:CodeNumber>{number}</edXML:CodeNumber><edXML:CodeNotation>CV-TN</edXML:CodeNotation></edXML:Code>"
        "<edXML:PromulgationInfo><edXML:Place>Hà Nội</edXML:Place><edXML:PromulgationDate>2026/03/15</edXML:PromulgationDate>"
        "</edXML:PromulgationInfo><edXML:DocumentType><edXML:Type>2</edXML:Type><edXML:TypeName>Công văn</edXML:TypeName>"
        f"</edXML:DocumentType><edXML:Subject>{subject}</edXML:Subject>"
        "<edXML:SignerInfo><edXML:Competence>KT. CỤC TRƯỞNG</edXML:Competence><edXML:Position>Phó Cục trưởng</edXML:Position>"
        "<edXML:FullName>Nguyễn Văn A</edXML:FullName></edXML:SignerInfo>"
        "<edXML:OtherInfo><edXML:Priority>0</edXML:Priority><edXML:SphereOfPromulgation>Thử nghiệm</edXML:SphereOfPromulgation>"
        "<edXML:TyperNotation>TN</edXML:TyperNotation><edXML:PromulgationAmount>1</edXML:PromulgationAmount>"
        "<edXML:PageAmount>1</edXML:PageAmount><edXML:Direction>false</edXML:Direction></edXML:OtherInfo>"
        "<edXML:SteeringType>1</edXML:SteeringType></edXML:MessageHeader>"
        "<edXML:TraceHeaderList><edXML:Bussiness><edXML:BussinessDocType>0</edXML:BussinessDocType>"
        "<edXML:BussinessDocReason>Văn bản điện tử mới</edXML:BussinessDocReason></edXML:Bussiness></edXML:TraceHeaderList>"
        '</edXML:edXMLHeader><edXML:edXMLBody><edXML:edXMLManifest version="1.0"></edXML:edXMLManifest></edXML:edXMLBody>'
        "</edXML:edXMLEnvelope></edXML>"
    ).encode()


@dataclass
class Rig:
    """A running bus and the keys of those who call it."""

    site: Site
    engine: Engine
    store: Store
    endpoints: dict[str, Adapter]
    unit: Signer
    other: Signer

    async def post(self, body: bytes, endpoint: str = "documents", **headers: str) -> Response:
        """One POST to a door. ``content_type=…`` sets Content-Type."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        certificate = bytes.fromhex(named.pop("peer", "")) or None
        return await self.request("POST", body, endpoint, {"content-type": "text/xml; charset=utf-8", **named}, certificate)

    async def request(
        self,
        method: str,
        body: bytes = b"",
        endpoint: str = "documents",
        headers: dict[str, str] | None = None,
        certificate: bytes | None = None,
        query: str = "",
    ) -> Response:
        """One request to a door."""
        ((path, door),) = self.endpoints[endpoint].doors()
        return await door(Request(method, path, query, headers or {}, body, "https://bus.example:8443", certificate))

    def signed(self, payload: Body, *, signer: Signer | None = None, version: Version = SOAP_11) -> bytes:
        """The payload in a signed envelope; the unit signs unless someone else is named."""
        return wss.sign(soap.envelope(version, whole(payload)), signer or self.unit, now())

    def read(self, response: Response) -> soap.Envelope:
        """A reply, its signature proved to be the bus's."""
        envelope = soap.read(response.body, response.content_type)
        wss.verify(envelope.root, wss.Policy(), lambda certificate, at: "bus" if self.site.keyring.own(certificate) else "", now())
        return envelope

    async def journal(self) -> list[dict[str, object]]:
        """Every row of the journal."""
        with sqlite3.connect(self.site.root / "data" / "bus.db") as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM journal")]

    async def send(self, body: bytes, message_id: str = "") -> soap.Envelope:
        """A document handed in by the unit; the proved reply."""
        payload = payloads.send_content(message_id, body)
        return self.read(await self.post(self.signed(payload)))


def build(root: Path, certs: Path, routes: str = ROUTES, environment: dict[str, str] | None = None) -> Rig:
    """A bus in the empty directory ``root``, with a copy of ``certs``; not started yet."""
    (root / "routes.yaml").write_text(routes, encoding="utf-8")
    shutil.copytree(REPOSITORY / "schemas", root / "schemas")
    shutil.copytree(certs, root / "certs")
    (root / "data").mkdir()
    loaded = config.load(root, environment={"UNIT_PASSWORD": "bí mật", **(environment or {})}, clock=now)
    evidence = Evidence(loaded.site.keyring.signer("own/bus"), loaded.site.keyring.own, now)
    store = Store.open(
        f"sqlite:///{root / 'data' / 'bus.db'}",
        seal=evidence.seal,
        organisation=MINISTRY,
        clock=now,
        ids=uuid7(now),
        chain="test",
        blobs=root / "data" / "blobs",
    )
    engine = Engine(loaded.site, store, loaded.endpoints, loaded.routes, clock=now, ids=uuid7(now))
    development = root / "certs" / "development"
    unit, other = (read_signer(development / partner) for partner in ("unit", "other"))
    return Rig(loaded.site, engine, store, dict(loaded.endpoints), unit, other)


FAULT = f".//{{{soap.FAULT_NAMESPACE}}}"


def fault_code(response: Response) -> str:
    """The code in a fault, with its reference and both languages there."""
    payload = soap.read(response.body, response.content_type).payload
    assert payload.findtext(f"{FAULT}Reference")
    assert len(payload.findall(f"{FAULT}Reason")) == 2
    return payload.findtext(f"{FAULT}Code") or ""


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 10.0) -> object:
    """The first true answer of ``condition``."""
    async with asyncio.timeout(seconds):
        while not (answer := await condition()):
            await asyncio.sleep(0.01)
        return answer
