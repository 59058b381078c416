"""Databases of the tests' own; everything else is what all tests of a store stand on."""

from collections.abc import Iterator

import pytest
from servers import PostgresServer
from store_fixtures import certs, clock, evidence, keyring, open_store, store, url

from bus.store import dialect, migrate


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> str:
    """A database with nothing but the store's tables, to be copied: making them takes ten times as long."""
    database = postgres.create()
    writing = dialect.engine(postgres.url(database), writer=True)
    migrate.up_to_date(writing, "main")
    writing.dispose()
    return database


@pytest.fixture
def database(postgres: PostgresServer, template: str) -> Iterator[str]:
    """A database of the test's own on PostgreSQL, with the store's tables."""
    name = postgres.create(template)
    yield name
    postgres.drop(name)
