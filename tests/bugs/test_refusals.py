"""What strangers are refused is counted: a flood of it costs a few rows, and every reference leads to its row."""

import json
import sqlite3
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import sieged_site
from helping import HandClock
from sieged_site import UNIT, letter
from soap_rig import Rig, build, fault_code
from typer.testing import CliRunner

from bus import daemon, refusals
from bus.audit import audit
from bus.cli import app
from bus.errors import Deferred, Rejected
from bus.evidence import Evidence
from bus.offload import act_for
from bus.refusals import OTHERS, Strangers
from bus.store import Store
from bus.store.archive import Order
from bus.store.refusals import WantedRefusals
from sandbox.process import BusProcess


def rows(site: Path) -> list[dict[str, object]]:
    """The journal's rows of refusals."""
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        read = connection.execute("SELECT message_id, detail FROM journal WHERE event = 'refused'").fetchall()
    return [{"reference": reference, **json.loads(detail)} for reference, detail in read]


def refused(bus: BusProcess, body: bytes) -> str:
    """The reference in the fault that a stranger gets."""
    import ssl

    context = ssl.create_default_context(cafile=str(bus.site / "certs" / "own" / "ca.crt"))
    context.check_hostname = False
    request = urllib.request.Request(bus.url + "/soap/documents", body, {"Content-Type": "text/xml; charset=utf-8"})
    with pytest.raises(urllib.error.HTTPError) as failure:
        urllib.request.urlopen(request, timeout=20, context=context)
    text = failure.value.read()
    return text.partition(b"Reference>")[2].partition(b"<")[0].decode()


async def test_a_flood_of_strangers_is_a_few_rows_and_each_reference_leads_to_its_row(
    siege_certs: Path, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """Two hundred refusals through the socket; a partner's own are journalled one by one beside them; a stop loses no number."""
    bus = start(sieged_site.write(tmp_path / "site", siege_certs), environment={"UNIT_PASSWORD": "bí mật"})
    references = Counter(refused(bus, b"<not XML %d" % number) for number in range(200))
    known = rows(bus.site)
    assert references.keys() == {row["reference"] for row in known}
    async with sieged_site.client(bus, UNIT) as unit:
        for number in range(3):
            with pytest.raises(Rejected):
                await unit.send(letter(UNIT, "000.00.00.G99"), f"nobody-{number}")
    assert bus.stop() == 0
    found = rows(bus.site)
    strangers = [row for row in found if not row["partner"]]
    assert {row["source"] for row in strangers} == {"127.0.0.1"}
    assert sum(row["count"] for row in strangers) == 200  # type: ignore[misc]
    assert len(strangers) <= 2 * len(references)
    assert len(references) <= 4  # the minutes that the flood took
    assert len({row["reference"] for row in found if row["partner"] == "unit"}) == 3
    lines = [
        line for line in bus.log_lines() if line.get("event") in {"message.refused", "message.refused-more"} and not line.get("partner")
    ]
    assert len(lines) == len(strangers)


async def test_sources_without_end_are_one_row_beyond_the_bound(siege_certs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a thousand addresses is counted; a handful has rows, all others are one row together, and memory holds no more."""
    monkeypatch.setattr(refusals, "MOST", 5)
    rig = build(tmp_path, siege_certs)
    await rig.engine.start()
    try:
        references = set()
        for number in range(1000):
            act_for(f"192.0.2.{number}", known=False)
            references.add(await rig.engine.refuse("documents", "", Rejected("credentials-invalid", check="x"), ""))
        assert len(references) == 6
        assert len(rig.engine._refusals.strangers._seen) == 6
        assert len(rows(tmp_path)) == 6
        assert OTHERS in {row["source"] for row in rows(tmp_path)}
    finally:
        await rig.engine.stop(grace=1)
    assert sum(row["count"] for row in rows(tmp_path)) == 1000  # type: ignore[misc]
    assert rig.store.refusals() == {"documents": 1000}
    rig.store.close()


@pytest.fixture
async def rig(siege_certs: Path, tmp_path: Path) -> Rig:
    return build(tmp_path, siege_certs)


async def test_a_store_that_fails_at_the_end_of_a_minute_is_told_in_the_next(rig: Rig) -> None:
    """What could not be journalled waits, bounded; each minute has references of its own."""
    clock = HandClock()
    fails, told = True, []

    class Failing:
        async def refuse(self, **said: object) -> None:
            if fails:
                raise Deferred("store-unavailable")
            told.append(said)

    strangers = Strangers(Failing(), clock)  # type: ignore[arg-type]
    reasons = {"vi": "x", "en": "x"}
    first, is_first = strangers.count("door", "5.7.1", reasons)
    again, is_again = strangers.count("door", "5.7.1", reasons)
    assert (is_first, is_again, first.reference) == (True, False, again.reference)
    await strangers.flush()
    clock.advance(minutes=1)
    later, is_later = strangers.count("door", "5.7.1", reasons)
    assert is_later
    assert later.reference != first.reference
    fails = False
    await strangers.flush()
    assert [said["count"] for said in told] == [1]
    assert told[0]["message_id"] == first.reference
    rig.store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Either kind of store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bus.db'}"
    server = request.getfixturevalue("postgres")
    return str(server.url(server.create()))


async def told(store: Store, reference: str, count: int) -> None:
    """A row of a stranger's refusals."""
    said = {"endpoint": "door", "partner": "", "code": "5.7.4", "reasons": {"vi": "Không nhận", "en": "No"}, "digest": ""}
    await store.refuse(**said, message_id=reference, source="192.0.2.1", count=count)


async def test_rows_of_one_reference_are_pruned_each_in_its_time(
    open_store: Callable[..., Store], clock: HandClock, evidence: Evidence
) -> None:
    """Two old rows under one reference go together; of two with the cut between them the later one stays, and the chain is whole."""
    store = open_store()
    for reference, count in (("aa", 1), ("aa", 7), ("bb", 1)):
        await told(store, reference, count)
    clock.advance(hours=1)
    cut = clock()
    await told(store, "bb", 9)
    clock.advance(hours=1)
    await store.prune(Order(cut, "an", "thử", None, {}))
    assert [(each.reference, each.count) for each in store.refused(WantedRefusals())] == [("bb", 9)]
    assert audit(store, evidence).findings == ()
    await store.prune(Order(clock(), "an", "thử", None, {}))
    assert store.refused(WantedRefusals()) == []
    assert audit(store, evidence).findings == ()


async def test_operators_are_told_how_many_refusals_a_row_stands_for_and_from_where(make_site: Callable[..., Path]) -> None:
    """`show` lists all rows of a reference, the first one first; `refused` has their numbers and sources."""
    site = make_site()
    with daemon.opened(site, {}, "main") as (_, store):
        await told(store, "a43051b22a88", 1)
        await told(store, "a43051b22a88", 41)

    def run(*words: str) -> str:
        environment = {"GOVBUS_LANG": "en", "GOVBUS_STORE": "", "COLUMNS": "400"}
        return CliRunner().invoke(app, [*words, "--site", str(site)], env=environment).stdout

    shown = [each["refused"] for each in json.loads(run("show", "a43051b22a88", "--json"))]
    assert [(each["reference"], each["count"], each["source"]) for each in shown] == [
        ("a43051b22a88", 1, "192.0.2.1"),
        ("a43051b22a88", 41, "192.0.2.1"),
    ]
    assert [each["count"] for each in json.loads(run("refused", "--json"))] == [41, 1]
    line = next(line for line in run("refused").splitlines() if " 41 " in line)
    assert "192.0.2.1" in line
    assert " 41\n" in run("show", "a43051b2")


async def test_a_partner_that_is_only_named_is_a_stranger(rig: Rig) -> None:
    """Who writes a partner's name into a request gets no rows of its own: one of them stands for all."""
    await rig.engine.start()
    for _ in range(5):
        assert fault_code(await rig.post(b"<x/>")).startswith("5.6")
    assert len(rows(rig.site.root)) == 1
    await rig.engine.stop(grace=1)
    rig.store.close()
