"""What is no file, leaves the site, or lies open gets a word of ``check``; nothing is waited for, and nothing read without end."""

import os
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helping import Done, govbus

from bus import regular, scaffold

#: Two pages that stand for 9 ** 40 values. A command that waits, or reads on, is ended by its alarm and fails the test.
_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a store."""
    site = tmp_path_factory.mktemp("odd") / "site"
    scaffold.create(site, datetime.now(UTC))
    assert govbus("messages", "--site", site).code == 0
    return site


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "site"))


def warnings(done: Done) -> dict[str, str]:
    """The last warning of each file, but for the keys of development."""
    lines = [line.split(":", 3) for line in done.said.splitlines() if ": warning: " in line and "of development" not in line]
    return {name: words for name, _, _, words in lines}


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def a_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("odd", [a_pipe, a_device, a_directory])
@pytest.mark.parametrize("name", ["routes.yaml", "site.env", "certs/own/bus.key", "certs/own/bus.crt", "schemas/receipt/v1/receipt.xsd"])
def test_what_lies_in_a_files_place_is_named_and_nobody_waits(site: Path, name: str, odd: Callable[[Path], None]) -> None:
    """``check`` finds it; commands that read the store answer all the same."""
    (site / name).unlink()
    odd(site / name)
    done = govbus("check", "--site", site)
    assert done.code == 1 and f"{Path(name).name}" in done.said, done.said
    assert govbus("messages", "--site", site).code == 0
    assert govbus("backup", site.parent / "b.tar", "--site", site).code == 0


@pytest.mark.parametrize("odd", [a_pipe, a_device, a_socket])
def test_what_lies_beside_the_files_is_named(site: Path, odd: Callable[[Path], None]) -> None:
    """Whatever its name says; where it might make somebody believed or sign, it is a fault."""
    places = ("certs/trust/telecom-authority", "certs/own", "certs", "schemas/receipt")
    for place, name in zip(places, ("odd.crt", "odd.key", "odd.crt", "odd.xsd"), strict=True):
        odd(site / place / name)
    done = govbus("check", "--site", site)
    assert done.code == 1
    assert [place for place in places if f"{place}/odd." not in done.said] == [], done.said
    assert govbus("messages", "--site", site).code == 0
    assert govbus("backup", site.parent / "b.tar", "--site", site).code == 0


def test_a_value_from_a_pipe_is_not_waited_for(site: Path) -> None:
    """``file:`` leads to a file, or to a fault."""
    os.mkfifo(site / "secret")
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    assert "env:VXP_SECRET" in text
    routes.write_text(text.replace("env:VXP_SECRET", "file:secret"), encoding="utf-8")
    done = govbus("check", "--site", site)
    assert (done.code, "'file:secret' cannot be read" in done.said) == (1, True), done.said


@pytest.mark.parametrize(
    "text", [_LAUGHS, f"site: {_LAUGHS!r}\n" + _LAUGHS, "&a [*a, *a]", "a: &a {b: *a}", "x" * (17 << 20), "[" * 100_000]
)
def test_a_file_that_laughs_is_refused_in_bounded_time(site: Path, text: str) -> None:
    """Aliases of aliases, values in themselves, megabytes, depth: a fault with a place, and the store is still read."""
    (site / "routes.yaml").write_text(text, encoding="utf-8")
    done = govbus("check", "--site", site)
    assert (done.code, done.said.startswith("routes.yaml:")) == (1, True), done.said[:500]
    assert len(done.said) < 2_000
    assert govbus("messages", "--site", site).code in {0, 1}


def test_links_that_leave_the_site_are_named(site: Path, tmp_path: Path) -> None:
    """To a file, to a directory, to nowhere; one that stays in the site is nobody's business."""
    (tmp_path / "shared.xsd").write_text("<a/>")
    (site / "schemas" / "shared.xsd").symlink_to(tmp_path / "shared.xsd")
    (site / "certs" / "trust" / "gone").symlink_to(tmp_path / "gone")
    (site / "schemas" / "inside.xsd").symlink_to(site / "schemas" / "receipt" / "v1" / "receipt.xsd")
    shutil.move(site / "schemas" / "xslt" if (site / "schemas" / "xslt").exists() else site / "certs" / "development", tmp_path / "moved")
    done = govbus("check", "--site", site)
    found = warnings(done)
    assert "leaves the site" in found["schemas/shared.xsd"] and str(tmp_path / "shared.xsd") in found["schemas/shared.xsd"]
    assert "leads nowhere" in found["certs/trust/gone"]
    assert "schemas/inside.xsd" not in found


def test_what_everybody_may_change_is_named_and_the_crowd_is_counted(site: Path) -> None:
    """Files and directories, certificates and schemas, the store; the first few by name."""
    assert warnings(govbus("check", "--site", site)) == {}
    for path in ("routes.yaml", "certs/trust/telecom-authority/ca.crt", "schemas/receipt", "data"):
        (site / path).chmod(0o777)
    found = warnings(govbus("check", "--site", site))
    assert set(found) == {"routes.yaml", "certs/trust/telecom-authority/ca.crt", "schemas/receipt", "data"}
    assert all("chmod o-w" in words for words in found.values())
    for path in site.rglob("*"):
        path.chmod(0o777)
    done = govbus("check", "--site", site)
    assert (done.code, len(done.said.splitlines()) < 12, " more that others" in done.said) == (0, True, True), done.said
    assert govbus("check", "--site", site, "--strict").code == 1


def test_a_key_that_others_read_is_named_whatever_it_is_called(site: Path) -> None:
    """By its content, and wherever it lies below certs/."""
    for name in ("own/both.pem", "trust/telecom-authority/notes.txt", "forgotten"):
        shutil.copyfile(site / "certs" / "own" / "bus.key", site / "certs" / name)
        (site / "certs" / name).chmod(0o644)
    assert {"certs/own/both.pem", "certs/trust/telecom-authority/notes.txt", "certs/forgotten"} <= set(
        warnings(govbus("check", "--site", site))
    )


def test_keys_of_development_are_one_warning(site: Path) -> None:
    """A fresh site is told once, however many partners it has; with other authorities, not at all. ``--strict`` counts it."""
    done = govbus("check", "--site", site)
    [line] = [line for line in done.said.splitlines() if ": warning: " in line]
    assert ("of development" in line, "own/bus" in line, done.code) == (True, True, 0)
    assert govbus("check", "--site", site, "--strict").code == 1
    for place in ("own", "trust"):
        shutil.rmtree(site / "certs" / place)
    assert "of development" not in govbus("check", "--site", site).said


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    """One octet more is refused, and no pipe is opened."""
    (tmp_path / "large").write_bytes(bytes(regular.MOST_OCTETS))
    assert len(regular.octets(tmp_path / "large")) == regular.MOST_OCTETS
    with (tmp_path / "large").open("ab") as file:
        file.write(b"x")
    with pytest.raises(regular.Odd, match="more than 16 MB"):
        regular.octets(tmp_path / "large")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(regular.Odd, match="no regular file"):
        regular.octets(tmp_path / "pipe")
