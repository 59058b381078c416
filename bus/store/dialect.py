"""Everything that differs between databases: connections, locks, append-only guards, and which failures pass.

SQLite: write-ahead log with ``synchronous=FULL``, so that a committed transaction survives a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous); ``BEGIN IMMEDIATE`` for writers, so that a transaction that has read a chain's
head holds the only write lock until it commits, in however many processes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite

from bus.errors import Deferred

#: Seconds to wait for another process's write lock before the store counts as unavailable.
LOCK_TIMEOUT = 10

#: Pages of the write-ahead log (16 MB) before they are written back: a page that changes often is written back once.
LOG_PAGES = 4000
#: SQLite settings of every connection; the busy timeout first, since the others may need a lock.
PRAGMAS = (
    f"busy_timeout = {LOCK_TIMEOUT * 1000}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    f"wal_autocheckpoint = {LOG_PAGES}",
)

#: (table, operation) that the database itself refuses -> which rows it lets go all the same: those of messages that are being pruned.
GUARDED: Mapping[tuple[str, str], str] = {
    ("journal", "UPDATE"): "",
    ("journal", "DELETE"): "OLD.message_id IN (SELECT message_id FROM pruning)",
    ("receipts", "UPDATE"): "",
    ("receipts", "DELETE"): "OLD.message_id IN (SELECT message_id FROM pruning)",
    ("messages", "UPDATE"): "",
    ("messages", "DELETE"): "OLD.id IN (SELECT message_id FROM pruning)",
    ("blobs", "UPDATE"): "",
}

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

#: Failures that are our own mistake; every other failure of the database is one that may pass.
_MISTAKES = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)


def engine(url: str, *, writer: bool) -> sa.Engine:
    """An engine for the one writer, which locks when it begins, or for readers, which never block it."""
    size = 1 if writer else 4
    result = sa.create_engine(url, pool_size=size, max_overflow=0, pool_timeout=LOCK_TIMEOUT)
    if result.dialect.name == "sqlite":
        event.listen(result, "connect", _configure)
        event.listen(result, "begin", _begin_writer if writer else _begin_reader)
    return result


def _configure(connection: Any, _record: object) -> None:
    # The driver must not open transactions of its own: ours start with BEGIN IMMEDIATE.
    connection.isolation_level = None
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_writer(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reader(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def guards() -> dict[str, str]:
    """The SQLite triggers that make tables append-only, by name."""
    return {
        f"{table}_no_{operation.lower()}": f"CREATE TRIGGER {table}_no_{operation.lower()} BEFORE {operation} ON {table} "
        f"{f'WHEN NOT ({exempt}) ' if exempt else ''}BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for (table, operation), exempt in GUARDED.items()
    }


def missing_guards(connection: sa.Connection) -> list[str]:
    """Names of the guards that are not in the database, or not as written."""
    triggers = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
    present = {row.name: row.sql for row in triggers}
    return [name for name, sql in guards().items() if present.get(name) != sql]


@cache
def insert_once(database: str, table: sa.Table) -> sa.Insert:
    """The statement that inserts a row unless one with its key is there already."""
    statement: sa.Insert = _INSERT[database](table).on_conflict_do_nothing()
    return statement


def run_many(connection: sa.Connection, statement: sa.UpdateBase, rows: Sequence[Mapping[str, Any]]) -> int:
    """Run a statement for each of ``rows``. Returns how many rows of the table it inserted or changed in all.

    The store's types need no conversion, so rows go to the driver as they are: SQLAlchemy would look at every single value.
    """
    sql, given = _prepared(connection.dialect, statement)
    return connection.exec_driver_sql(sql, list(map(given, rows))).rowcount


@lru_cache
def _prepared(database: sa.Dialect, statement: sa.UpdateBase) -> tuple[str, Callable[[Mapping[str, Any]], Any]]:
    """The statement's text, and how a row becomes its parameters: in their order, or by their names, as the driver takes them."""
    compiled: Any = statement.compile(dialect=database)
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    given = itemgetter(*compiled.positiontup) if compiled.positional else dict
    return str(compiled), (lambda row: given({**constants, **row})) if constants else given


def raw_text(connection: sa.Connection) -> None:
    """Let this connection read text that is not UTF-8, as surrogate escapes: an audit must be able to read what is damaged."""
    driver: Any = connection.connection.dbapi_connection
    driver.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")


@contextmanager
def availability() -> Iterator[None]:
    """Raise Deferred 4.3.1 in place of a failure that may pass."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        if not passing(error):
            raise
        raise Deferred("store-unavailable") from error


def passing(error: Exception) -> bool:
    """Whether the database failed in a way that may pass: full or failing disk, lock, lost connection."""
    return isinstance(error, exc.TimeoutError) or (isinstance(error, exc.DBAPIError) and not isinstance(error, _MISTAKES))


def revision(connection: sa.Connection) -> str:
    """The alembic revision the database is at, or "" when it is new."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or "")
