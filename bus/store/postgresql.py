"""PostgreSQL: the store that several nodes share. Its sessions, locks and guards, and which of its failures may be repeated.

Sessions   READ COMMITTED; a commit is on disk when it returns (``synchronous_commit`` is never off); every wait ends: for a connection,
           a lock, a statement, a peer that is gone. Only a server that takes writes is connected to, so that a list of hosts in the URL
           finds the primary after a failover (https://www.postgresql.org/docs/15/libpq-connect.html, ``target_session_attrs``).
Chains     one writer each. A transaction locks its chain's head; a node that must be a chain's only writer holds a session lock on it.
Order      who decides which delivery of an order key comes first (``debts``) holds a lock on that key until it has committed.

Advisory locks go by the first eight octets of a digest: two names that share them wait for each other, and nothing else happens.
A pool that hands one session from client to client (pgbouncer in transaction mode) breaks session locks: connect past it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

#: The oldest version the tests run on.
OLDEST = 150000
#: What every session begins with. A migration lifts the limits for its own transaction.
SESSION = {
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    # A process that was stopped in the middle of a transaction must not hold others up for long: its fence protects us from the rest.
    "idle_in_transaction_session_timeout": "30s",
    # The server learns that a node is gone in 25 seconds, and frees its locks.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
#: How libpq connects; the node learns that the server is gone in the same time.
CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "target_session_attrs": "read-write",
    "application_name": "govbus",
    "client_encoding": "utf8",
}
#: Settings without which a commit that was answered may be lost, or text may not be text: name -> what it must be.
REQUIRED = {"fsync": "on", "full_page_writes": "on", "server_encoding": "UTF8"}

#: SQLSTATEs (https://www.postgresql.org/docs/15/errcodes-appendix.html) after which the same transaction may be run again at once:
#: serialization failure, deadlock, too many connections, read-only since a failover, and a server that stops, crashed, or starts.
REPEATABLE = frozenset({"40001", "40P01", "53300", "25006", "57P01", "57P02", "57P03"})
_CONNECTION = "08"
_UNIQUE, _LOCKED = "23505", "55P03"


def begin_session(connection: Any, chain: str) -> None:
    """Prepare a new session (the driver's connection): durable, in UTF-8, and alone on journal chain ``chain`` where one is named."""
    with connection.cursor() as cursor:
        cursor.execute(
            "; ".join(f"SET {name} = '{value}'" for name, value in SESSION.items())
            + "; SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        if chain:
            cursor.execute("SELECT pg_advisory_lock(%s)", [number("sole writer", chain)])
    connection.commit()


def distrust(connection: sa.Connection) -> list[str]:
    """Why this server cannot be trusted with the store: nothing, or what its administrator must change."""
    found = connection.exec_driver_sql("SELECT name, setting FROM pg_settings").all()
    settings = dict(map(tuple, found))
    texts = [
        f"PostgreSQL runs with {name} = {settings[name]}, the store needs {name} = {value}"
        for name, value in REQUIRED.items()
        if settings[name] != value
    ]
    if int(settings["server_version_num"]) < OLDEST:
        texts.append(f"PostgreSQL {settings['server_version']} is too old, the store needs {OLDEST // 10_000} or newer")
    return texts


def refusal(error: exc.DBAPIError, chain: str) -> str:
    """Why a session could not begin, in words with a cure."""
    if state(error) == _LOCKED:
        return (
            f"another node writes journal chain {chain!r} (or a node that died is not forgotten yet: try again in half a minute); "
            "give each node a name of its own"
        )
    return f"the store cannot be opened: {str(error.orig).strip()}"


# --- locks, held until the transaction ends -------------------------------------------------------------------------------


def number(*names: str) -> int:
    """The number of the advisory lock that goes by ``names``."""
    digest = hashlib.sha256("\0".join(("govbus", *names)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock(connection: sa.Connection, numbers: Iterable[int]) -> None:
    """Wait for all of these locks, in one order for everybody."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", (sorted(numbers),))


def try_lock(connection: sa.Connection, key: int) -> bool:
    """Take a lock, or see that someone else has it."""
    return bool(connection.exec_driver_sql("SELECT pg_try_advisory_xact_lock(%s)", (key,)).scalar_one())


def lock_for_migration(connection: sa.Connection) -> None:
    """Wait, for as long as it takes, until nobody else changes the tables; this transaction may take as long, too."""
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
    lock(connection, [number("migration")])


# --- what failed ----------------------------------------------------------------------------------------------------------


def state(error: exc.DBAPIError) -> str | None:
    """The SQLSTATE of a failure; None for a connection that could not be made or was cut, "" when it is not PostgreSQL's."""
    found: str | None = getattr(error.orig, "sqlstate", "")
    return found


def repeatable(error: exc.DBAPIError) -> bool:
    """Whether the transaction that failed so is gone, or its connection is, and running it again may succeed."""
    known = state(error)
    if known is None:
        return isinstance(error, exc.OperationalError)
    return known in REPEATABLE or known.startswith(_CONNECTION)


def conflict(error: exc.DBAPIError) -> bool:
    """Whether another transaction was faster with a unique name: whoever asks again finds its row."""
    return state(error) == _UNIQUE


def note_demotion(context: Any) -> None:
    """A server that has become a replica is as good as gone: its sessions are given up, and the primary is looked for."""
    if getattr(context.original_exception, "sqlstate", "") == "25006":
        context.is_disconnect = True


# --- guards ---------------------------------------------------------------------------------------------------------------


def guards(guarded: Mapping[tuple[str, str], str]) -> dict[str, tuple[str, str]]:
    """Name -> the body of the trigger's function, and the trigger as ``pg_get_triggerdef`` writes it. TRUNCATE is guarded against, too."""
    found = {}
    for (table, operation), exempt in guarded.items():
        name = f"{table}_no_{operation.lower()}"
        found[name] = _guard(name, table, operation, "ROW", exempt)
    for table in dict.fromkeys(table for table, _ in guarded):
        found[f"{table}_no_truncate"] = _guard(f"{table}_no_truncate", table, "TRUNCATE", "STATEMENT", "")
    return found


def _guard(name: str, table: str, operation: str, each: str, exempt: str) -> tuple[str, str]:
    row = "NEW" if operation == "UPDATE" else "OLD"
    allowed = f"IF {exempt} THEN RETURN {row}; END IF; " if exempt else ""
    body = f"BEGIN {allowed}RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'restrict_violation'; END"
    return body, f"CREATE TRIGGER {name} BEFORE {operation} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}()"


def guarding(guarded: Mapping[tuple[str, str], str]) -> list[str]:
    """The statements that put the guards in place, whatever stood there."""
    statements = []
    for name, (body, trigger) in guards(guarded).items():
        statements.append(f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        statements.append(trigger.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER", 1))
    return statements


_TRIGGERS = """
SELECT tgname, prosrc, pg_get_triggerdef(pg_trigger.oid, true) FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgrelid IN (SELECT oid FROM pg_class WHERE pg_table_is_visible(oid))
"""


def missing_guards(connection: sa.Connection, guarded: Mapping[tuple[str, str], str]) -> list[str]:
    """Names of the guards that are not in the database, or are switched off, or do something else."""
    present = {name: (body, trigger) for name, body, trigger in connection.exec_driver_sql(_TRIGGERS)}
    return [name for name, guard in guards(guarded).items() if present.get(name) != guard]


def read_damaged(connection: Any) -> None:
    """Let this connection (the driver's) read text that is not UTF-8, as surrogate escapes."""
    from psycopg.adapt import Loader  # noqa: PLC0415 - an extra: only who uses PostgreSQL has it

    class Damaged(Loader):
        def load(self, data: Any) -> str:
            return bytes(data).decode("utf-8", "surrogateescape")

    for name in ("text", "varchar"):
        connection.adapters.register_loader(name, Damaged)
