"""The reference site and the two sandbox sites, made once with their own PKI and loaded."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from bus import config
from bus.route import Route
from bus.site import Site
from sandbox import sites


@pytest.fixture(scope="session")
def made_sites(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Site directories: the reference site as "", the sandbox's by their names."""
    made = sites.create(tmp_path_factory.mktemp("routing"), datetime.now(UTC))
    return {"": made.ministry, "government-office": made.hub, "partner-agency": made.agency}


@pytest.fixture(scope="session")
def load(made_sites: Mapping[str, Path]) -> Callable[[str], config.Loaded]:
    """Loads one of the sites."""
    return cache(lambda name: config.load(made_sites[name], environment=os.environ, clock=lambda: datetime.now(UTC)))


@pytest.fixture(scope="session")
def loaded(load: Callable[[str], config.Loaded]) -> config.Loaded:
    """The reference site."""
    return load("")


@pytest.fixture(scope="session")
def site(loaded: config.Loaded) -> Site:
    """The reference site's facts."""
    return loaded.site


@pytest.fixture(scope="session")
def routes(loaded: config.Loaded) -> Mapping[str, Route]:
    """The reference site's routes."""
    return loaded.routes
