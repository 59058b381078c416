"""The first tables: messages, deliveries, receipts, journal, heads, blobs.

Revision 0001. There is nothing to go back to.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from bus.store import dialect

revision = "0001"
down_revision = None

_CLAIMABLE = "state = 'READY' AND claimable = 1"
_IN_ORDER = "order_key <> '' AND state IN ('READY', 'CLAIMED')"

#: (name, table, columns, unique, predicate)
_INDEXES: tuple[tuple[str, str, tuple[str, ...], bool, str], ...] = (
    ("messages_idempotency", "messages", ("sender", "sender_key"), True, ""),
    ("messages_public", "messages", ("public_id",), False, ""),
    ("messages_document", "messages", ("document_id",), False, ""),
    ("messages_accepted", "messages", ("accepted",), False, ""),
    ("deliveries_message", "deliveries", ("message_id",), False, ""),
    ("deliveries_claim", "deliveries", ("target", "due", "seq"), False, _CLAIMABLE),
    ("deliveries_order", "deliveries", ("target", "order_key", "seq"), False, _IN_ORDER),
    ("deliveries_mailbox", "deliveries", ("owner", "seq"), False, "state = 'WAITING' AND receipt_id = ''"),
    ("deliveries_mailbox_receipts", "deliveries", ("owner", "seq"), False, "state = 'WAITING' AND receipt_id <> ''"),
    ("deliveries_public", "deliveries", ("owner", "public_id"), True, "owner <> ''"),
    ("deliveries_leases", "deliveries", ("lease_until",), False, "state = 'CLAIMED'"),
    ("deliveries_expiry", "deliveries", ("expires",), False, "state = 'WAITING'"),
    ("deliveries_standing", "deliveries", ("state", "target", "created"), False, "state <> 'DONE'"),
    ("receipts_message", "receipts", ("message_id",), False, ""),
    ("journal_message", "journal", ("message_id",), False, ""),
    ("journal_delivery", "journal", ("delivery_id",), False, ""),
    ("journal_refused", "journal", ("at",), False, "event = 'refused'"),
)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, dialect.TEXT, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, dialect.NUMBER, nullable=False) for name in names]


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, dialect.TEXT, primary_key=True, nullable=False)


def _message() -> sa.Column[str]:
    return sa.Column("message_id", dialect.TEXT, sa.ForeignKey("messages.id"), nullable=False)


def upgrade() -> None:
    """Create everything, then have the database guard what is append-only."""
    _create_messages()
    _create_deliveries()
    _create_evidence()
    for name, table, columns, unique, predicate in _INDEXES:
        where: dict[str, Any] = {f"{database}_where": sa.text(predicate) for database in ("sqlite", "postgresql")} if predicate else {}
        op.create_index(name, table, list(columns), unique=unique, **where)
    for statement in dialect.guarding(op.get_bind()):
        op.execute(statement)


def _create_messages() -> None:
    op.create_table(
        "messages",
        _key("id"),
        *_texts("public_id", "sender", "sender_key", "endpoint", "route", "kind", "organ", "receivers", "document_id", "subject", "digest"),
        *_numbers("size"),
        *_texts("headers", "receipts_to", "accepted"),
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("seq", dialect.NUMBER, sa.Identity(), primary_key=True),
        sa.Column("id", dialect.TEXT, nullable=False, unique=True),
        _message(),
        *_texts("route", "target", "owner", "order_key", "kind", "public_id", "receipt_id", "receivers", "digest"),
        *_numbers("size"),
        *_texts("headers", "created", "state"),
        *_numbers("revision", "claimable", "attempt"),
        *_texts("due", "expires", "claimed_by", "lease_until", "fetched", "ended", "outcome"),
        *_texts("last_code", "last_reason_vi", "last_reason_en"),
    )


def _create_evidence() -> None:
    op.create_table(
        "receipts",
        _key("id"),
        _message(),
        *_texts("delivery_id", "public_id", "document_id", "sender", "recipient", "status", "code", "reason_vi", "reason_en"),
        *_texts("at", "digest", "previous", "reply"),
        sa.Column("xml", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "journal",
        _key("chain"),
        sa.Column("seq", dialect.NUMBER, primary_key=True, autoincrement=False, nullable=False),
        *_texts("at", "event", "message_id", "delivery_id", "detail", "previous", "hash"),
    )
    op.create_table("heads", _key("chain"), *_numbers("seq"), *_texts("hash"))
    op.create_table("blobs", _key("digest"), sa.Column("body", sa.LargeBinary, nullable=False))
