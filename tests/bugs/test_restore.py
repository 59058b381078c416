"""A restore that is killed, and a store that is gone: nothing is made anew in silence, and what was there comes back."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bus import daemon, datadir, durable, scaffold
from bus.errors import ConfigurationError
from bus.message import ENDPOINT, SENDER, SENDER_MESSAGE_ID, Message
from bus.store import Owed

#: Runs the real command, and dies by SIGKILL at a point.
KILLED = """
import os, signal, sys
from bus import points
where = sys.argv[1]
points.reach = lambda name, about=None: os.kill(os.getpid(), signal.SIGKILL) if name == where else None
sys.argv = ["govbus", *sys.argv[2:]]
from bus.cli import main
main()
"""


def govbus(*arguments: object, kill_at: str = "") -> subprocess.CompletedProcess[str]:
    program = ["-c", KILLED, kill_at] if kill_at else ["-m", "bus"]
    environ = {**os.environ, "GOVBUS_LANG": "en", "GOVBUS_STORE": ""}
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environ, check=False)


def ids(site: Path) -> list[str]:
    done = govbus("messages", "--json", "--site", site)
    assert done.returncode == 0, done.stderr
    return sorted(found["public_id"] for found in json.loads(done.stdout))


async def _accept(site: Path, *names: str) -> None:
    with daemon.opened(site, {}, "main") as (_, store):
        for name in names:
            message = Message(f"bus-{name}", {SENDER: "unit", SENDER_MESSAGE_ID: name, ENDPOINT: "door"}, name.encode())
            await store.accept(message, Owed("r", "agency", message, datetime.now(UTC) + timedelta(days=3)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose backup knows ``early``; ``late`` came after it."""
    site = tmp_path_factory.mktemp("whole") / "site"
    scaffold.create(site, datetime.now(UTC))
    asyncio.run(_accept(site, "early"))
    assert govbus("backup", site.parent / "backup.tar", "--site", site).returncode == 0
    asyncio.run(_accept(site, "late"))
    return site


@pytest.fixture
def site(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "site"))


@pytest.fixture
def backup(whole: Path) -> Path:
    return whole.parent / "backup.tar"


@pytest.mark.parametrize("point", ["restore.marked", "restore.added", "restore.aside", "restore.placed"])
def test_a_restore_that_is_killed_keeps_every_command_away_and_is_done_again(site: Path, backup: Path, point: str) -> None:
    """Wherever it dies: nobody opens or makes a store until the same command is typed again, and that one ends well."""
    killed = govbus("restore", backup, "--site", site, "--reason", "disk", kill_at=point)
    assert killed.returncode == -9
    for command in (("run", "--port", "0"), ("run", "--port", "0", "--new-store"), ("messages",), ("audit",)):
        done = govbus(*command, "--site", site)
        assert done.returncode == 1
        assert "a restore was interrupted" in done.stderr
    assert (site / "data" / "bus.db").exists() is (point != "restore.aside")
    again = govbus("restore", backup, "--site", site, "--reason", "disk")
    assert again.returncode == 0, again.stderr
    assert ids(site) == ["early"]
    aside = max(site.glob("data.replaced-*"), key=lambda path: path.name)
    assert (aside / "bus.db").exists()
    assert not (site / datadir.MARKER).exists()
    assert govbus("audit", "--site", site).returncode == 0


def test_what_a_killed_restore_has_put_aside_comes_back_when_the_next_one_fails(site: Path, backup: Path, tmp_path: Path) -> None:
    """The undoing comes first: a second file that is damaged leaves the site with the store it had."""
    assert govbus("restore", backup, "--site", site, "--reason", "disk", kill_at="restore.aside").returncode == -9
    (tmp_path / "bad.tar").write_bytes(backup.read_bytes()[:4000])
    assert govbus("restore", tmp_path / "bad.tar", "--site", site, "--reason", "disk").returncode == 1
    assert ids(site) == ["early", "late"]


def test_a_restore_of_the_version_before_that_was_killed_is_noticed_and_undone(site: Path, backup: Path) -> None:
    """That one left no note: what lies there without ``data/bus.db`` says enough."""
    (site / datadir.IDENTITY).unlink()
    (site / "data").rename(site / "data.replaced-20261130T000000Z")
    (site / "data.restoring").mkdir()
    done = govbus("run", "--port", "0", "--site", site)
    assert (done.returncode, "data.restoring" in done.stderr, (site / "data").exists()) == (1, True, False)
    assert govbus("restore", backup, "--site", site, "--reason", "disk").returncode == 0
    assert ids(site) == ["early"]


@pytest.mark.parametrize("gone", ["data", "data/bus.db"])
def test_a_store_that_is_gone_is_not_made_anew_in_silence(site: Path, backup: Path, gone: str) -> None:
    """Else every id would be new again: the site says that it has had a store, and what can be done. A restore is one of them."""
    path = site / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for command in (("run", "--port", "0"), ("messages",)):
        done = govbus(*command, "--site", site)
        assert (done.returncode, "--new-store" in done.stderr) == (1, True)
        assert not (site / "data" / "bus.db").exists()
    assert govbus("restore", backup, "--site", site, "--reason", "disk").returncode == 0
    assert ids(site) == ["early"]


def test_a_new_store_is_made_where_an_operator_demands_it(site: Path) -> None:
    """``--new-store`` is for who means it, and does nothing to a store that is there."""
    datadir.begin_anew(site)
    assert ids(site) == ["early", "late"]
    shutil.rmtree(site / "data")
    datadir.begin_anew(site)
    assert ids(site) == []


def test_a_fresh_site_and_one_of_the_version_before_open_without_a_word(site: Path, make_site: Callable[..., Path]) -> None:
    """A first store is made; one without a note gets it."""
    fresh = make_site("fresh")
    assert (ids(fresh), (fresh / datadir.IDENTITY).exists()) == ([], True)
    (site / datadir.IDENTITY).unlink()
    assert (ids(site), (site / datadir.IDENTITY).exists()) == (["early", "late"], True)


def test_a_store_elsewhere_is_its_own_servers_care(make_site: Callable[..., Path], tmp_path: Path) -> None:
    """With GOVBUS_STORE the site's own ``data/`` says nothing about the store."""
    site = make_site("elsewhere")
    environment = {"GOVBUS_STORE": f"sqlite:///{tmp_path / 'other.db'}"}
    with daemon.opened(site, environment, "main"):
        pass
    assert not (site / datadir.IDENTITY).exists()
    shutil.rmtree(site / "data")
    with daemon.opened(site, environment, "main"):
        pass
    (site / datadir.IDENTITY).write_text("had one")
    with pytest.raises(ConfigurationError, match="has had a store"), daemon.opened(site, {}, "main"):
        pass


def test_a_durable_file_is_complete_or_absent(tmp_path: Path) -> None:
    """What fails half-way leaves what was there, and nothing else."""
    path = tmp_path / "file"
    with durable.writing(path) as file:
        file.write(b"whole")
    with pytest.raises(ValueError, match="half"), durable.writing(path) as file:
        file.write(b"ha")
        raise ValueError("half")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, list(tmp_path.iterdir())) == (b"whole", 0o600, [path])
