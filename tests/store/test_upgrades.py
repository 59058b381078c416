"""A store meets another version of the program: it is brought up to date with all it holds, or refused; and a running one goes on."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from store_contract import LIFE, ROUTE, message

from bus.audit import audit
from bus.delivery import ROUTE_PREFIX
from bus.errors import ConfigurationError
from bus.store import Owed, Store, dialect
from bus.store.tables import DERIVED, LATER


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Either kind of store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bus.db'}"
    return request.getfixturevalue("postgres").url(request.getfixturevalue("database"))


async def accept(store: Store, clock, number: int) -> None:
    sent = message(number)
    await store.accept(sent, Owed(route=ROUTE, target=ROUTE_PREFIX + ROUTE, message=sent, expires=clock() + LIFE))


def rewrite(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


async def test_fault_56_a_store_of_the_first_revision_is_taken_up_with_all_it_holds(url: str, open_store, clock, evidence) -> None:
    """Messages, chains and receipts of before prove themselves after the upgrade, and pruning's guards are there."""
    old = open_store()
    await accept(old, clock, 1)
    old.close()
    first = [
        f"DROP TABLE {table}"
        for table in (
            "mailboxes",
            "nonces",
            "partners",
            "timestamps",
            "checkpoint_spans",
            "checkpoints",
            "blob_parts",
            "tombstones",
            "pruning",
        )
    ]
    guards = [f"DROP TRIGGER {name}" for name in dialect.guards()] if url.startswith("sqlite") else []
    later = [
        f"ALTER TABLE {table} DROP COLUMN {column}"
        for known in (LATER, DERIVED)
        for table, names in known.items()
        for column in sorted(names)
    ]
    rewrite(url, *guards, *first, "DROP INDEX messages_number", *later, "UPDATE alembic_version SET version_num = '0001'")
    new = open_store()
    await accept(new, clock, 2)
    report = audit(new, evidence)
    assert (report.findings, report.counts["accepted"]) == ((), 2)


async def test_fault_56_what_runs_goes_on_while_a_newer_version_adds_to_the_tables(url: str, open_store, clock, evidence) -> None:
    """Nodes are replaced one after the other: the new one brings the tables up to date beside those of before."""
    running = open_store()
    await accept(running, clock, 1)
    rewrite(url, "ALTER TABLE deliveries ADD COLUMN later TEXT NOT NULL DEFAULT ''", "UPDATE alembic_version SET version_num = '9999'")
    await accept(running, clock, 2)
    assert [work.message.id for work in await running.claim(ROUTE_PREFIX + ROUTE, 10, LIFE)] == ["message-1", "message-2"]
    assert audit(running, evidence).findings == ()


async def test_fault_58_a_store_of_a_newer_version_is_refused_and_left_as_it_is(url: str, open_store, clock) -> None:
    """The older program says what to do, and touches nothing."""
    store = open_store()
    await accept(store, clock, 1)
    store.close()
    rewrite(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="written by a newer version of govbus"):
        open_store()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() == "9999"
    engine.dispose()
