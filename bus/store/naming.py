"""What a message is found by beyond its ids: its document's number and its subject, folded (D43).

Both follow from the message's row, so they stand outside its fingerprint (``tables.DERIVED``), no archive holds them, and they can be made
at any time. A row of before, or one that a node of the version before wrote, has none yet: ``number`` is NULL there, and ``fill`` makes
them, some at a time.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from bus.folding import fold
from bus.message import NUMBER
from bus.store import dialect
from bus.store.tables import Row, columns, messages
from bus.store.transaction import Transaction

#: Rows that are filled in one transaction: a few hundredths of a second.
AT_ONCE = 500
#: Transactions while a store is opened: so much of a large store is found at once, and nobody waits long for the door.
AT_OPENING = 40
#: Characters of a number that are compared: an identifier's.
MOST = 255

UNNAMED = sa.select(messages).where(messages.c.number.is_(None)).limit(AT_ONCE)
_NAME = messages.update().where(messages.c.id == sa.bindparam("of_message"), messages.c.number.is_(None))


def names(row: Mapping[Any, Any]) -> dict[str, str]:
    """The columns of DERIVED, of a row of ``messages``."""
    number = _headers(row["headers"]).get(NUMBER) or _number(row["document_id"])
    return {"number": fold(str(number))[:MOST], "folded": fold(row["subject"])}


def _headers(text: str) -> Mapping[str, Any]:
    """A row that was damaged is the audit's business: it still has a subject."""
    try:
        return dict(orjson.loads(text))
    except (TypeError, ValueError):
        return {}


def _number(document_id: str) -> str:
    """The number in a DocumentId: what follows the organisation's code and the date, as ``30002/KH-CVT``."""
    _organ, _date, number = (*document_id.split(",", 2), "", "")[:3]
    return number


def fill(connection: sa.Connection, rows: Sequence[Row]) -> int:
    """Give these rows their names. How many had none until now: another process may have been faster."""
    given = [{"of_message": row.id, **names(columns(row))} for row in rows]
    return dialect.run_many(connection, _NAME.values(number=sa.bindparam("number"), folded=sa.bindparam("folded")), given)


def fill_some(tx: Transaction, rows: Sequence[Row]) -> int:
    """``fill`` as a unit of work."""
    return fill(tx.connection, rows)


def fill_at_opening(reading: sa.Engine, writing: sa.Engine) -> None:
    """Fill what is little; of a large store's rows the first, the rest being housekeeping's.

    That the store can be opened matters more: where the disk is full, say, or another process writes for long, nothing is filled now.
    """
    with contextlib.suppress(sa.exc.SQLAlchemyError):
        for _ in range(AT_OPENING):
            rows = dialect.ask(reading, UNNAMED)
            if not rows:
                return
            with writing.begin() as connection:
                fill(connection, rows)
