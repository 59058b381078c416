"""What surrounds a command: a terminal of another encoding, and a ``site.env`` that was written by other hands."""

import codecs
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helping import govbus

from bus import config, daemon
from bus.config import environment

#: The lines of a site's site.env, with a remark in Vietnamese; the values are fictitious.
_LINES = (
    "VXP_URL=http://127.0.0.1:8440/vxp/exchange",
    "# mật khẩu của trục",
    "VXP_SECRET=khong-phai-bi-mat",
    "AGENCY_URL=https://127.0.0.1:1/",
)


def _read(root: Path, octets: bytes) -> tuple[dict[str, str], list[str]]:
    (root / "site.env").write_bytes(octets)
    faults: list[config.loading.Fault] = []
    return environment.read(root, {}, faults), [str(fault) for fault in faults]


@pytest.mark.parametrize(("encoding", "place"), [("cp1258", "2:4"), ("latin-1", "2:4"), ("utf-16", "1:1"), ("utf-16-le", "1:1")])
def test_another_encoding_is_named_with_file_and_line(make_site: Callable[..., Path], encoding: str, place: str) -> None:
    """As for every other file: ``site.env:2:4: not UTF-8 text``, and exit 1; never an unexpected error."""
    site = make_site()
    # windows-1258 writes tones as characters of their own; é and the like are in both.
    octets = "\n".join((*_LINES, "# chứng thư Méo")).replace("mật", "mâ\u0323t").encode(encoding, "ignore")
    (site / "site.env").write_bytes(octets)
    done = govbus("check", "--site", site)
    assert done.code == 1
    assert f"site.env:{place}: not" in done.said
    assert "nexpected" not in done.said


def test_the_marks_and_line_ends_of_windows_are_no_fault(tmp_path: Path) -> None:
    """A byte-order mark, CR LF, CR alone: the same values."""
    plain = _read(tmp_path, "\n".join(_LINES).encode())
    assert plain[1] == []
    for octets in (codecs.BOM_UTF8 + "\r\n".join(_LINES).encode(), "\r".join(_LINES).encode(), ("\n".join(_LINES) + "\r\n").encode()):
        assert _read(tmp_path, octets) == plain


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"khong-phai-bi-mat"', "khong-phai-bi-mat"),
        ("'khong-phai-bi-mat'", "khong-phai-bi-mat"),
        ('" giữ khoảng trắng "', " giữ khoảng trắng "),
        (r'"a\"b\\c\$d\e"', r"a\"b\c$d\e".replace(r"\"", '"')),
        (r"'a\b\"c'", r"a\b\"c"),
        ('""', ""),
        ("a\"b'c", "a\"b'c"),
        ("a=b#c", "a=b#c"),
        (r"C:\temp", r"C:\temp"),
    ],
)
def test_quotes_around_a_value_are_not_part_of_it(tmp_path: Path, written: str, value: str) -> None:
    """As a shell and systemd take them; within a value they are what they are."""
    assert _read(tmp_path, f"NAME = {written}  \n".encode()) == ({"NAME": value}, [])


@pytest.mark.parametrize("written", ['"abc', "'abc", '"', "'a'b'", '"a"b"', '"abc" # remark', "'it's'", '"abc\\"'])
def test_a_quote_that_does_not_end_is_a_fault_that_shows_no_value(tmp_path: Path, written: str) -> None:
    """Never a secret that silently has a quote in it, nor one that is told."""
    values, faults = _read(tmp_path, f"A=1\nNAME={written}\n".encode())
    assert values == {"A": "1"}
    assert [fault.split(" ")[0] for fault in faults] == ["site.env:2:6:"]
    assert "abc" not in faults[0]


@pytest.mark.parametrize("line", ["VXP_SECRET", "export X=1", "=x", "A B=1", "A=x\0y"])
def test_a_line_that_assigns_nothing_is_a_fault(tmp_path: Path, line: str) -> None:
    """At its line."""
    assert _read(tmp_path, f"\n{line}\n".encode()) == ({}, ["site.env:2:1: not a line NAME=value"])


def test_a_directory_in_its_place_and_a_file_of_another_are_named(make_site: Callable[..., Path]) -> None:
    """``site.env:1:1: cannot be read: …``, as another user sees it."""
    site = make_site()
    kept = (site / "site.env").read_bytes()
    (site / "site.env").unlink()
    (site / "site.env").mkdir()
    assert "site.env:1:1: cannot be read: Is a directory" in govbus("check", "--site", site).said
    (site / "site.env").rmdir()
    (site / "site.env").write_bytes(kept)
    if os.geteuid() == 0:
        for path in (site, *site.parents):
            if path.owner() == "root" and path.name.startswith(("pytest-", "test_")):
                path.chmod(0o755)
        (site / "site.env").chmod(0o600)
        assert "site.env:1:1: cannot be read: Permission denied" in _as_nobody(site)


def _as_nobody(site: Path) -> str:
    """What ``check`` says to a user whose file it is not."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            # What is imported late is imported now: that user may not even read the interpreter's own files.
            config.check(site, environment={}, clock=daemon.utc_now)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            for fault in config.check(site, environment={}, clock=daemon.utc_now):
                os.write(write, f"{fault}\n".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "POSIX"},
        {"LANG": "C", "LC_ALL": "", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_terminal_without_unicode_gets_an_answer(make_site: Callable[..., Path], terminal: dict[str, str]) -> None:
    """Escaped where it must be, exit code as always, no traceback; and JSON stays JSON."""
    site = make_site()
    (site / "data").rmdir()
    for command, code in ((("messages",), 0), (("check",), 0), (("keys",), 0), (("keys", "--json"), 0), (("show", "không-có"), 1)):
        done = subprocess.run(
            [sys.executable, "-m", "bus", *command, "--site", site],
            capture_output=True,
            env={**os.environ, "GOVBUS_LANG": "vi", "GOVBUS_STORE": "", **terminal},
            check=False,
        )
        said = (done.stdout + done.stderr).decode("latin-1")
        assert (done.returncode, "Traceback" in said, "errors.log" in said) == (code, False, False), said
        if "--json" in command:
            json.loads(done.stdout)
