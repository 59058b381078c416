"""The store: messages, deliveries, receipts, idempotency keys and the hash-chained journal, in one SQL database (D1).

Reading order
    ``tables``       what is kept, column by column          ``dialect``      what differs between databases; ``postgresql``
    ``writer``       group commit: one thread, one fsync     ``transaction``  what units ask and write; the chain's end
    ``debts``        how a delivery begins and changes       ``issuing``      how a receipt is written
    ``accepting`` ``working`` ``mailbox`` ``operating`` ``deadlines``      the units of work: each change of state is one function
    ``blobs`` ``parts``   octets by digest                   ``standing`` ``readers`` ``searching``   questions
    ``filling``      how full each mailbox is
    ``names`` ``called``   what hangs on partners' names      ``checkpoints``  what is stated about the journal, and the proof for one row
    ``store``        all of it behind one class

Words: a *unit* is one change of state, a function of a Transaction; a *debt* is a delivery that is owed; a *chain* is the journal of one
writer; a message's *standing* is where the worst of its deliveries is.
"""

from bus.store.deadlines import Missed, Term
from bus.store.filling import Fill
from bus.store.model import Checkpoint, Growth, LostClaim, Owed, Proof, Work
from bus.store.names import Held, Ledger, surveyed
from bus.store.readers import Gauge, Story
from bus.store.searching import Found, Hits
from bus.store.standing import Standing
from bus.store.store import Store

__all__ = [
    "Checkpoint",
    "Fill",
    "Found",
    "Gauge",
    "Growth",
    "Held",
    "Hits",
    "Ledger",
    "LostClaim",
    "Missed",
    "Owed",
    "Proof",
    "Standing",
    "Store",
    "Story",
    "Term",
    "Work",
    "surveyed",
]
