"""What every area of the tests may use: a frozen clock, a fresh site with its own PKI, and the real daemon as a child process."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from servers import PostgresServer, programs

from bus import conditions, scaffold
from sandbox.process import BusProcess


@pytest.fixture(autouse=True)
def nothing_stands() -> Iterator[None]:
    """What one test's parts said of how they are is none of the next one's."""
    yield
    conditions.forget()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def xmlsec1() -> str:
    """The xmlsec1 program, an oracle that shares no code with us. Missing, it skips the test; in CI it must be there."""
    found = shutil.which("xmlsec1")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("xmlsec1 is not installed; .ci/run installs it")
    if found is None:
        pytest.skip("xmlsec1 is not installed (package xmlsec1)")
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the tests' own. Without its programs the test is skipped; in CI they must be there."""
    binaries = programs()
    if binaries is None and os.environ.get("CI") == "true":
        pytest.fail("PostgreSQL is not installed; .ci/run installs it")
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (package postgresql)")
    with PostgresServer(binaries) as server:
        yield server


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Path]:
    """Makes a runnable site below the test's own directory, as ``govbus init`` does."""

    def make(name: str = "site", **environment: str) -> Path:
        directory = tmp_path / name
        scaffold.create(directory, datetime.now(UTC), environment)
        return directory

    return make


@pytest.fixture
def start() -> Iterator[Callable[..., BusProcess]]:
    """Starts real daemons and ends each of them, by its own process id, when the test is over."""
    running: list[BusProcess] = []

    def run(site: Path, **options: object) -> BusProcess:
        process = BusProcess(site, **options)  # type: ignore[arg-type]
        running.append(process)
        return process.start()

    yield run
    for process in running:
        process.kill()
