"""A name that several messages go by changes and shows nothing: what it may mean is listed, to choose from."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helping import Done, govbus

from bus import daemon
from bus.message import DOCUMENT_ID, ENDPOINT, FROM, KIND, SENDER, SENDER_MESSAGE_ID, Message
from bus.store import Owed, Store

#: The sender's own id that both units chose.
NAME = "CV-2026-0001"


@pytest.fixture
async def site(make_site: Callable[..., Path]) -> AsyncIterator[Path]:
    """A site in whose store two units have each sent a document called NAME; nobody sends them on."""
    root = make_site()
    with daemon.opened(root, {}, "main") as (_, store):
        for number, sender in enumerate(("digital-agency", "telecom-authority")):
            await _accept(store, sender, NAME, f"message-{number}")
    yield root


async def _accept(store: Store, sender: str, name: str, own: str, document: str = "") -> None:
    headers = {SENDER: sender, SENDER_MESSAGE_ID: name, FROM: "G14", KIND: "document", DOCUMENT_ID: document, ENDPOINT: "unit-documents"}
    message = Message(own, headers, f"<{sender} {own}/>".encode())
    owed = Owed("unit-to-agency", "agency-service", message, expires=daemon.utc_now() + timedelta(days=5))
    await store.accept(message, owed)


def _states(site: Path) -> dict[str, str]:
    with daemon.opened(site, {}, "operator") as (_, store):
        return {found.id: store.show(found.id)[0].deliveries[0]["state"] for found in store.search()}


def _acted(site: Path, action: str, *words: str) -> Done:
    return govbus(action, *words, "--reason", "thử", "--site", site)


@pytest.mark.parametrize("action", ["cancel", "resend"])
async def test_an_act_by_a_name_of_two_partners_changes_nothing(site: Path, action: str) -> None:
    """Exit 1, both bus ids named, for people and for programs; also when another name beside it is clear."""
    before = _states(site)
    for words in ((NAME,), ("message-0", NAME), (NAME, "--json")):
        done = _acted(site, action, *words)
        assert done.code == 1
        assert "message-0" in done.said
        assert "message-1" in done.said
    [told] = done.json["refused"]
    assert (told["name"], told["why"], [each["sender"] for each in told["messages"]]) == (
        NAME,
        "ambiguous",
        ["digital-agency", "telecom-authority"],
    )
    assert _states(site) == before == {"message-0": "READY", "message-1": "READY"}


@pytest.mark.parametrize("command", ["show", "receipts", "evidence"])
async def test_no_command_shows_one_of_two(site: Path, tmp_path: Path, command: str) -> None:
    """Receipts of both would be shown to somebody who asked for one; instead the meanings are listed, and --partner chooses."""
    more: list[object] = ["-o", tmp_path / "one.asice"] if command == "evidence" else []
    for words in ([], ["--json"]):
        done = govbus(command, NAME, *more, "--site", site, *words)
        assert done.code == 1
        assert "message-0" in done.said
        assert "message-1" in done.said
    assert done.json["refused"][0]["why"] == "ambiguous"
    assert not (tmp_path / "one.asice").exists()
    narrowed = govbus(command, NAME, *more, "--partner", "telecom-authority", "--site", site)
    assert narrowed.code == 0
    assert "message-0" not in narrowed.said


async def test_the_partner_narrows_and_only_that_one_ends(site: Path) -> None:
    """With --partner the name is clear, and the other's document goes on."""
    assert _acted(site, "cancel", NAME, "--partner", "telecom-authority").code == 0
    assert _states(site) == {"message-0": "READY", "message-1": "DEAD"}
    assert _acted(site, "cancel", NAME, "--partner", "nobody").code == 1
    assert _states(site) == {"message-0": "READY", "message-1": "DEAD"}


async def test_an_exact_id_of_ours_wins_over_what_a_sender_calls_his(site: Path) -> None:
    """A partner may choose the bus's id of another's message as its own MessageId: it never gets in the way of that one."""
    with daemon.opened(site, {}, "main") as (_, store):
        await _accept(store, "digital-agency", "message-1", "message-2", document="message-1")
    [story] = govbus("show", "message-1", "--site", site, "--json").json
    assert story["message"]["id"] == "message-1"
    assert len(govbus("receipts", "message-1", "--site", site, "--json").json) == 1
    assert _acted(site, "cancel", "message-1").code == 0
    assert _states(site) == {"message-0": "READY", "message-1": "DEAD", "message-2": "READY"}


async def test_one_document_id_of_several_messages_of_one_partner_is_no_name_either(site: Path) -> None:
    """The same document handed in twice under two ids: neither is cancelled by its DocumentId."""
    with daemon.opened(site, {}, "main") as (_, store):
        for number in (3, 4):
            await _accept(store, "digital-agency", f"own-{number}", f"message-{number}", document="G14,2026/11/30,1/BTTTT")
    done = _acted(site, "cancel", "G14,2026/11/30,1/BTTTT", "--partner", "digital-agency")
    assert done.code == 1
    assert "message-3" in done.said
    assert set(_states(site).values()) == {"READY"}


async def test_an_act_that_moves_nothing_says_why(site: Path) -> None:
    """An unknown id is said to be unknown; what is over, with its state; both by sentence and for programs."""
    unknown = _acted(site, "resend", "nosuch")
    assert (unknown.code, "There is no message 'nosuch'" in unknown.said) == (1, True)
    assert _acted(site, "resend", "nosuch", "--json").json["refused"][0]["why"] == "unknown"
    assert _acted(site, "cancel", "message-0").code == 0
    again = _acted(site, "cancel", "message-0")
    assert (again.code, "it is cancelled already" in again.said) == (1, True)
    told: Any = _acted(site, "cancel", "message-0", "--json").json
    assert (told["deliveries"], [each["message"] for each in told["unchanged"]]) == ([], ["message-0"])


async def test_a_delivery_goes_by_its_own_id(site: Path) -> None:
    """One delivery of a message can be named: what the list of `show --json` calls its id."""
    with daemon.opened(site, {}, "operator") as (_, store):
        name = store.show("message-1")[0].deliveries[0]["id"]
    assert _acted(site, "cancel", name).code == 0
    assert _states(site) == {"message-0": "READY", "message-1": "DEAD"}
