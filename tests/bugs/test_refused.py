"""What was refused can be asked for: by the reference that the sender quotes, by partner, code and time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bus import daemon
from bus.audit import audit
from bus.cli import app
from bus.store.refusals import WantedRefusals

REASONS = {"vi": "Không hợp lệ", "en": "Not valid"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Either kind of store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bus.db'}"
    server = request.getfixturevalue("postgres")
    return str(server.url(server.create()))


async def refuse(store, reference: str, partner: str, code: str, **about: str) -> None:
    said = {"endpoint": "door", "partner": partner, "code": code, "reasons": REASONS, "digest": ""}
    await store.refuse(message_id=reference, about=about, **said)


async def test_refusals_are_listed_newest_first_and_found_by_their_reference(open_store, clock, evidence) -> None:
    """By partner, by a code or its beginning, since a time, as many as are wanted; a row of before has no document."""
    store = open_store()
    for number, (partner, code) in enumerate((("unit", "5.7.1"), ("unit", "5.6.3"), ("", "5.7.4"))):
        clock.advance(minutes=1)
        await refuse(store, f"a{number}b2c3d4e5f6", partner, code, **({"number": "30002/KH", "place": "/a/b"} if number else {}))

    def listed(**wanted: object) -> list[str]:
        return [each.code for each in store.refused(WantedRefusals(**wanted))]

    assert listed() == ["5.7.4", "5.6.3", "5.7.1"]
    assert listed(partner="unit") == ["5.6.3", "5.7.1"]
    assert listed(code="5.7") == ["5.7.4", "5.7.1"]
    assert (listed(code="%"), listed(partner="a\0"), listed(since=clock()), listed(limit=1)) == ([], [], ["5.7.4"], ["5.7.4"])
    [found] = store.refusal("A1B2")
    assert (found.number, found.place, found.partner, found.reasons) == ("30002/KH", "/a/b", "unit", REASONS)
    assert [each.number for each in store.refusal("a0b2c3d4e5f6")] == [""]
    assert len(store.refusal("a")) == 3
    assert store.refusal("") == store.refusal("zz") == store.refusal("\udcff") == []
    assert audit(store, evidence).findings == ()


async def test_show_takes_a_reference_and_says_what_an_unknown_one_may_be(make_site: Callable[..., Path]) -> None:
    """The fault's Reference leads to its refusal and its row in the journal, also by its first letters."""
    site = make_site()
    with daemon.opened(site, {}, "main") as (_, store):
        await refuse(
            store, "a43051b22a88", "telecom-authority", "5.6.3", document_id="G14,2026/01/01,1/KH", number="1/KH", subject="Về đường bộ"
        )

    def run(*words: str):
        return CliRunner().invoke(app, [*words, "--site", str(site)], env={"GOVBUS_LANG": "vi", "GOVBUS_STORE": "", "COLUMNS": "400"})

    [shown] = json.loads(run("show", "a43051b2", "--json").stdout)
    assert (shown["refused"]["reference"], shown["refused"]["subject"], shown["refused"]["chain"]) == (
        "a43051b22a88",
        "Về đường bộ",
        "main",
    )
    told = run("show", "A43051B22A88")
    assert told.exit_code == 0
    assert "Không hợp lệ" in told.stdout
    line = run("refused", "--partner", "telecom-authority").stdout
    assert "a43051b22a88" in line
    assert "1/KH" in line
    assert json.loads(run("refused", "--code", "5.7", "--json").stdout) == []
    unknown = run("show", "ffffffffffff")
    assert unknown.exit_code == 1
    assert "Không có bản tin nào" in unknown.stdout
    assert "govbus refused" in unknown.stdout
