"""The floor: what a document's way over the SOAP route costs when each block it cannot do without is done the best known way.

Each block is timed alone, as CPU time, with the libraries and no code of the bus; the sum, each counted as often as the route needs it,
is what the bus is compared with. Whatever it costs to connect the blocks, and every check that only the bus makes, is above the floor.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pybase64
from lxml import etree

from bench import plain, plain_https, plain_store

#: A batch is long enough for the clock and short enough to fall between two disturbances; the median ignores those that did not.
BATCH_SECONDS = 0.04
BATCHES = 7
HTTPS_MESSAGES = 1600

_EXCHANGE = "urn:govbus:exchange:v1"
_EDXML = "http://www.mic.gov.vn/TBT/QCVN_102_2016"


@dataclass(frozen=True, slots=True)
class Block:
    """One block: CPU milliseconds each time, and how often a message needs it."""

    name: str
    ms: float
    count: int


@dataclass(frozen=True, slots=True)
class Material:
    """What the blocks work on: a document as the load sends it, a site's keys, schema and stylesheet, and a receipt of its own kind."""

    document: bytes
    own: Path
    schema: Path
    stylesheet: Path

    @classmethod
    def of(cls, site: Path, document: bytes) -> "Material":
        """A document and the site that it passes."""
        schemas = site / "schemas" / "edxml" / "v1"
        return cls(document, site / "certs" / "own", schemas / "document.xsd", schemas / "normalise.xsl")

    @property
    def receipt(self) -> bytes:
        """A receipt's octets before its signature: the size and shape of the bus's own."""
        reasons = ("Đã nhận văn bản và lưu bền vững.", "The document was accepted and durably stored.")
        fields = "".join(f"<{name}>{'0' * 36}</{name}>" for name in ("ReceiptId", "MessageId", "DocumentId", "Sender", "Recipient", "At"))
        words = "".join(f'<Reason xml:lang="{language}">{text}</Reason>' for language, text in zip(("vi", "en"), reasons, strict=True))
        hashes = "".join(f"<{name}>{'0' * 64}</{name}>" for name in ("Sha256", "Previous"))
        outcome = "<Status>ACCEPTED</Status><Code>2.0.0</Code>"
        return f'<Receipt xmlns="urn:govbus:receipt:v1">{fields}{outcome}{words}{hashes}</Receipt>'.encode()


def measure(material: Material) -> tuple[Block, ...]:
    """Every block of the route, in the order of a message's life."""
    key = plain.Key.load(material.own / "bus.key", material.own / "bus.crt")
    receipt = plain.sign_receipt(material.receipt, key)
    answer = f'<x:SendDocumentResponse xmlns:x="{_EXCHANGE}">'.encode() + receipt + b"</x:SendDocumentResponse>"
    payload = _request(material.document)
    request, reply = plain.sign_envelope(payload, key), plain.sign_envelope(answer, key)
    tree = _document(plain.verify_envelope(request, key))
    schema = etree.XMLSchema(etree.parse(material.schema))
    stylesheet = etree.XSLT(etree.parse(material.stylesheet), access_control=etree.XSLTAccessControl.DENY_ALL)  # type: ignore[attr-defined]
    https_in, https_out = _https(material.own, request, reply)
    accept, routed, finish = _commits(material.document, receipt)
    return (
        Block("https_in", https_in, 1),
        Block("verify_request", _cpu_ms(lambda: plain.verify_envelope(request, key)), 1),
        Block("validate", _cpu_ms(lambda: _validate(tree, schema)), 1),
        Block("sign_xades_receipt", _cpu_ms(lambda: plain.sign_receipt(material.receipt, key)), 2),
        Block("commit_accepted", accept, 1),
        Block("sign_receipt_reply", _cpu_ms(lambda: plain.sign_envelope(answer, key)), 1),
        Block("transform", _cpu_ms(lambda: etree.tostring(stylesheet(tree), encoding="UTF-8")), 1),
        Block("commit_routed", routed, 1),
        Block("sign_outgoing", _cpu_ms(lambda: plain.sign_envelope(payload, key)), 1),
        Block("https_out", https_out, 1),
        Block("verify_agency_reply", _cpu_ms(lambda: plain.verify_envelope(reply, key)), 1),
        Block("commit_delivered", finish, 1),
    )


def _request(document: bytes) -> bytes:
    """A SendDocument with the document inline, as the load and the bus send it."""
    inline = document[document.index(b"?>") + 2 :] if document.startswith(b"<?xml") else document
    head = f'<x:SendDocument xmlns:x="{_EXCHANGE}"><x:MessageId>{"0" * 36}</x:MessageId><x:Document>'.encode()
    return b"".join((head, inline, b"</x:Document></x:SendDocument>"))


def _document(body: etree._Element) -> etree._Element:
    """The document inside a Body, as a document of its own."""
    return plain.parse(etree.tostring(body[0][1][0], encoding="UTF-8"))


def _validate(tree: etree._Element, schema: etree.XMLSchema) -> None:
    schema.assertValid(tree)
    for content in tree.iter(f"{{{_EDXML}}}ContentTransferEncoded"):
        pybase64.b64decode(content.text or "", validate=True)


def _https(own: Path, request: bytes, reply: bytes) -> tuple[float, float]:
    with plain_https.server(own / "tls.crt", own / "tls.key", reply) as (url, pid):
        return plain_https.exchange(url, pid, own / "ca.crt", request, HTTPS_MESSAGES)


def _commits(document: bytes, receipt: bytes) -> Iterator[float]:
    """CPU milliseconds a message of the three commits, each in the state that the one before it left."""
    with tempfile.TemporaryDirectory(prefix="govbus-floor-") as directory:
        store = plain_store.Store(Path(directory) / "floor.db", document, receipt)
        for commit in (store.accept, store.route, store.finish):
            costs = [_timed(commit) * 1000 / plain_store.GROUP for _ in range(BATCHES * 4)]
            yield statistics.median(costs)
        store.close()


def _cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of ``work``: the median of several batches."""
    once = max(_timed(work), _timed(work), 1e-6)
    times = max(3, int(BATCH_SECONDS / once))

    def batch() -> None:
        for _ in range(times):
            work()

    gc.disable()
    try:
        return statistics.median(_timed(batch) for _ in range(BATCHES)) * 1000 / times
    finally:
        gc.enable()


def _timed(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before
