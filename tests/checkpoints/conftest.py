"""What tests of a store stand on, and an authority that time-stamps."""

from collections.abc import Iterator

import pytest
from helping import HandClock
from store_fixtures import certs, clock, evidence, keyring, open_store, store, url
from tsa_server import Authority, TimestampServer


@pytest.fixture
def authority(clock: HandClock) -> Iterator[TimestampServer]:
    """A time-stamping authority on loopback that reads the test's clock."""
    with TimestampServer(Authority(clock()), clock) as server:
        yield server
