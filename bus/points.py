"""Named points: the moments at which the death of this process must cost nothing.

``make crash`` kills the real daemon at every one of them, again and again, and then asks the audit and the partners' own ledgers what
became of the messages. In production ``reach`` does nothing; only the crash suite's runner puts something in its place, so callers
say ``points.reach(...)`` and never import the name.
"""

from collections.abc import Mapping
from typing import Final

#: Name -> what has happened when it is reached, and what has not.
POINTS: Final[Mapping[str, str]] = {
    # The edge and the door.
    "edge.received": "a request has come in whole; nobody has looked at it",
    "accept.admitted": "the gate has let a message pass; nothing of it is stored",
    "accept.stored": "a message is stored and owed; its sender has no answer",
    "edge.answering": "a door has its answer, all that it says is committed; nothing of it is sent",
    "edge.answered": "an answer was handed to the network",
    # The store: each kind of transaction, by the units that are in it.
    "store.before-commit": "a transaction is written; it is not committed, its callers know nothing",
    "store.after-commit": "a transaction is committed; its callers know nothing",
    "blob.written": "a large body is on disk under an unfinished name",
    "blob.renamed": "a large body has its name; its directory is not flushed, nothing in the database names it",
    "migrate.begun": "the tables are about to be brought up to date",
    "migrate.upgraded": "the tables are up to date; that is not committed",
    # Lanes.
    "lane.claimed": "a delivery is claimed; nothing was done about it",
    "lane.processed": "a route has decided; nothing of that is stored",
    "lane.sent": "the partner has taken a message and said so; nothing of that is stored",
    "lane.finished": "a delivery ended with its receipt",
    "lane.failed": "an attempt failed; nothing of that is stored",
    # The national exchange, our side of it.
    "poller.fetched": "a file of the hub's list is here; nothing of it is stored",
    "poller.accepted": "a file of the hub's list is stored; the hub has not been told",
    "poller.reported": "the hub was told what became of a file",
    # Checkpoints of the journal.
    "checkpoint.signed": "a checkpoint is signed; it is not stored",
    "timestamp.fetched": "the authority has time-stamped a checkpoint; the token is not stored",
    # A restore, which an operator types.
    "restore.marked": "a backup is unpacked beside data/, and it is noted what takes whose place; data/ is as it was",
    "restore.added": "the site has the files that it lacked; data/ is as it was",
    "restore.aside": "what was in data/ has another name; there is no data/",
    "restore.placed": "the backup is in data/; the note is still there",
    # The daemon's own life.
    "start.begun": "a daemon starts; what its last life had claimed is still claimed",
    "start.released": "what the last life had claimed is free again; no lane is open",
    "start.open": "lanes and pollers run; nobody listens at the doors",
    "drain.begun": "the daemon was told to stop; the doors still answer what has come in",
    "drain.adapters-stopped": "nothing new comes in; deliveries are still being worked on",
    "drain.ended": "no work is in flight any more; the store is open",
    "reload.loaded": "a new generation of the site is loaded; the old one runs",
    "reload.swapped": "the engine works by the new generation; the doors belong to the old one",
    "reload.started": "the new generation's adapters run beside the old one's",
    "reload.done": "the doors belong to the new generation",
}


def reach(name: str, about: object = None) -> None:
    """The process is at the point ``name``; ``about``: what it holds there, for whoever tells its visits apart."""
