"""What a person knows of a document finds it: its number, a piece of its subject, as a keyboard gives them, on both databases."""

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bus import daemon, folding
from bus.audit import audit
from bus.message import DOCUMENT_ID, ENDPOINT, FROM, KIND, KIND_DOCUMENT, KIND_STATUS, NUMBER, SENDER, SENDER_MESSAGE_ID, SUBJECT, Message
from bus.store import Owed, Store, dialect, naming, searching
from bus.store.archive import Order
from bus.store.tables import DERIVED, messages

LIFE = timedelta(days=5)
ROUTE = "unit-to-exchange"
#: (sender's id, number, kind, subject)
SENT = [
    ("CV-1", "30002/KH-CVT", KIND_DOCUMENT, "ĐỀ NGHỊ KHẨN về đường bộ"),
    ("CV-2", "30003/KH-CVT", KIND_DOCUMENT, "Rà soát 50% kế hoạch"),
    ("CV-3", "7816/VPCP-TTĐT", KIND_DOCUMENT, r"Đường dẫn C:\tam_thoi"),
    ("ST-1", "7816/VPCP-TTĐT", KIND_STATUS, "02 Từ chối tiếp nhận"),
]
#: What is typed -> who is found by it, newest first.
TYPED = {
    "đề nghị": ["CV-1"],
    "ĐỀ NGHỊ": ["CV-1"],
    "de nghi": ["CV-1"],
    "De  Nghi ": ["CV-1"],
    unicodedata.normalize("NFD", "đề nghị"): ["CV-1"],
    unicodedata.normalize("NFD", "ĐƯỜNG BỘ"): ["CV-1"],
    "đường": ["CV-3", "CV-1"],
    "RÀ SOÁT": ["CV-2"],
    "CV-1": ["CV-1"],
    "000.00.01.G14,2026/12/10,30002/KH-CVT": ["CV-1"],
    "30002/KH-CVT": ["CV-1"],
    "30002/kh-cvt": ["CV-1"],
    "3000": ["CV-2", "CV-1"],
    "7816/vpcp-ttdt": ["ST-1", "CV-3"],
    "0002": [],
    "50%": ["CV-2"],
    "5%": [],
    "%": ["CV-2"],
    "_": ["CV-3"],
    "t_m": [],
    "C:\\tam_": ["CV-3"],
    "\\": ["CV-3"],
    "/": [],
    "   ": [],
    "\u0301": [],
    "\udcff": [],
    "a\0b": [],
    "' OR 1=1 --": [],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Either kind of store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bus.db'}"
    server = request.getfixturevalue("postgres")
    return str(server.url(server.create()))


async def accept(store: Store, now: Callable[[], object], given: str, number: str, kind: str, subject: str) -> None:
    document_id = f"000.00.01.G14,2026/12/10,{number}"
    told = {NUMBER: number} if given == "CV-1" else {}
    headers = {
        SENDER: "unit",
        SENDER_MESSAGE_ID: given,
        ENDPOINT: "door",
        KIND: kind,
        FROM: "G14",
        DOCUMENT_ID: document_id,
        SUBJECT: subject,
    }
    sent = Message(f"bus-{given}", headers | told, f"<x>{given}</x>".encode())
    await store.accept(sent, Owed(route=ROUTE, target="agency", message=sent, expires=now() + LIFE))  # type: ignore[operator]


async def filled(store: Store, clock) -> Store:
    for each in SENT:
        clock.advance(seconds=1)
        await accept(store, clock, *each)
    return store


def unguarded(store: Store, statement: str) -> None:
    """Do what the guard of ``messages`` forbids, and put it back."""
    with store._engines[0].begin() as connection:
        place = "" if connection.dialect.name == "sqlite" else " ON messages"
        for each in (f"DROP TRIGGER messages_no_update{place}", statement, *dialect.guarding(connection)):
            connection.exec_driver_sql(each)


def govbus(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bus", *map(str, arguments)]
    environ = {**os.environ, "GOVBUS_LANG": "en", "GOVBUS_STORE": "", "COLUMNS": "500"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environ, check=False)


def test_one_form_for_every_keyboard() -> None:
    """Case, accents, đ, normal form and blanks make no difference; what folds is stable under folding."""
    forms = {"ĐỀ NGHỊ", "đề nghị", "de nghi", "Đề\u00a0 Nghị ", unicodedata.normalize("NFD", "ĐỀ nghị"), "Ðề nghị"}
    assert {folding.fold(form) for form in forms} == {"de nghi"}
    assert folding.fold("") == folding.fold(" \u0301") == ""


async def test_what_is_typed_finds_what_is_meant_on_both_stores(open_store, clock) -> None:
    """Each way of typing finds the same messages in both databases, and nothing that is typed is a wildcard."""
    store = await filled(open_store(), clock)
    assert {key: [found.public_id for found in store.search(key=key)] for key in TYPED} == TYPED


async def test_a_row_of_before_is_found_once_the_store_is_opened_and_nothing_else_of_it_may_change(
    url, open_store, clock, evidence
) -> None:
    """A node of the version before writes rows without names: they are filled in once, and the guard lets nothing else happen."""
    store = await filled(open_store(), clock)
    unguarded(store, "UPDATE messages SET number = NULL, folded = NULL")
    engine = sa.create_engine(url)
    assert [found.public_id for found in store.search(key="khẩn")] == []
    for change in ("subject = 'x', number = ''", "digest = ''"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE messages SET {change}")
    again = open_store("operator")
    assert {key: [found.public_id for found in again.search(key=key)] for key in TYPED} == TYPED
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql("UPDATE messages SET number = 'x'")
    engine.dispose()
    assert audit(again, evidence).findings == ()


async def test_a_large_store_opens_at_once_and_is_named_by_and_by(open_store, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening names a bounded number of rows; each later unit some more, until none is left."""
    monkeypatch.setattr(naming, "AT_OPENING", 0)
    store = await filled(open_store(), clock)
    unguarded(store, "UPDATE messages SET number = NULL, folded = NULL")
    assert [found.public_id for found in open_store("second").search(key="30002")] == ["CV-1"]
    assert [await store.name_some(), await store.name_some()] == [len(SENT), 0]
    assert [found.public_id for found in store.search(key="khan")] == ["CV-1"]


async def test_a_number_is_found_behind_what_a_walk_looks_at(open_store, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk says how far it came; an older document is found by its number all the same."""
    store = await filled(open_store(), clock)
    monkeypatch.setattr(searching, "WALK", 1)
    found = store.search(key="3000", limit=1)
    assert ([each.public_id for each in found], found.back_to is None) == (["CV-2"], False)
    assert [each.public_id for each in store.search(key="30002", limit=1)] == ["CV-1"]


async def test_a_number_shows_its_document_and_not_what_speaks_of_it(open_store, clock) -> None:
    """A status message bears the number of the document it is about."""
    store = await filled(open_store(), clock)
    with store.snapshot() as snapshot:
        assert [row.id for row in snapshot.numbered("7816/vpcp-ttdt")] == ["bus-CV-3"]
        assert snapshot.numbered("7816") == snapshot.numbered("") == []


async def test_names_stand_outside_fingerprints_and_archives(open_store, clock, evidence, tmp_path: Path) -> None:
    """They follow from the row: an archive holds none, and its audit is clean; a changed one is found."""
    store = await filled(open_store(), clock)
    for work in await store.claim("agency", 10, LIFE):
        await store.bury(work, "DEAD", "5.4.0", {"vi": "không", "en": "no"})  # type: ignore[arg-type]
    store.archive(Order(clock() + timedelta(days=1), "operator", "", None, {}), tmp_path / "archive.tar")
    assert b'"folded"' not in (tmp_path / "archive.tar").read_bytes()
    unguarded(store, "UPDATE messages SET folded = '' WHERE public_id = 'CV-1'")
    assert [each for each in audit(store, evidence).findings if "not its own" in each]


def test_the_guard_knows_every_column_that_lasts() -> None:
    """A column that is added to ``messages`` is guarded, or follows from the others."""
    assert set(dialect.LASTING) == {column.name for column in messages.columns} - DERIVED["messages"]


def test_a_name_that_nobody_bears_is_wrong_usage(make_site: Callable[..., Path]) -> None:
    """``--partner`` and ``--route`` with a slip exit 2 and say what may be meant; an empty list would pass for an answer."""
    site = make_site()
    for option, slip, meant in (("--partner", "telecom-authorty", "telecom-authority"), ("--route", "unit-document", "unit-documents")):
        done = govbus("messages", option, slip, "--site", site)
        assert (done.returncode, done.stdout) == (2, "")
        assert slip in done.stderr
        assert meant in done.stderr
    assert govbus("messages", "--partner", "telecom-authority", "--json", "--site", site).stdout == "[]\n"


async def test_a_number_is_shown_when_it_is_one_documents_and_listed_when_several_have_it(make_site: Callable[..., Path]) -> None:
    """``show NUMBER`` needs no id; of two documents with one number it takes neither, and lists them with exit code 1."""
    site = make_site()
    with daemon.opened(site, {}, "operator") as (_, store):
        for given, number in (("CV-1", "30002/KH-CVT"), ("CV-2", "31/KH"), ("CV-3", "31/KH")):
            await accept(store, daemon.utc_now, given, number, KIND_DOCUMENT, "ĐỀ NGHỊ KHẨN về đường bộ")
    shown = govbus("show", "30002/kh-cvt", "--json", "--site", site)
    assert [story["message"]["public_id"] for story in json.loads(shown.stdout)] == ["CV-1"]
    several = govbus("show", "31/KH", "--json", "--site", site)
    (refused,) = json.loads(several.stdout)["refused"]
    assert (several.returncode, [each["public_id"] for each in refused["messages"]]) == (1, ["CV-3", "CV-2"])
    found = govbus("messages", "--key", unicodedata.normalize("NFD", "đề nghị"), "--json", "--site", site)
    assert [each["public_id"] for each in json.loads(found.stdout)] == ["CV-3", "CV-2", "CV-1"]
