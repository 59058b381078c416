"""A bus in this process for the tests about forms: its keys once a session, and one running bus a test or a module."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from soap_rig import MINISTRY, OTHER, UNIT, Rig, build, now

from adapters.soap import payloads
from bus import pki, soap
from bus.endpoint import Response
from bus.octets import whole


@pytest.fixture(scope="session")
def forms_certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One development PKI: RSA keys take a while to make."""
    directory = tmp_path_factory.mktemp("forms-pki") / "certs"
    pki.development(directory, organisation_name="Bộ Thông tin và Truyền thông", partners={"unit": "Đơn vị", "other": "Bộ khác"}, now=now())
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus(tmp_path_factory: pytest.TempPathFactory, forms_certs: Path) -> AsyncIterator[Rig]:
    """The bus of ``soap_rig.ROUTES``, running."""
    made = build(tmp_path_factory.mktemp("forms"), forms_certs)
    await made.engine.start()
    yield made
    await made.engine.stop(grace=1)
    made.store.close()


GATED = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit, password: env:UNIT_PASSWORD}}
  other: {{codes: [{OTHER}, G18], trust: trust/other}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus}}}}}}
routes:
  - name: documents
    from: documents
    when: To
    gate: [{{validate: {{schema: edxml/v1/document.xsd, normalised-by: edxml/v1/normalise.xsl, files: true}}}}]
    to: [{{documents: To/OrganId}}]
    receipts: documents
  - name: statuses
    from: documents
    when: StatusCode
    gate: [{{validate: {{schema: edxml/v1/status.xsd, normalised-by: edxml/v1/normalise.xsl}}}}]
    to: [{{documents: ResponseFor/OrganId}}]
    receipts: documents
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gated(tmp_path_factory: pytest.TempPathFactory, forms_certs: Path) -> AsyncIterator[Rig]:
    """The same with the reference site's gates, running."""
    made = build(tmp_path_factory.mktemp("gated"), forms_certs, GATED)
    await made.engine.start()
    yield made
    await made.engine.stop(grace=1)
    made.store.close()


async def fetched(bus: Rig, message_id: str) -> bytes:
    """What ``other`` is given of its mailbox."""
    reply = await call(bus, "GetDocument", MessageId=soap.text(message_id))
    return whole(payloads.fetched(reply.payload, reply.hollow, message_id).body)


async def call(bus: Rig, operation: str, **values: str) -> soap.Envelope:
    """The proved reply to a request of the partner ``other`` whose parameters are written as they are."""
    content = "".join(f"<x:{name}>{value}</x:{name}>" for name, value in values.items())
    payload = f"<x:{operation} {payloads.DECLARATION.decode()}>{content}</x:{operation}>".encode()
    return bus.read(await bus.post(bus.signed(payload, signer=bus.other)))


async def waiting(bus: Rig) -> list[str]:
    """The message ids in the mailbox of ``other``."""
    listing = await call(bus, "GetPendingDocumentIds", OrganId="G18", Max="1000")
    return [entry.message_id for entry in payloads.pending(listing.payload)]


def refused(response: Response) -> str:
    """Code and English reason of a fault."""
    payload = soap.read(response.body, response.content_type).payload
    space = f".//{{{soap.FAULT_NAMESPACE}}}"
    reasons = [reason.text for reason in payload.findall(f"{space}Reason") if reason.values() == ["en"]]
    return f"{payload.findtext(f'{space}Code')} {reasons[0] if reasons else ''}"
