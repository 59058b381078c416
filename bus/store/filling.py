"""Filling: how full each mailbox is, and whether one more message goes in (``bus.quotas``).

One row an owner in ``mailboxes``, changed in the transaction that lays a delivery into a mailbox or ends it there; so it is always right,
and asking costs one row however much waits. Receipts do not count: they stand in ``receipts`` anyway, and nobody can be refused one.

Exact among several processes: a unit decides on what it sees; the row is then written only where there still is room, whatever others
have committed meanwhile (``dialect.add_up``), and else the unit runs again and sees it. Rows are written in the order of their owners'
names, last of all: two processes wait for each other for a moment, and never for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import bindparam

from bus.delivery import State
from bus.quotas import Quota
from bus.store.model import Debt, Filled, full
from bus.store.tables import WAITING_DOCUMENTS, Row, deliveries, mailboxes
from bus.store.transaction import Transaction

_d = deliveries.c
_COUNTED = (
    sa.select(_d.owner, sa.func.count().label("messages"), sa.func.sum(_d.size).label("octets"))
    .where(sa.text(WAITING_DOCUMENTS), _d.owner != "")
    .group_by(_d.owner)
    .subquery()
)
_said = mailboxes.c
_both = sa.outerjoin(_COUNTED, mailboxes, _said.owner == _COUNTED.c.owner)
#: Owners whose rows are not what there is, with what there is. One statement: it sees one moment.
DIFFERING = sa.union_all(
    sa.select(_COUNTED.c.owner, _COUNTED.c.messages, _COUNTED.c.octets)
    .select_from(_both)
    .where(sa.or_(_said.owner.is_(None), _said.messages != _COUNTED.c.messages, _said.octets != _COUNTED.c.octets)),
    sa.select(_said.owner, sa.literal(0), sa.literal(0)).where(
        sa.or_(_said.messages != 0, _said.octets != 0), _said.owner.not_in(sa.select(_COUNTED.c.owner))
    ),
)
_ONE = sa.select(_said.messages, _said.octets).where(_said.owner == bindparam("owner"))
_HELD = sa.select(_said.owner).order_by(_said.owner).with_for_update()
_SET = mailboxes.update().where(_said.owner == bindparam("of_owner"))


@dataclass(frozen=True, slots=True)
class Fill:
    """How much waits in a partner's mailbox, under all its names, and how much may."""

    owner: str
    messages: int
    octets: int
    quota: Quota

    @property
    def share(self) -> float:
        """1.0 when it is full."""
        return self.quota.share(self.messages, self.octets)

    def takes(self, octets: int) -> bool:
        """Whether one more message goes in, of so many octets."""
        return self.messages < self.quota.messages and self.octets + octets <= self.quota.octets


def together(owner: str, rows: Sequence[Row], quota: Quota) -> Fill:
    """A partner's mailbox, from the rows under each of its names."""
    return Fill(owner, sum(row.messages for row in rows), sum(row.octets for row in rows), quota)


def takes(tx: Transaction, owner: str, octets: int) -> bool:
    """Whether one more message of so many octets goes into a mailbox, with what lies there under all of its partner's names."""
    filled = [_under(tx, name) for name in tx.context.names.of(owner)]
    return Fill(owner, sum(one.messages for one in filled), sum(one.octets for one in filled), tx.context.quota(owner)).takes(octets)


def _under(tx: Transaction, name: str) -> Filled:
    """What lies in a mailbox under one name, and is about to."""
    known = tx.filled.get(name)
    if known is None:
        row = tx.connection.execute(_ONE, {"owner": name}).one_or_none()
        known = tx.filled[name] = Filled(row.messages, row.octets) if row else Filled(0, 0)
    moved = tx.moved.get(name)
    return known.plus(moved.messages, moved.octets) if moved else known


def enter(tx: Transaction, owner: str, octets: int, receiver: str) -> None:
    """Lay a message into a mailbox that has room for it. Raises Deferred 4.2.2, about ``receiver``, where it has none."""
    if not takes(tx, owner, octets):
        raise full({owner: receiver})
    quota, others = tx.context.quota(owner), [name for name in tx.context.names.of(owner) if name != owner]
    # What lies under the partner's former names takes up room, too; nothing is added there any more.
    elsewhere = [_under(tx, name) for name in others]
    most = Filled(quota.messages, quota.octets).plus(-sum(one.messages for one in elsewhere), -sum(one.octets for one in elsewhere))
    tx.move(owner, 1, octets, most, receiver)


def changed(tx: Transaction, debt: Debt | Row, to: str) -> None:
    """A delivery goes to another state: it leaves its mailbox, or an operator lays it there again, full or not."""
    before, after = debt.state == State.WAITING, to == State.WAITING
    if debt.owner and not debt.receipt_id and before != after:
        tx.move(debt.owner, after - before, (after - before) * debt.size, None)


def recount(tx: Transaction) -> int:
    """Count what lies in mailboxes anew, where a program of before has not gone on counting. How many rows were wrong.

    Who holds a row has said all that it has committed, and nobody else says more before this commit.
    """
    tx.ask(_HELD).all()
    wrong = tx.connection.execute(DIFFERING).all()
    for row in wrong:
        tx.reached = True
        right = {"messages": row.messages, "octets": int(row.octets)}
        if not tx.connection.execute(_SET.values(right), {"of_owner": row.owner}).rowcount:
            tx.connection.execute(mailboxes.insert(), {"owner": row.owner, **right})
    tx.filled.clear()
    return len(wrong)
