"""The store's tables. What each column holds stands here and nowhere else; the DDL itself is in ``migrations/``.

Conventions
    times      ISO 8601 UTC text of fixed width, ``2026-01-31T08:00:00.000000Z``: sorts as it reads, is the same in every database,
               and is hashed into the journal exactly as it is stored. "" is "not yet".
    digests    SHA-256, lower-case hex. "" is "none".
    headers, detail   canonical JSON text (see ``octets``).

``messages``, ``receipts``, ``journal``, ``checkpoints`` and ``timestamps`` are append-only and ``blobs`` never change; the database itself
refuses (``dialect.py``), but for what is pruned (``pruning.py``). Only ``deliveries``, ``heads`` and ``mailboxes`` are updated.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson
import sqlalchemy as sa

from bus.store import dialect

metadata = sa.MetaData()

#: A row as the database gives it, whatever its columns.
Row: TypeAlias = sa.Row[*tuple[Any, ...]]

#: Alembic revision these tables belong to.
REVISION = "0010"
#: The ``previous`` of a chain's first row.
GENESIS = "0" * 64
#: An end that never comes: receipts wait in a mailbox for as long as it takes.
NEVER = "9999-12-31T00:00:00.000000Z"
#: The ``due`` of what an operator wants sent now: it goes before all else to its target, and a lane that is stopped sends it as its probe.
AT_ONCE = "0001-01-01T00:00:00.000000Z"

#: Journal events that say where chains begin since: a pruning has begun, and it has ended.
PRUNINGS = ("pruning", "pruned")

# Partial-index predicates. Queries repeat them word for word, because SQLite uses a partial index only for what it can prove from literals.
CLAIMABLE = "state = 'READY' AND claimable = 1"
ACTIVE_IN_ORDER = "order_key <> '' AND state IN ('READY', 'CLAIMED')"
WAITING_DOCUMENTS = "state = 'WAITING' AND receipt_id = ''"
WAITING_RECEIPTS = "state = 'WAITING' AND receipt_id <> ''"
WAITING = "state = 'WAITING'"
CLAIMED = "state = 'CLAIMED'"
READY_OR_CLAIMED = "state IN ('READY', 'CLAIMED') AND state <> 'DONE'"
STANDING = "state <> 'DONE'"
OWNED = "owner <> ''"
REFUSED = "event = 'refused'"


def _text(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, dialect.TEXT, nullable=False, **options)


def _number(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, dialect.NUMBER, nullable=False, **options)


def _where(predicate: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(predicate), "postgresql_where": sa.text(predicate)}


#: One row an accepted message, never changed: its digest stands in the journal's ``accepted`` row.
messages = sa.Table(
    "messages",
    metadata,
    _text("id", primary_key=True),  # the bus's own id
    _text("public_id"),  # the id its sender knows it by: its own, else ``id``
    _text("sender"),  # partner, as authenticated
    _text("sender_key"),  # idempotency key within the sender: its own id, else "sha256:<digest>"
    _text("endpoint"),
    _text("route"),
    _text("kind"),
    _text("organ"),  # organisation code receipts name as the sender
    _text("receivers"),
    _text("document_id"),
    _text("subject"),
    _text("digest"),
    _number("size"),
    _text("headers"),
    _text("receipts_to"),  # endpoint in whose mailbox the sender finds its receipts, or ""
    _text("accepted"),
    _text("request", server_default=""),  # digest of the signed request it came in, or ""
    _text("request_type", server_default=""),  # that request's Content-Type
    sa.Column("number", dialect.TEXT),  # the document's number, folded; "" where it has none, NULL where nobody looked yet (``naming``)
    sa.Column("folded", dialect.TEXT),  # the subject, folded; NULL with ``number``
    sa.Index("messages_idempotency", "sender", "sender_key", unique=True),
    sa.Index("messages_public", "public_id"),
    sa.Index("messages_document", "document_id"),
    sa.Index("messages_accepted", "accepted"),
    sa.Index("messages_number", "number"),
)

#: One row a debt. ``seq`` is the order of creation. The columns in FIXED never change; the journal holds their digest.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("seq", dialect.NUMBER, sa.Identity(), primary_key=True),
    _text("id", unique=True),
    sa.Column("message_id", dialect.TEXT, sa.ForeignKey("messages.id"), nullable=False),
    _text("route"),
    _text("target"),
    _text("owner"),  # the partner in whose mailbox it lies, or "" when it is pushed
    _text("order_key"),
    _text("kind"),
    _text("public_id"),  # the id in the owner's mailbox, or "" when it is pushed
    _text("receipt_id"),  # the receipt it carries, or ""
    _text("receivers"),
    _text("digest"),
    _number("size"),
    _text("headers"),
    _text("created"),
    _text("state"),
    _number("revision"),  # counts changes; each is one journal row with the same number
    _number("claimable"),  # 0: a delivery to the same target with the same order key goes first
    _number("attempt"),
    _text("due"),
    _text("expires"),
    _text("claimed_by"),
    _text("lease_until"),
    _text("fetched"),
    _text("ended"),
    _text("outcome"),  # status of the receipt that ended it, or ""
    _text("last_code"),
    _text("last_reason_vi"),
    _text("last_reason_en"),
    sa.Index("deliveries_message", "message_id"),
    sa.Index("deliveries_claim", "target", "due", "seq", **_where(CLAIMABLE)),
    sa.Index("deliveries_order", "target", "order_key", "seq", **_where(ACTIVE_IN_ORDER)),
    sa.Index("deliveries_mailbox", "owner", "seq", **_where(WAITING_DOCUMENTS)),
    sa.Index("deliveries_mailbox_receipts", "owner", "seq", **_where(WAITING_RECEIPTS)),
    sa.Index("deliveries_public", "owner", "public_id", unique=True, **_where(OWNED)),
    sa.Index("deliveries_leases", "lease_until", **_where(CLAIMED)),
    sa.Index("deliveries_expiry", "expires", **_where(WAITING)),
    sa.Index("deliveries_standing", "state", "target", "created", **_where(STANDING)),
)
FIXED = (
    "id",
    "message_id",
    "route",
    "target",
    "owner",
    "order_key",
    "kind",
    "public_id",
    "receipt_id",
    "receivers",
    "digest",
    "size",
    "headers",
    "created",
)

#: One row a signed receipt. ``reply`` is the digest of the partner's reply, or of its signed request, kept as the proof of what it says.
receipts = sa.Table(
    "receipts",
    metadata,
    _text("id", primary_key=True),
    sa.Column("message_id", dialect.TEXT, sa.ForeignKey("messages.id"), nullable=False),
    _text("delivery_id"),  # the delivery it speaks of, or "" for ACCEPTED
    _text("public_id"),
    _text("document_id"),
    _text("sender"),
    _text("recipient"),
    _text("status"),
    _text("code"),
    _text("reason_vi"),
    _text("reason_en"),
    _text("at"),
    _text("digest"),
    _text("previous"),
    _text("reply"),
    sa.Column("xml", sa.LargeBinary, nullable=False),
    _text("authenticated", server_default=""),  # the code of the organisation that was authenticated, or "" for a message of before
    _text("method", server_default=""),
    sa.Index("receipts_message", "message_id"),
)

#: By table, columns that stores of before did not have: a row where they are empty is vouched for as it was then.
LATER: Mapping[str, frozenset[str]] = {
    "messages": frozenset({"request", "request_type"}),
    "receipts": frozenset({"authenticated", "method"}),
}

#: By table, columns that follow from the others and are there to be searched: no fingerprint holds them.
DERIVED: Mapping[str, frozenset[str]] = {"messages": frozenset({"number", "folded"})}

#: The hash chains: one row a change of state, or a refusal.
journal = sa.Table(
    "journal",
    metadata,
    _text("chain", primary_key=True),
    _number("seq", primary_key=True, autoincrement=False),
    _text("at"),
    _text("event"),
    _text("message_id"),
    _text("delivery_id"),
    _text("detail"),
    _text("previous"),
    _text("hash"),
    sa.Index("journal_message", "message_id"),
    sa.Index("journal_delivery", "delivery_id"),
    sa.Index("journal_refused", "at", **_where(REFUSED)),
)

#: Where each chain ends: a chain cut short no longer meets its head.
heads = sa.Table("heads", metadata, _text("chain", primary_key=True), _number("seq"), _text("hash"))

#: Octets up to ``blobs.IN_ROW``, by their digest; larger ones are files, or ``blob_parts``.
blobs = sa.Table("blobs", metadata, _text("digest", primary_key=True), sa.Column("body", sa.LargeBinary, nullable=False))

#: On PostgreSQL, the octets of larger bodies, by their digest, in parts that are numbered from 0 (``parts``).
blob_parts = sa.Table(
    "blob_parts",
    metadata,
    _text("digest", primary_key=True),
    _number("part", primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

#: The signed statements about the journal (``bus.checkpoint``), numbered from 1; never changed, never removed.
checkpoints = sa.Table(
    "checkpoints",
    metadata,
    _number("number", primary_key=True, autoincrement=False),
    _text("at"),
    _text("digest"),  # of ``xml``
    sa.Column("xml", sa.LargeBinary, nullable=False),
)

#: What each checkpoint says about a chain. ``leaves``: the hashes of rows ``first`` to ``last``, 32 octets each, by which a row is proved
#: when those around it are pruned.
checkpoint_spans = sa.Table(
    "checkpoint_spans",
    metadata,
    _text("chain", primary_key=True),
    _number("last", primary_key=True, autoincrement=False),
    sa.Column("number", dialect.NUMBER, sa.ForeignKey("checkpoints.number"), nullable=False),
    _number("first"),
    _text("head"),
    sa.Column("leaves", sa.LargeBinary, nullable=False),
    sa.Index("checkpoint_spans_number", "number"),
)

#: The time-stamps on checkpoints. Each covers all checkpoints before its own, so most have none.
timestamps = sa.Table(
    "timestamps",
    metadata,
    sa.Column("number", dialect.NUMBER, sa.ForeignKey("checkpoints.number"), primary_key=True, autoincrement=False, nullable=False),
    _text("at"),  # as the authority states it
    _text("digest"),  # of ``token``; stands in the journal, too
    sa.Column("token", sa.LargeBinary, nullable=False),
)

#: What was pruned is still known by the key its sender used: a repetition must not become a second message. One row a pruned message.
tombstones = sa.Table(
    "tombstones",
    metadata,
    _text("sender_key", primary_key=True),
    _text("sender", primary_key=True),
    _text("endpoint"),
    _text("message_id"),
    _text("digest"),
    _text("accepted"),
)

#: Every name that a partner has had. ``codes``: the organisation codes it stood for when last in use, separated by spaces;
#: ``became``: what its partner is called now (``names``), or "" for the present name. ``first``, ``last``: when it was in use.
partners = sa.Table(
    "partners",
    metadata,
    _text("name", primary_key=True),
    _text("codes"),
    _text("first"),
    _text("last"),
    _text("became"),
)

#: What was shown once and counts once, such as the nonce of a password: by partner, until it is too old to count anyway.
nonces = sa.Table(
    "nonces",
    metadata,
    _text("partner", primary_key=True),
    _text("digest", primary_key=True),
    _text("until"),
    sa.Index("nonces_until", "until"),
)

#: How much waits in each mailbox, receipts not counted: changed with the deliveries themselves (``filling``).
mailboxes = sa.Table("mailboxes", metadata, _text("owner", primary_key=True), _number("messages"), _number("octets"))

#: The messages (or the references of refusals) whose rows the running transaction prunes: the guards let these go, and no others.
#: Filled and emptied in one transaction; that a row of it is ever committed is a break.
pruning = sa.Table("pruning", metadata, _text("message_id", primary_key=True))


def is_held(state: str, due: str) -> bool:
    """Whether a delivery in ``state`` is held since a backup was restored: only an operator's word makes it due."""
    return state == "READY" and due == NEVER


def columns(row: Row) -> Mapping[Any, Any]:
    """A row by column name."""
    return row._mapping  # noqa: SLF001 - SQLAlchemy's documented name for it


def stamp(at: datetime) -> str:
    """``at`` (aware) as the store's text."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def moment(text: str) -> datetime:
    """The aware UTC time that ``stamp`` wrote."""
    return datetime.fromisoformat(text)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def octets(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON of texts, whole numbers, and lists and mappings of them: keys sorted, no spaces, characters as themselves.

    A damaged row may hold text that is not UTF-8; it becomes the octets it is (``surrogateescape``). orjson, which is ten times as fast
    and writes the same, refuses such text.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _CANONICAL.encode(value).encode("utf-8", "surrogateescape")


def canonical(value: Mapping[str, Any]) -> str:
    """Canonical JSON as text."""
    return octets(value).decode("utf-8", "surrogateescape")


def sha256(data: bytes) -> str:
    """SHA-256, lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(table: sa.Table, values: Mapping[Any, Any]) -> str:
    """SHA-256 over the canonical JSON of a row of ``table``, octets standing as their own digest."""
    return sha256(octets(plain(table, values)))


def plain(table: sa.Table, values: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of ``table`` as its fingerprint sees it: octets as their digest, without the table's columns of DERIVED.

    Of LATER, those that are empty are left out, too.
    """
    later, derived = (kind.get(table.name, frozenset()) for kind in (LATER, DERIVED))
    shown = {name: sha256(value) if isinstance(value, bytes) else value for name, value in values.items()}
    return {name: value for name, value in shown.items() if name not in derived and (value != "" or name not in later)}
