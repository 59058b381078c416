"""A site for those who take from all: a door, mailboxes, a step that waits, two partners; and its daemon's clients."""

import ssl
import urllib.request
from dataclasses import replace
from pathlib import Path

import attacked_site
from soap_rig import MINISTRY, OTHER, UNIT

from bus import edxml
from bus.edxml.model import Attachment
from sandbox import documents
from sandbox.documents import Kind, Party
from sandbox.process import BusProcess
from sandbox.unit import Unit

PARTNERS = {UNIT: "unit", OTHER: "other"}
ROUTES = f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit, password: env:UNIT_PASSWORD}}
  other: {{codes: [{OTHER}, G18], trust: trust/other, password: env:UNIT_PASSWORD}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: [wss-x509, wss-username], sign: own/bus}}}}}}
routes:
  - {{name: documents, from: documents, gate: [pdf-signatures: {{}}], to: [{{documents: To/OrganId}}], receipts: documents}}
"""
#: A PDF in which a signature must be looked for.
SIGNED = b"%PDF-1.7\n1 0 obj << /Type /Sig /ByteRange [0 1 2 3] >> endobj\n%%EOF\n"


def write(root: Path, certs: Path, routes: str = ROUTES) -> Path:
    """The site in ``root``, with a copy of ``certs``."""
    site = attacked_site.write(root, certs, tls=True)
    (site / "routes.yaml").write_text(routes, encoding="utf-8")
    return site


def letter(sender: str, receiver: str, *files: bytes) -> bytes:
    """A document from one partner to the other, with these files."""
    parties = {code: Party(code, f"Cơ quan {code}", "Bộ", "CQ", "VP") for code in (sender, receiver)}
    made = documents.document(Kind.NEW, sender=parties[sender], receivers=(parties[receiver],))
    attached = tuple(Attachment(f"{number}.pdf", data, f"{number}@unit") for number, data in enumerate(files))
    return edxml.write_document(replace(made, attachments=attached))


def client(bus: BusProcess, code: str) -> Unit:
    """A partner's system."""
    keys = bus.site / "certs" / "development" / PARTNERS[code]
    door = {"documents": "/soap/documents", "inbox": "/soap/documents"}
    return Unit.connect(bus.url, code, keys=keys, trust=bus.site / "certs" / "own", **door)


def trusting(bus: BusProcess) -> ssl.SSLContext:
    """How a client trusts the daemon's door."""
    context = ssl.create_default_context(cafile=str(bus.site / "certs" / "own" / "ca.crt"))
    context.check_hostname = False
    return context


def page(bus: BusProcess, path: str) -> bytes:
    """An open page of the daemon. Raises HTTPError for what is not 200."""
    with urllib.request.urlopen(bus.url + path, timeout=20, context=trusting(bus)) as answer:
        return bytes(answer.read())


def children(pid: int) -> list[int]:
    """The processes that a daemon has started."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
