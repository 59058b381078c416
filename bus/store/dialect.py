"""Everything that differs between databases: connections, locks, append-only guards, and which failures pass.

PostgreSQL: see ``postgresql``. SQLite: write-ahead log with ``synchronous=FULL``, so that a committed transaction survives a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous); ``BEGIN IMMEDIATE`` for writers, so that a transaction that has read a chain's
head holds the only write lock until it commits, in however many processes.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects import sqlite

from bus.errors import ConfigurationError, Deferred, Fault
from bus.store import postgresql

#: Seconds to wait for another process's write lock before the store counts as unavailable.
LOCK_TIMEOUT = 10

#: Pages of the write-ahead log (16 MB) before they are written back: a page that changes often is written back once.
LOG_PAGES = 4000
#: What the log keeps of the disk after something that held it up, such as an audit of a large store, has ended.
LOG_BYTES = 64 << 20
#: Pages the writer keeps at hand, in KiB: the upper levels of the indexes on ids that come in no order, of a million messages. With the
#: 2 MB that SQLite takes by itself an accepted message costs a fifth more then, because they are read again and again.
CACHE_KIB = 32 << 10
#: Seconds between two attempts at a lock that SQLite does not wait for by itself.
_LOCK_PAUSE = 0.01
#: SQLite settings of every connection, when the write-ahead log is on; the busy timeout first, since others may need a lock.
PRAGMAS = (
    f"busy_timeout = {LOCK_TIMEOUT * 1000}",
    "synchronous = FULL",
    "foreign_keys = ON",
    f"wal_autocheckpoint = {LOG_PAGES}",
    f"journal_size_limit = {LOG_BYTES}",
)

#: Columns of ``messages`` that never change; the others are filled in once (``naming``).
LASTING = (
    *("id", "public_id", "sender", "sender_key", "endpoint", "route", "kind", "organ", "receivers", "document_id", "subject", "digest"),
    *("size", "headers", "receipts_to", "accepted", "request", "request_type"),
)
_SAME = " = ".join(f"({', '.join(f'{row}.{column}' for column in LASTING)})" for row in ("NEW", "OLD"))

#: (table, operation) that the database itself refuses -> which rows it lets go all the same: those of messages that are
#: being pruned, and those that get their names.
GUARDED: Mapping[tuple[str, str], str] = {
    ("journal", "UPDATE"): "",
    ("journal", "DELETE"): "OLD.message_id IN (SELECT message_id FROM pruning)",
    ("receipts", "UPDATE"): "",
    ("receipts", "DELETE"): "OLD.message_id IN (SELECT message_id FROM pruning)",
    ("messages", "UPDATE"): f"OLD.number IS NULL AND {_SAME}",
    ("messages", "DELETE"): "OLD.id IN (SELECT message_id FROM pruning)",
    ("blobs", "UPDATE"): "",
    ("blob_parts", "UPDATE"): "",
    **{(table, operation): "" for table in ("checkpoints", "checkpoint_spans", "timestamps") for operation in ("UPDATE", "DELETE")},
}

#: Text that sorts by its octets, and whole numbers of 64 bits: the same in every database.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: What text that holds JSON must be cast to, to be looked into.
JSON = sa.Text().with_variant(pg.JSON(), "postgresql")

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": pg.insert}

#: Failures that are our own mistake; every other failure of the database is one that may pass.
_MISTAKES = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)


#: Connections for readers; also of those who keep and read large bodies on PostgreSQL.
READERS = 8


def engine(url: str, *, writer: bool, sole: str = "") -> sa.Engine:
    """An engine for the one writer, which locks when it begins, or for readers, which never block it.

    ``sole``: no other process may write the journal chain of this name. Raises ConfigurationError for what is no store.
    """
    options: dict[str, Any] = {"pool_size": 1 if writer else READERS, "max_overflow": 0, "pool_timeout": LOCK_TIMEOUT}
    backend = sa.make_url(url).get_backend_name()
    if backend == "postgresql":
        options |= {"connect_args": postgresql.CONNECT, "isolation_level": "READ COMMITTED" if writer else "AUTOCOMMIT"}
    elif backend != "sqlite":
        raise ConfigurationError([Fault(shown(url), 0, 0, f"a store is sqlite or postgresql+psycopg, not {backend}")])
    try:
        result = sa.create_engine(url, **options)
    except ImportError as error:
        raise ConfigurationError([Fault(shown(url), 0, 0, f"{error}; install govbus[postgres]")]) from error
    if backend == "sqlite":
        event.listen(result, "connect", _configure)
        if writer:
            event.listen(result, "connect", _enlarge)
        event.listen(result, "begin", _begin_writer if writer else _begin_reader)
    else:
        event.listen(result, "connect", partial(_begin_session, sole))
        event.listen(result, "handle_error", postgresql.note_demotion)
    return result


def address(file: Path) -> str:
    """The address of an SQLite file, whatever characters its path has."""
    return sa.URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def shown(url: str | sa.URL) -> str:
    """The address of a database as it may be shown: without its password."""
    return sa.make_url(url).render_as_string(hide_password=True)


def _begin_session(chain: str, connection: Any, _record: object) -> None:
    postgresql.begin_session(connection, chain)


def _configure(connection: Any, _record: object) -> None:
    # The driver must not open transactions of its own: ours start with BEGIN IMMEDIATE.
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on: of a new file, which another process may be turning it on for as well.

    SQLite refuses this at once, whatever the busy timeout, while another holds the write lock
    (https://www.sqlite.org/c3ref/busy_handler.html: no handler is asked where waiting could be a deadlock).
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _enlarge(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")


def at_once(connection: sa.Connection) -> None:
    """Have the next transaction of this writing connection fail where it would have to wait for another process."""
    connection.info["at once"] = True


def embedded(engine: sa.Engine | sa.Connection) -> bool:
    """Whether the database runs in this process: a statement costs no journey."""
    return engine.dialect.name == "sqlite"


def _begin_writer(connection: sa.Connection) -> None:
    patience = 0 if connection.info.pop("at once", False) else LOCK_TIMEOUT * 1000
    if connection.info.get("patience") != patience:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")
        connection.info["patience"] = patience
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


def guarding(connection: sa.Connection) -> list[str]:
    """The statements that put in place the guards of the tables there are, whatever stood there: for migrations."""
    tables = set(sa.inspect(connection).get_table_names())
    if connection.dialect.name == "postgresql":
        return postgresql.guarding({place: exempt for place, exempt in GUARDED.items() if place[0] in tables})
    present = {name: guard for name, guard in guards().items() if name.rpartition("_no_")[0] in tables}
    return [statement for name, guard in present.items() for statement in (f"DROP TRIGGER IF EXISTS {name}", guard)]


def missing_guards(connection: sa.Connection) -> list[str]:
    """Names of the guards that are not in the database, or not as written."""
    if connection.dialect.name == "postgresql":
        return postgresql.missing_guards(connection, GUARDED)
    triggers = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
    present = {row.name: row.sql for row in triggers}
    return [name for name, sql in guards().items() if present.get(name) != sql]


def alone(connection: sa.Connection, table: sa.Table) -> None:
    """Until the end of this transaction nobody else inserts into ``table``, and whoever did has committed: SQLite's write lock is that."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")


@cache
def insert_once(database: str, table: sa.Table) -> sa.Insert:
    """The statement that inserts a row unless one with its key is there already."""
    statement: sa.Insert = _INSERT[database](table).on_conflict_do_nothing()
    return statement


@cache
def add_up(database: str, table: sa.Table, key: str, *names: str) -> sa.Insert:
    """The statement that adds to the numbers ``names`` of a row, or inserts it; nothing, where one grows beyond ``most_<name>``."""
    statement: Any = _INSERT[database](table)
    sums = {name: table.c[name] + statement.excluded[name] for name in names}
    fits = [sa.or_(statement.excluded[name] <= 0, total <= sa.bindparam(f"most_{name}", type_=NUMBER)) for name, total in sums.items()]
    values: dict[str, Any] = {name: sa.bindparam(name) for name in (key, *names)}
    added: sa.Insert = statement.values(values).on_conflict_do_update(index_elements=[key], set_=sums, where=sa.and_(*fits))
    return added


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


def settle_for_audit(connection: sa.Connection) -> None:
    """Have this connection see one unchanging state, and read damaged text that is not UTF-8, as surrogate escapes."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "postgresql":
        postgresql.read_damaged(driver)
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0")
    else:
        driver.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")


def distrust(connection: sa.Connection) -> list[str]:
    """Why this database cannot be trusted with the store: nothing, or what its administrator must change."""
    return postgresql.distrust(connection) if connection.dialect.name == "postgresql" else []


def lock_for_migration(connection: sa.Connection) -> None:
    """Be the only one that changes the tables, until the transaction ends."""
    if connection.dialect.name == "postgresql":
        postgresql.lock_for_migration(connection)


def lock_chain(connection: sa.Connection, chain: str) -> None:
    """Be the only one that begins this chain; one that has begun is locked by its head. (SQLite has one writer anyway.)"""
    if connection.dialect.name == "postgresql":
        postgresql.lock(connection, [postgresql.number("chain", chain)])


def lock_orders(connection: sa.Connection, orders: Iterable[tuple[str, str]]) -> None:
    """Be the only one that works out which delivery of these (target, order key) comes first, until the transaction ends."""
    if connection.dialect.name == "postgresql" and orders:
        postgresql.lock(connection, {postgresql.number("order", *order) for order in orders})


def try_order(connection: sa.Connection, order: tuple[str, str]) -> bool:
    """As ``lock_orders``, but False instead of waiting."""
    return connection.dialect.name != "postgresql" or postgresql.try_lock(connection, postgresql.number("order", *order))


def ask(engine: sa.Engine, query: sa.Executable) -> Sequence[sa.Row[Any]]:
    """The rows of a question; asked once more when the connection turns out to be lost, since the server was restarted perhaps."""
    try:
        return _ask(engine, query)
    except exc.DBAPIError as error:
        if not repeatable(error):
            raise
        return _ask(engine, query)


def _ask(engine: sa.Engine, query: sa.Executable) -> Sequence[sa.Row[Any]]:
    with engine.connect() as connection:
        return connection.execute(query).all()


@contextmanager
def availability() -> Iterator[None]:
    """Raise Deferred 4.3.1 in place of a failure that may pass."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        if not passing(error):
            raise
        raise Deferred("store-unavailable") from error


def passing(error: BaseException | None) -> bool:
    """Whether the database failed in a way that may pass: full or failing disk, lock, lost connection."""
    return isinstance(error, exc.TimeoutError) or (isinstance(error, exc.DBAPIError) and not isinstance(error, _MISTAKES))


def repeatable(error: BaseException | None) -> bool:
    """Whether nothing is left of the transaction that failed so, and running it again may succeed at once."""
    return isinstance(error, exc.DBAPIError) and (error.connection_invalidated or postgresql.repeatable(error))


def opened_to_read(error: BaseException | None) -> bool:
    """Whether the database's file could not be written when it was opened: SQLITE_READONLY and its kin."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else None
    return str(getattr(cause, "sqlite_errorname", "")).startswith("SQLITE_READONLY")


def conflict(error: BaseException) -> bool:
    """Whether another process was faster with a unique name."""
    return isinstance(error, exc.IntegrityError) and postgresql.conflict(error)


def refusal(error: exc.DBAPIError, chain: str) -> str:
    """Why the store of the writer of ``chain`` cannot be opened, in words with a cure."""
    return postgresql.refusal(error, chain)


def revision(connection: sa.Connection) -> str:
    """The alembic revision the database is at, or "" when it is new."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none() or "")
