"""The PostgreSQL store: the contract, and what is particular to a server that several nodes share."""

import pytest
from servers import PostgresServer
from store_contract import StoreContract


@pytest.fixture
def url(postgres: PostgresServer, database: str) -> str:
    return postgres.url(database)


class TestPostgresql(StoreContract):
    """PostgreSQL."""
