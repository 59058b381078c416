"""YAML with its places, and values from outside."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus import config
from bus.config import marks
from bus.errors import ConfigurationError, Fault


def test_every_key_and_value_has_its_place() -> None:
    """Lines and columns count characters from 1, Vietnamese ones included."""
    document = marks.read("tên: {Bộ: [một, hai]}\n", "f")
    assert document.mark(("tên", "Bộ"), key=True) == marks.Mark(1, 7)
    assert document.mark(("tên", "Bộ", 1)) == marks.Mark(1, 17)


def test_what_is_not_in_the_file_stands_where_it_belongs() -> None:
    """A missing value is reported at what surrounds it."""
    document = marks.read("a:\n  b: 1\n", "f")
    assert document.mark(("a", "c", 3)) == marks.Mark(2, 3)


def test_scalars_are_text() -> None:
    """No octal organisation codes, no Norway, no sexagesimal times."""
    assert marks.read("[020100107370, no, 12:30, 2026-11-20, 1e3, ~, '']", "f").data == [
        "020100107370",
        "no",
        "12:30",
        "2026-11-20",
        "1e3",
        None,
        "",
    ]


def test_an_alias_is_what_it_names() -> None:
    """YAML anchors may be used to say a thing once."""
    assert marks.read("{a: &x [1], b: *x}", "f").data == {"a": ["1"], "b": ["1"]}


def test_a_value_that_contains_itself_is_a_fault() -> None:
    """An anchor within itself ends, and is told."""
    document = marks.read("a: &x [*x]", "f")
    assert [fault.text for fault in document.faults] == ["a value cannot contain itself"]


def test_two_documents_in_one_file_are_refused() -> None:
    """Nothing of the file is left aside silently."""
    with pytest.raises(ConfigurationError):
        marks.read("a: 1\n---\nb: 2\n", "f")


def test_site_env_fills_values_and_the_environment_wins(make: Callable[[str], Path]) -> None:
    """site.env beside routes.yaml, under the process's own environment."""
    root = make((Path(__file__).parent.parent.parent / "routes.yaml").read_text(encoding="utf-8"))
    (root / "site.env").write_text(
        "# remark\nVXP_URL=http://from-file\nVXP_SECRET = of the file \n\nAGENCY_URL=https://a\n", encoding="utf-8"
    )
    loaded = config.load(root, environment={"VXP_URL": "http://from-environment"}, clock=lambda: datetime.now(UTC))
    assert (loaded.site.environment["VXP_URL"], loaded.site.environment["VXP_SECRET"]) == ("http://from-environment", "of the file")


def test_a_bad_line_of_site_env_is_a_fault_of_that_file(make: Callable[[str], Path], check: Callable[..., list[Fault]]) -> None:
    """The fault names site.env and the line."""
    root = make("")
    (root / "site.env").write_text("FINE=1\nnot a setting\n", encoding="utf-8")
    assert "site.env:2:1: not a line NAME=value" in map(str, check("site: {organisation: G14, name: x}\nendpoints: {}\nroutes: []\n"))


def test_a_secret_may_stand_in_a_file(make: Callable[[str], Path]) -> None:
    """`file:PATH` is read from the site's directory, without the line end an editor leaves."""
    root = make(
        (Path(__file__).parent.parent.parent / "routes.yaml").read_text(encoding="utf-8").replace("env:VXP_SECRET", "file:vxp.secret")
    )
    (root / "vxp.secret").write_text("of a file\n", encoding="utf-8")
    assert config.check(root, environment={"VXP_URL": "http://h", "AGENCY_URL": "https://a"}, clock=lambda: datetime.now(UTC)) == []


def test_an_unreadable_key_is_one_fault_of_its_own_file(reference: Path, tmp_path: Path) -> None:
    """What depends on the keys adds nothing to it."""
    import shutil

    shutil.copytree(reference, tmp_path / "site")
    (tmp_path / "site" / "certs" / "own" / "bus.key").write_text("not a key", encoding="utf-8")
    faults = config.check(tmp_path / "site", environment={}, clock=lambda: datetime.now(UTC))
    assert [fault.file for fault in faults] == ["certs/own/bus.key"]


def test_aliases_that_multiply_are_refused_with_their_place() -> None:
    """Nine lines can mean a thousand million values; each alias counts for all that it stands for."""
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(ConfigurationError) as caught:
        marks.read("\n".join(["a0: &a0 [x]", *levels]), "routes.yaml")
    (fault,) = caught.value.faults
    assert fault.line == 1 and f"more than {marks.MOST_VALUES} values" in fault.text
