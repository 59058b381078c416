"""A running bus with one message that has had its whole life, and the evidence of it."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from soap_rig import OTHER, Rig, document
from tsa_server import Authority

from adapters.soap import payloads
from bus import asic, config, proofs
from bus.checkpoint import Summary
from bus.evidence import Evidence
from bus.octets import whole
from bus.proofs import Report, Sources, Verdict
from bus.proofs.given import Given
from bus.store import Checkpoint
from bus.trust import der

ROUTES = """\
site:
  organisation: 000.00.00.G14
  name: Bộ Thông tin và Truyền thông
  timestamps: {url: "http://127.0.0.1:9/", trust: trust/tsa}
partners:
  unit: {codes: [000.00.01.G14], trust: trust/unit, password: env:UNIT_PASSWORD}
  other: {codes: [000.00.00.G18, G18], trust: trust/other}
endpoints:
  documents: {soap: {path: /soap/documents, security: {verify: wss-x509, sign: own/bus}}}
  plain: {soap: {path: /soap/plain, security: {verify: wss-x509, sign: own/bus}}}
  passwords: {soap: {path: /soap/passwords, security: {verify: wss-username, sign: own/bus}}}
routes:
  - name: documents
    from: documents
    gate: [{validate: {schema: edxml/v1/document.xsd, normalised-by: edxml/v1/normalise.xsl, files: true}}]
    steps: [{transform: {stylesheet: edxml/v1/normalise.xsl}}]
    to: [{documents: To/OrganId}]
    receipts: documents
  - {name: plain, from: plain, to: [{documents: To/OrganId}]}
  - {name: passwords, from: passwords, to: [{documents: To/OrganId}], receipts: documents}
"""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Told:
    """A message's whole life on a bus of its own, with a time-stamp authority beside it."""

    rig: Rig
    authority: Authority

    async def live(self, name: str = "tin-1", *, door: str = "documents", number: int = 1, confirm: bool = True) -> str:
        """A document handed in, fetched and confirmed. The bus's id of it."""
        answer = await self.rig.post(self.rig.signed(payloads.send_content(name, document(number))), door)
        assert answer.status == 200
        while not await self.rig.engine.pending("other", 10, ["document"]):
            pass
        fetched = payloads.request("GetDocument", MessageId=name)
        await self.rig.post(self.rig.signed(fetched, signer=self.rig.other))
        if confirm:
            done = payloads.request("ConfirmReceived", MessageId=name, Status="done")
            await self.rig.post(self.rig.signed(done, signer=self.rig.other))
        [story] = self.rig.store.show(name)
        return str(story.message["id"])

    async def checkpoint(self, *, stamped: bool = True) -> Checkpoint:
        """The journal stated up to here, and time-stamped."""
        store, site = self.rig.store, self.rig.site
        grown, at = store.growth(), now()
        summary = Summary(grown.number, at, site.organisation, grown.previous, grown.spans)
        xml = Evidence(site.keyring.signer("own/bus"), site.keyring.own, now).seal_checkpoint(summary)
        await store.keep_checkpoint(grown, at, xml)
        if stamped:
            await store.keep_timestamp(grown.number, at, self.authority.token(sha256(xml).digest(), now()))
        found = store.checkpoint(grown.number)
        assert found is not None
        return found

    def sources(self) -> Sources:
        """What the command collects from."""
        loaded = config.load(self.rig.site.root, environment={"UNIT_PASSWORD": "bí mật"}, clock=now)
        calls = {name: adapter.features.calls for name, adapter in loaded.endpoints.items() if adapter.features.calls}
        routes = {name: route.block for name, route in loaded.routes.items()}
        assert loaded.site.timestamps is not None
        return Sources(loaded.site, self.rig.store, routes, tsa=tuple(der(one) for one in loaded.site.timestamps.anchors), calls=calls)

    def files(self, message_id: str) -> dict[str, bytes]:
        """The evidence's parts."""
        with self.rig.store.snapshot() as snapshot:
            about = snapshot.about(message_id)
            assert about is not None
            return {name: whole(body) for name, body in proofs.collect(snapshot, about, self.sources(), now()).items()}

    def container(self, message_id: str) -> bytes:
        """The evidence as the command writes it."""
        return self.sealed(self.files(message_id))

    def sealed(self, files: dict[str, bytes], key: str = "own/bus") -> bytes:
        """These parts as a container that the site signed."""
        return b"".join(bytes(chunk) for chunk in asic.write(dict(files), self.rig.site.keyring.signer(key), now()))


def verify(octets: bytes, trusted: Given | None = None) -> Report:
    """What a container establishes."""
    return proofs.verify(io.BytesIO(octets), trusted)


def broken(report: Report) -> list[str]:
    """The parts that do not hold."""
    return [line.part for line in report.lines if line.verdict is Verdict.BROKEN]


def keys(report: Report, verdict: Verdict = Verdict.ESTABLISHED) -> list[str]:
    """What was said with this verdict, by its name."""
    return [line.key for line in report.lines if line.verdict is verdict]


def written(octets: bytes, path: Path) -> Path:
    """The container as a file."""
    path.write_bytes(octets)
    return path


RECEIVER = OTHER
