"""A site works in a directory of any name, and writes nowhere else."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from helping import govbus

from bus import daemon, scaffold
from bus.store import dialect
from sandbox import documents
from sandbox.process import BusProcess
from sandbox.unit import Unit

NAMES = ("a?b", "a%20b", "a#b", "một cửa: Sở TT&TT@Hà Nội", "a?uri=true&mode=ro", "a%3Fb", "a[1]*", "file:x;y", "'a\"b\\c", "a%")


@pytest.mark.parametrize("name", NAMES)
def test_the_address_of_a_file_leads_to_that_file(tmp_path: Path, name: str) -> None:
    """Nothing in a path is a query, an escape or a fragment."""
    file = tmp_path / name / "bus.db"
    file.parent.mkdir()
    engine = sa.create_engine(dialect.address(file))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE one (x)")
    engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert file.stat().st_size


def test_a_store_that_was_given_is_used_as_given(tmp_path: Path) -> None:
    """GOVBUS_STORE is an address, with its own escapes."""
    for given in ("sqlite:////srv/a%20b.db", "postgresql+psycopg://u:p%40@h/d?sslmode=verify-full"):
        assert daemon.store_url(tmp_path, {"GOVBUS_STORE": given}) == given


@pytest.mark.parametrize("name", ["a?b", "a%20b#c", "Sở TT&TT: một@cửa"])
def test_a_site_of_any_name_keeps_its_store_in_itself(tmp_path: Path, start: Callable[..., BusProcess], name: str) -> None:
    """Init, check, run, send, back up, restore: all of it lies in the site."""
    site = tmp_path / name
    scaffold.create(site, datetime.now(UTC))
    assert govbus("check", "--site", site).code == 0
    bus = start(site)
    asyncio.run(_send(bus, site))
    with closing(sqlite3.connect(site / "data" / "bus.db")) as store:
        assert store.execute("SELECT count(*) FROM messages").fetchone() == (1,)
    assert [row["public_id"] for row in govbus("messages", "--json", "--site", site).json] == ["named"]
    assert govbus("backup", tmp_path / "kept.tar", "--site", site).code == 0
    assert bus.stop() == 0
    assert govbus("restore", tmp_path / "kept.tar", "--site", site, "--reason", "thử").code == 0
    assert [row["public_id"] for row in govbus("messages", "--json", "--site", site).json] == ["named"]
    assert sorted(os.listdir(tmp_path)) == sorted([name, "kept.tar"])


async def _send(bus: BusProcess, site: Path) -> None:
    telecom = documents.TELECOM_AUTHORITY
    letter = documents.make(size=5_000, seed=1, sender=telecom, receivers=(documents.SECURITY_AUTHORITY,), number=1)
    keys = site / "certs" / "development" / "telecom-authority"
    async with Unit.connect(bus.url, telecom.code, keys=keys, trust=site / "certs" / "own") as unit:
        await unit.send(letter, "named")
