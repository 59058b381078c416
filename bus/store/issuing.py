"""Issuing receipts: each one is signed, stored, journalled and, where its sender has a mailbox, delivered, in one transaction.

Receipts never beget receipts: a delivery that carries one ends with a journal row and nothing more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bus.endpoint import Answer
from bus.errors import LANGUAGES, catalogue, text
from bus.message import CONTENT_TYPE, DOCUMENT_ID, FROM, KIND, KIND_RECEIPT, RECEIVERS, SUBJECT
from bus.receipt import Receipt, Status, legible
from bus.store import blobs, debts, statements
from bus.store.model import Debt, Subject
from bus.store.tables import NEVER, Row, canonical, fingerprint, moment, receipts, sha256
from bus.store.transaction import Transaction, Turn


@dataclass(frozen=True, slots=True)
class Statement:
    """What a receipt is to say. ``recipient``: organisation codes; ``delivery``: id of the delivery it speaks of, or ""."""

    status: Status
    code: str
    reasons: Mapping[str, str]
    recipient: str
    delivery: str = ""
    route: str = ""


def statement(status: Status, key: str, debt: Debt | Row | None, recipient: str = "", **values: object) -> Statement:
    """A statement about a delivery (or None: about the message itself) in the catalogue's words."""
    reasons = {language: text(key, language, **values) for language in LANGUAGES}
    code = catalogue()[key].code
    return Statement(status, code, reasons, recipient) if debt is None else about(debt, status, code, reasons)


def about(debt: Debt | Row, status: Status, code: str, reasons: Mapping[str, str]) -> Statement:
    """A statement about a delivery in given words."""
    return Statement(status, code, reasons, debt.receivers or debt.owner or debt.target, debt.id, debt.route)


def issue(tx: Transaction, subject: Subject, said: Statement, detail: Mapping[str, Any], reply: bytes = b"") -> Answer:
    """Write and sign a receipt. ``detail`` joins it in the journal row, whose event is the receipt's status in lower case."""
    receipt = _receipt(tx, subject, said)
    xml = tx.context.seal(receipt)
    reply_digest = sha256(reply) if reply else ""
    if reply:
        blobs.keep(tx, reply_digest, reply)
    row, digest = _row(tx, receipt, subject, said, reply_digest), sha256(xml)
    tx.write(Turn.RECEIPT, statements.INSERT_RECEIPT, {**row, "xml": xml})
    noted: dict[str, Any] = {
        **detail,
        "receipt": {"id": receipt.id, "sha256": digest, "row": fingerprint(receipts, {**row, "xml": digest})},
    }
    if reply:
        noted["reply"] = reply_digest
    if subject.receipts_to and subject.sender:
        noted["owed"] = [*detail.get("owed", ()), debts.entry(_post(tx, subject, said, receipt, digest, len(xml)))]
    tx.append(said.status.lower(), subject.id, said.delivery, noted)
    return Answer(receipt, xml)


def _receipt(tx: Transaction, subject: Subject, said: Statement) -> Receipt:
    authenticated, method = subject.authenticated
    return Receipt(
        id=tx.context.ids(),
        message_id=legible(subject.public_id),
        document_id=legible(subject.document_id),
        sender=legible(subject.organ),
        recipient=legible(said.recipient),
        status=said.status,
        code=said.code,
        reasons={language: legible(reason) for language, reason in said.reasons.items()},
        at=tx.now,
        digest=subject.digest,
        previous=tx.head,
        authenticated=legible(authenticated),
        method=legible(method) if authenticated else "",
    )


def _row(tx: Transaction, receipt: Receipt, subject: Subject, said: Statement, reply: str) -> dict[str, Any]:
    """A row of ``receipts`` but its octets."""
    return {
        "id": receipt.id,
        "message_id": subject.id,
        "delivery_id": said.delivery,
        "public_id": receipt.message_id,
        "document_id": receipt.document_id,
        "sender": receipt.sender,
        "recipient": receipt.recipient,
        "status": receipt.status,
        "code": receipt.code,
        "reason_vi": receipt.reasons["vi"],
        "reason_en": receipt.reasons["en"],
        "at": tx.at,
        "digest": receipt.digest,
        "previous": receipt.previous,
        "reply": reply,
        "authenticated": receipt.authenticated,
        "method": receipt.method,
    }


def _post(tx: Transaction, subject: Subject, said: Statement, receipt: Receipt, digest: str, size: int) -> dict[str, Any]:
    """Lay a receipt into the mailbox of the message's sender, by its own id. Its octets stay in ``receipts``."""
    headers = {
        KIND: KIND_RECEIPT,
        FROM: tx.context.organisation,
        RECEIVERS: receipt.sender,
        DOCUMENT_ID: receipt.document_id,
        SUBJECT: f"{receipt.status} {receipt.code} {receipt.reasons['vi']}",
        CONTENT_TYPE: "application/xml",
    }
    return debts.insert(
        tx,
        {
            "message_id": subject.id,
            "route": said.route,
            "target": subject.receipts_to,
            "owner": subject.sender,
            "order_key": "",
            "kind": KIND_RECEIPT,
            "public_id": receipt.id,
            "receipt_id": receipt.id,
            "receivers": receipt.sender,
            "digest": digest,
            "size": size,
            "headers": canonical(headers),
            "expires": NEVER,
        },
    )


def receipt_of(row: Row) -> Receipt:
    """The receipt in a row of ``receipts``."""
    return Receipt(
        id=row.id,
        message_id=row.public_id,
        document_id=row.document_id,
        sender=row.sender,
        recipient=row.recipient,
        status=Status(row.status),
        code=row.code,
        reasons={"vi": row.reason_vi, "en": row.reason_en},
        at=moment(row.at),
        digest=row.digest,
        previous=row.previous,
        authenticated=row.authenticated,
        method=row.method,
    )


def answer_of(row: Row) -> Answer:
    """A stored receipt as the answer to a repeated question."""
    return Answer(receipt_of(row), bytes(row.xml), duplicate=True)


def accepted(tx: Transaction, message_id: str) -> Answer:
    """The receipt ACCEPTED of a message."""
    return answer_of(tx.ask(statements.ACCEPTED_RECEIPT, message=message_id).one())
