"""Taking messages in: the idempotent receiver, and refusals (D2)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bus.endpoint import SignedRequest
from bus.errors import Rejected
from bus.message import DOCUMENT_ID, ENDPOINT, FROM, KIND, KIND_OTHER, RECEIVERS, SENDER, SENDER_MESSAGE_ID, SUBJECT, Message
from bus.receipt import Status
from bus.store import blobs, debts, issuing, naming, statements, working
from bus.store.model import Accepted, Owed, Subject
from bus.store.tables import Row, canonical, fingerprint, messages
from bus.store.transaction import Transaction, Turn


def accept(
    tx: Transaction,
    message: Message,
    owed: Sequence[Owed],
    receipts_to: str,
    note: Mapping[str, Any] = MappingProxyType({}),
    request: tuple[str, SignedRequest] | None = None,
) -> Accepted:
    """Take responsibility for a message: its row and octets, the debts it begins with, and the receipt ACCEPTED. ``note`` is journalled.

    ``request``, with its digest, is kept beside the message, where the sender signed it.

    The same key and content again gives the first receipt, or, when that was pruned, Rejected 5.6.10; the same key with other content
    raises Rejected 5.6.9.
    """
    row = _row(tx, message, owed[0].route, receipts_to, request)
    key = (row["sender"], row["sender_key"])
    known = _known(tx, *key)
    if known is not None:
        if known.digest != row["digest"]:
            raise Rejected("content-differs", message=row["public_id"])
        if known.archived:
            raise Rejected("message-archived", message=row["public_id"], accepted=known.archived)
        first = issuing.accepted(tx, known.id)
        return Accepted(first.receipt, first.xml, duplicate=True)
    tx.write(Turn.MESSAGE, statements.INSERT_MESSAGE, row, key)
    blobs.keep(tx, message.digest, message.body)
    if request is not None:
        blobs.keep(tx, request[0], request[1].body)
    subject = Subject.of(row)
    rows = [debts.owe(tx, subject, each, each.message.digest, kept=each.message.digest == message.digest) for each in owed]
    said = issuing.statement(Status.ACCEPTED, "receipt-accepted", None, recipient=tx.context.organisation)
    answer = issuing.issue(tx, subject, said, {**note, "message": fingerprint(messages, row), "owed": [debts.entry(each) for each in rows]})
    return Accepted(answer.receipt, answer.xml, works=working.begun(tx, subject, owed, rows))


def _known(tx: Transaction, sender: str, key: str) -> Row | None:
    """The message that this partner, under whichever of its names, has sent under ``key``."""
    for name in tx.context.names.of(sender):
        if (found := tx.ask_of((name, key), statements.KNOWN_MESSAGE, sender=name, sender_key=key).one_or_none()) is not None:
            return found
    return None


def sender_key(message: Message) -> str:
    """The idempotency key of a message within its sender."""
    return message.header(SENDER_MESSAGE_ID) or f"sha256:{message.digest}"


def _row(tx: Transaction, message: Message, route: str, receipts_to: str, request: tuple[str, SignedRequest] | None) -> dict[str, Any]:
    given, sender = message.header(SENDER_MESSAGE_ID), message.header(SENDER)
    row = {
        "id": message.id,
        "public_id": given or message.id,
        "sender": sender,
        "sender_key": sender_key(message),
        "endpoint": message.header(ENDPOINT),
        "route": route,
        "kind": message.header(KIND) or KIND_OTHER,
        "organ": message.header(FROM) or sender,
        "receivers": message.header(RECEIVERS),
        "document_id": message.header(DOCUMENT_ID),
        "subject": message.header(SUBJECT),
        "digest": message.digest,
        "size": len(message.body),
        "headers": canonical(message.headers),
        "receipts_to": receipts_to,
        "accepted": tx.at,
        "request": request[0] if request else "",
        "request_type": request[1].content_type if request else "",
    }
    return row | naming.names(row)


def refuse(tx: Transaction, message_id: str, detail: Mapping[str, Any]) -> None:
    """Journal a refusal at the door; nothing else is kept of it."""
    tx.append("refused", message_id, "", detail)
