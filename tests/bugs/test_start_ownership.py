"""Whose the files are is looked at before a daemon starts, and secrets that others can read are told of."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helping import govbus

from bus.errors import Deferred
from bus.ownership import demand_writable, exposed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", ["bus.db", "bus.db-wal", "blobs", "."])
def test_a_store_that_the_daemon_cannot_write_is_named(tmp_path: Path, name: str) -> None:
    """Root's file in the daemon's data/: the sentence names it, for the user that the daemon is."""
    data = tmp_path / "data"
    (data / "blobs").mkdir(parents=True)
    for each in ("bus.db", "bus.db-wal"):
        (data / each).touch()
    for path in (data, *data.iterdir()):
        os.chown(path, 65534, 65534)
    for path in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        path.chmod(0o755)
    assert _as_nobody(data) == ""
    os.chown(data / name, 0, 0)
    assert str((data / name).resolve()) in _as_nobody(data)


def _as_nobody(data: Path) -> str:
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            Deferred("data-not-ours", file="", owner=0, user=0)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            demand_writable(data, embedded=True)
        except Deferred as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


def test_a_secret_that_others_can_read_is_a_warning_and_no_fault(make_site: Callable[..., Path]) -> None:
    """Keys, a PKCS#12 file, site.env; a directory that all may write: each is named, and ``check`` exits as before."""
    site = make_site()
    assert list(exposed(site)) == []
    (site / "certs" / "own" / "bus.key").chmod(0o644)
    (site / "site.env").chmod(0o640)
    (site / "certs").chmod(0o777)
    done = govbus("check", "--site", site)
    assert done.code == 0
    named = [line.split(":")[0] for line in done.said.splitlines() if ": warning: " in line and "of development" not in line]
    assert named == ["certs", "certs/own/bus.key", "site.env"]
    assert govbus("check", "--site", site, "--strict").code == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave root's files")
def test_what_roots_commands_make_is_the_daemons(make_site: Callable[..., Path]) -> None:
    """A store that a command of root's made, in a site of another user, with its directory or in it: all of it is that user's."""
    for name, with_data in (("one", True), ("two", False)):
        site = make_site(name)
        if not with_data:
            (site / "data").rmdir()
        for path in (site, *site.rglob("*")):
            os.chown(path, 65534, 65534)
        assert govbus("messages", "--site", site).code == 0
        assert (site / "data" / "bus.db").exists()
        assert {path.stat().st_uid for path in (site / "data", *(site / "data").rglob("*"))} == {65534}
