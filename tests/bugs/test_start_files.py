"""A file that cannot be used is named in a sentence, by every command; a lock belongs to who really holds it."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helping import govbus

from bus import lock


def test_a_file_in_the_place_of_data_is_named(make_site: Callable[..., Path]) -> None:
    """Not "unexpected error": the file and the system's word."""
    site = make_site()
    (site / "data").rmdir()
    (site / "data").touch()
    for command in ("messages", "run"):
        done = govbus(command, "--site", site)
        assert (done.code, str(site / "data") in done.said, "nexpected" in done.said) == (1, True, False), done.said


def test_a_directory_in_the_place_of_the_lock_is_named(make_site: Callable[..., Path]) -> None:
    """The same for ``data/daemon.lock``."""
    site = make_site()
    (site / "data" / "daemon.lock").mkdir()
    done = govbus("run", "--site", site, "--port", "0")
    assert (done.code, "daemon.lock" in done.said, "nexpected" in done.said) == (1, True, False), done.said


@pytest.mark.parametrize("said", ["", "1", "no number"])
def test_a_lock_that_a_stranger_holds_signals_nobody(make_site: Callable[..., Path], said: str) -> None:
    """Whatever stands in the file: neither its number nor its holder is sent a signal, and the sentence names the file."""
    site = make_site()
    path = site / "data" / "daemon.lock"
    path.write_text(said, encoding="utf-8")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for command in ("reload", "run"):
            done = govbus(command, "--site", site)
            assert (done.code, "daemon.lock" in done.said, "nexpected" in done.said) == (1, True, False), done.said
    assert lock.holder(site) is None
    with lock.sole_daemon(site):
        assert lock.holder(site) == os.getpid()
