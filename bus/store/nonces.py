"""Nonces: what counts once for the whole site, whichever endpoint, worker, node or generation it is shown to."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import bindparam

from bus.errors import Rejected
from bus.store.tables import nonces, stamp
from bus.store.transaction import Transaction, Turn

#: Rows forgotten in one transaction.
MOST = 5000

_KNOWN = sa.select(nonces.c.until).where(nonces.c.partner == bindparam("partner"), nonces.c.digest == bindparam("digest"))
_INSERT = sa.insert(nonces)
#: Until when the first of them counts; NULL when there is none.
OLDEST = sa.select(sa.func.min(nonces.c.until))
_OVER = sa.select(nonces.c.partner, nonces.c.digest).where(nonces.c.until < bindparam("now")).limit(MOST)
_FORGET = sa.delete(nonces).where(nonces.c.partner == bindparam("of_partner"), nonces.c.digest == bindparam("of_digest"))


def use(tx: Transaction, partner: str, digest: str, until: datetime) -> None:
    """Use up a partner's nonce, which counts until then. Raises Rejected 5.7.9 when it was used before, under whichever of its names."""
    for name in tx.context.names.of(partner):
        if tx.ask_of(_named(name, digest), _KNOWN, partner=name, digest=digest).one_or_none() is not None:
            raise Rejected("message-replayed", check="the Nonce was used before")
    tx.write(Turn.MESSAGE, _INSERT, {"partner": partner, "digest": digest, "until": stamp(until)}, _named(partner, digest))


def _named(partner: str, digest: str) -> tuple[str, str]:
    """What the row of a nonce is asked for by."""
    return f"nonce {partner}", digest


def forget(tx: Transaction) -> int:
    """Forget those that no longer count, some at a time; how many they were."""
    rows = tx.ask(_OVER, now=tx.at).all()
    for row in rows:
        tx.connection.execute(_FORGET, {"of_partner": row.partner, "of_digest": row.digest})
    return len(rows)
