"""Searches end in time, and say how far they came."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import backlog
from bus.cli import app
from bus.store import Store, searching

COUNT = 40


@pytest.fixture
def store(filled: Callable[[int], Store], monkeypatch: pytest.MonkeyPatch) -> Store:
    """Forty messages, of which a search looks at ten at a time."""
    monkeypatch.setattr(searching, "WALK", 10)
    monkeypatch.setattr(searching, "FEW", 3)
    return filled(COUNT)


def pages(store: Store, **wanted: str) -> Iterator[searching.Hits]:
    """A search, and on from where it stopped."""
    hits = store.search(**wanted, limit=10)
    yield hits
    while hits.back_to:
        hits = store.search(**wanted, limit=10, before=hits.back_to)
        yield hits


def test_a_search_goes_on_where_it_stopped_and_misses_nothing(store: Store) -> None:
    """Page after page everything is looked at, once."""
    expected = [found.id for found in store.search(limit=COUNT) if "báo cáo" in found.subject]
    found = list(pages(store, key="báo cáo"))
    assert ([hit.id for page in found for hit in page], len(found)) == (expected, COUNT // 10 + 1)


def test_the_oldest_message_is_found_by_any_of_its_names_at_once(store: Store) -> None:
    """The bus's id, the sender's, the DocumentId: no walk is needed."""
    oldest = store.search(limit=COUNT)[-1]
    for key in (oldest.id, oldest.public_id, oldest.document_id):
        hits = store.search(key=key)
        assert ([found.id for found in hits], hits.back_to) == ([oldest.id], None)


def test_a_part_of_a_subject_is_looked_for_newest_first_and_it_is_said_how_far(store: Store) -> None:
    """An old subject is not among the first, and nobody is told that it is nowhere."""
    oldest = store.search(limit=COUNT)[-1]
    assert oldest.subject.endswith(" 0")
    first, *others = pages(store, key=oldest.subject)
    assert (list(first), first.back_to is not None) == ([], True)
    assert [found.id for page in others for found in page] == [oldest.id]


async def test_a_few_dead_letters_are_found_however_old(store: Store) -> None:
    """What is rare in its state is found by its state."""
    oldest = store.search(limit=COUNT)[-3:]
    await store.cancel([found.id for found in oldest], "operator", "why")
    hits = store.search(state="DEAD")
    assert ([found.id for found in hits], hits.back_to) == ([found.id for found in oldest], None)


async def test_what_is_found_at_once_is_still_what_was_asked_for(store: Store) -> None:
    """A name or a state does not set the other conditions aside."""
    oldest = store.search(limit=COUNT)[-1]
    await store.cancel([oldest.id], "operator", "why")
    assert list(store.search(key=oldest.id, route="another")) == []
    assert list(store.search(state="DEAD", partner="another")) == []
    assert [found.id for found in store.search(state="DEAD", key=oldest.id, since=oldest.accepted)] == [oldest.id]
    assert list(store.search(state="DEAD", before=oldest.accepted)) == []


def test_the_command_says_how_far_it_looked_and_goes_on_there(make_site: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`govbus messages --key` names the `--before` to go on with, on standard error, and takes it."""
    monkeypatch.setattr(searching, "WALK", 10)
    monkeypatch.setenv("GOVBUS_LANG", "en")
    site = make_site()
    backlog.fill(f"sqlite:///{site / 'data' / 'bus.db'}", backlog.context(), 20, backlog.letters(50, seed=1))
    command = ["messages", "--site", str(site), "--key", "no such subject", "--limit", "10", "--json"]
    first = CliRunner().invoke(app, command)
    assert (first.exit_code, first.stdout) == (0, "[]\n")
    before = re.search(r"--before (\S+)", first.stderr)
    assert before is not None
    second = CliRunner().invoke(app, [*command, "--before", before[1]])
    assert (second.exit_code, second.stdout) == (0, "[]\n")
    assert "--before" not in second.stderr or before[1] not in second.stderr
