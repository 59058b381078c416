"""The floor's store: the three commits that a message needs, in plain sqlite3 with a full sync and a group of messages a transaction."""

import itertools
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

#: Messages a transaction: the group that sixteen concurrent callers form.
GROUP = 16

_TABLES = """
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE messages (id TEXT PRIMARY KEY, sender TEXT, key TEXT, digest TEXT, headers TEXT, UNIQUE (sender, key));
    CREATE TABLE blobs (digest TEXT PRIMARY KEY, body BLOB);
    CREATE TABLE deliveries (id TEXT PRIMARY KEY, message TEXT, target TEXT, digest TEXT, state TEXT, attempt INTEGER, due TEXT);
    CREATE INDEX due ON deliveries (target, due) WHERE state = 'READY';
    CREATE TABLE receipts (id TEXT PRIMARY KEY, message TEXT, status TEXT, xml BLOB);
    CREATE TABLE journal (seq INTEGER PRIMARY KEY, message TEXT, event TEXT, hash TEXT);
"""
_BLOB = "INSERT INTO blobs VALUES (?, ?)"
_DELIVERY = "INSERT INTO deliveries VALUES (?, ?, ?, ?, 'READY', 0, '2026-01-01T00:00:00.000000Z')"
_DONE = "UPDATE deliveries SET state = 'DONE', attempt = attempt + 1 WHERE id = ?"
_RECEIPT = "INSERT INTO receipts VALUES (?, ?, ?, ?)"
_JOURNAL = "INSERT INTO journal (message, event, hash) VALUES (?, ?, ?)"
_HASH, _HEADERS = "0" * 64, "{}" * 200


@dataclass
class Store:
    """One embedded database; each method is one transaction for GROUP messages."""

    path: Path
    body: bytes
    receipt: bytes
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._connection = sqlite3.connect(self.path, isolation_level=None)
        self._connection.executescript(_TABLES)
        self._accepted: list[str] = []
        self._routed: list[str] = []

    def accept(self) -> None:
        """Original bytes, message, what is owed, receipt, journal."""
        ids = [f"{next(self._ids):032x}" for _ in range(GROUP)]
        with self._transaction() as run:
            for each in ids:
                run.execute("INSERT INTO messages VALUES (?, 'unit', ?, ?, ?)", (each, each, _HASH, _HEADERS))
                run.execute(_BLOB, (each, self.body))
                run.execute(_DELIVERY, (each + "r", each, "route:documents", each))
                run.execute(_RECEIPT, (each + "a", each, "ACCEPTED", self.receipt))
                run.execute(_JOURNAL, (each, "accepted", _HASH))
        self._accepted += ids

    def route(self) -> None:
        """The result's bytes, what is owed to the target, journal."""
        ids = self._taken(self._accepted)
        with self._transaction() as run:
            for each in ids:
                run.execute(_DONE, (each + "r",))
                run.execute(_BLOB, (each + "t", self.body))
                run.execute(_DELIVERY, (each + "t", each, "agency", each + "t"))
                run.execute(_JOURNAL, (each, "routed", _HASH))
        self._routed += ids

    def finish(self) -> None:
        """The end, its receipt, the partner's reply, journal."""
        ids = self._taken(self._routed)
        with self._transaction() as run:
            for each in ids:
                run.execute(_DONE, (each + "t",))
                run.execute(_BLOB, (each + "p", self.receipt))
                run.execute(_RECEIPT, (each + "d", each, "DELIVERED", self.receipt))
                run.execute(_JOURNAL, (each, "delivered", _HASH))

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @staticmethod
    def _taken(waiting: list[str]) -> list[str]:
        taken, waiting[:] = waiting[:GROUP], waiting[GROUP:]
        if len(taken) < GROUP:
            raise IndexError("every commit needs the commit before it: accept, route, finish")
        return taken

    def _transaction(self) -> sqlite3.Connection:
        # `with connection` commits what BEGIN began.
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection
