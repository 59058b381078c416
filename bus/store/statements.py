"""The statements of the units of work, each with a name and a sentence. Built once: building one costs more than running it.

What is given stands in lower case in the sentence and is a parameter of that name.
"""

from functools import cache

import sqlalchemy as sa
from sqlalchemy import bindparam, literal, select, union_all

from bus.delivery import State
from bus.receipt import Status
from bus.store.model import Subject
from bus.store.tables import (
    ACTIVE_IN_ORDER,
    CLAIMABLE,
    CLAIMED,
    OWNED,
    WAITING,
    blobs,
    deliveries,
    heads,
    journal,
    messages,
    receipts,
    tombstones,
)

_d = deliveries.c
_same_order = sa.and_(_d.target == bindparam("to_target"), _d.order_key == bindparam("with_key"), sa.text(ACTIVE_IN_ORDER))

# --- the chain ---------------------------------------------------------------------------------------------------------
#: Where ``chain`` ends; nobody else moves it before the transaction ends.
HEAD = select(heads.c.seq, heads.c.hash).where(heads.c.chain == bindparam("chain")).with_for_update()
#: ``of_chain`` ends elsewhere now.
MOVE_HEAD = heads.update().where(heads.c.chain == bindparam("of_chain"))
#: A chain begins.
INSERT_HEAD = heads.insert()
#: The hash of row ``seq`` of ``chain``.
LINK = select(journal.c.hash).where(journal.c.chain == bindparam("chain"), journal.c.seq == bindparam("seq"))
#: Journal rows.
INSERT_JOURNAL = journal.insert()

# --- messages and receipts -----------------------------------------------------------------------------------------------
_sent_as = [(table.c.sender == bindparam("sender"), table.c.sender_key == bindparam("sender_key")) for table in (messages, tombstones)]
#: The message that ``sender`` sent under ``sender_key``; ``archived`` is when it was accepted if it was pruned since, else "".
KNOWN_MESSAGE = union_all(
    select(messages.c.id, messages.c.digest, literal("").label("archived")).where(*_sent_as[0]),
    select(tombstones.c.message_id, tombstones.c.digest, tombstones.c.accepted).where(*_sent_as[1]),
)
#: The message ``id``.
MESSAGE = select(messages).where(messages.c.id == bindparam("id"))
INSERT_MESSAGE = messages.insert()
#: The receipt ``id``.
RECEIPT = select(receipts).where(receipts.c.id == bindparam("id"))
#: The receipt ACCEPTED of ``message``.
ACCEPTED_RECEIPT = select(receipts).where(receipts.c.message_id == bindparam("message"), receipts.c.status == Status.ACCEPTED)
_of_delivery = sa.and_(receipts.c.message_id == bindparam("message"), receipts.c.delivery_id == bindparam("delivery"))
#: The last receipt of ``delivery`` of ``message`` that says ``status``.
LAST_RECEIPT = select(receipts).where(_of_delivery, receipts.c.status == bindparam("status")).order_by(receipts.c.at.desc()).limit(1)
INSERT_RECEIPT = receipts.insert()
#: The octets of the receipt ``id``.
RECEIPT_XML = select(receipts.c.xml).where(receipts.c.id == bindparam("id"))
#: The octets kept in a row under ``digest``.
BLOB = select(blobs.c.body).where(blobs.c.digest == bindparam("digest"))

# --- deliveries ----------------------------------------------------------------------------------------------------------
#: The delivery that goes by ``public_id`` in ``owner``'s mailbox.
IN_MAILBOX = select(deliveries).where(_d.owner == bindparam("owner"), _d.public_id == bindparam("public_id"), sa.text(OWNED))
#: The same, to be changed: nobody else changes it meanwhile.
TO_END = IN_MAILBOX.with_for_update()
_before_it = sa.and_(_d.target == bindparam("target"), _d.order_key == bindparam("order_key"), sa.text(ACTIVE_IN_ORDER))
#: A delivery: claimable if no other to ``target`` with ``order_key`` is active.
INSERT_DELIVERY = (
    deliveries.insert()
    .values(
        {column: bindparam(column.name) for column in _d if column.name not in {"seq", "claimable"}}
        | {_d.claimable: sa.case((sa.exists().where(_before_it), 0), else_=1)}
    )
    .inline()
)
#: Whether a delivery to ``target`` with ``order_key`` is active.
ACTIVE = select(sa.exists().where(_before_it))
#: The delivery ``of_id`` was fetched at ``first``.
FETCHED = deliveries.update().where(_d.id == bindparam("of_id")).values(fetched=bindparam("first"))


@cache
def changing(*names: str) -> sa.Update:
    """Changes the columns ``names`` of the delivery ``of_id`` if it has ``of_revision``."""
    unchanged = sa.and_(_d.id == bindparam("of_id"), _d.revision == bindparam("of_revision"))
    return deliveries.update().where(unchanged).values({name: bindparam(name) for name in names})


#: What the columns of the accepted message are called beside those of its delivery.
ORIGINAL = "original_"
#: The first ``most`` deliveries to ``target`` that may be claimed at ``now``, with their subjects, and the body where it is in a row.
CLAIM = (
    select(deliveries, *(messages.c[name].label(ORIGINAL + name) for name in Subject.__slots__), blobs.c.body)
    .join(messages, messages.c.id == _d.message_id)
    .outerjoin(blobs, blobs.c.digest == _d.digest)
    .where(_d.target == bindparam("target"), _d.due <= bindparam("now"), sa.text(CLAIMABLE))
    .order_by(_d.due, _d.seq)
    .limit(bindparam("most"))
    .with_for_update(of=deliveries, skip_locked=True)
)
# What housekeeping looks for, but what someone else is changing at this moment: it is no longer what it was, or is found the next time.
#: Claimed deliveries whose lease was over at ``at``.
LEASE_OVER = (
    select(deliveries).where(_d.lease_until <= bindparam("at"), sa.text(CLAIMED)).order_by(_d.lease_until).with_for_update(skip_locked=True)
)
#: Deliveries that ``chain`` has claimed.
CLAIMED_BY = (
    select(deliveries)
    .where(_d.claimed_by == bindparam("chain"), sa.text(CLAIMED))
    .order_by(_d.lease_until)
    .with_for_update(skip_locked=True)
)
#: The first ``most`` mailbox deliveries whose time was over at ``now``.
UNCOLLECTED = (
    select(deliveries)
    .where(_d.expires <= bindparam("now"), sa.text(WAITING))
    .order_by(_d.expires)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)

# --- order, among the active deliveries ``to_target`` ``with_key`` ---------------------------------------------------
#: Holds back whichever may be claimed.
HOLD_BACK = deliveries.update().where(_same_order, _d.claimable == 1, _d.state == State.READY).values(claimable=0)
_claimed = select(_d.seq).where(_same_order, _d.state == State.CLAIMED)
_first = select(sa.func.min(_d.seq)).where(_same_order, _d.state == State.READY).scalar_subquery()
#: Lets the oldest through.
LET_THROUGH = deliveries.update().where(_d.seq == _first).values(claimable=1)
#: Lets the oldest through if none is claimed.
LET_THROUGH_UNLESS_CLAIMED = LET_THROUGH.where(~sa.exists(_claimed))
