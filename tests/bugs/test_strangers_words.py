"""A partner's words reach an operator's terminal, log and page as words, and do nothing there."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helping import govbus
from rich.console import Console

from bus import log
from bus.cli import screen
from bus.errors import Rejected
from bus.plain import plain, plain_json
from sandbox.documents import TELECOM_AUTHORITY, make
from sandbox.process import BusProcess
from sandbox.unit import Unit

#: Each moves a cursor, colours, turns a line round, hides, or begins a line of its own.
ACTING = ["\x1b[2J", "\x07", "\x7f", "\x9b31m", "\x85", "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\U000e0041", "\r\n", "\t"]


@pytest.mark.parametrize("acting", ACTING, ids=ascii)
def test_what_acts_on_a_terminal_is_shown_as_its_escape(acting: str) -> None:
    """Nothing of it is left but ASCII, and the words around it are whole."""
    shown = plain(f"Số{acting}12")
    assert shown.startswith("Số\\") and shown.endswith("12") and shown[2:].isascii() and shown.isprintable()


@pytest.mark.parametrize("words", ["Đề nghị khẩn", "e\u0323\u0302 n\u0303", "giá 5\u00a0000 €, “văn bản” – 漢"])
def test_vietnamese_words_stay_as_they_are(words: str) -> None:
    """Composed and decomposed letters, quotation marks and fixed spaces act on nobody."""
    assert plain(words) == words


def test_json_means_the_same_with_the_escapes() -> None:
    """Programs read the very text; a terminal that shows the line is not commanded by it."""
    text = "".join(ACTING) + "đề"
    shown = plain_json(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text and shown.isprintable()


def test_a_reason_quotes_no_acting_character() -> None:
    """What a stranger named is quoted in faults, logs and answers alike."""
    reason = Rejected("no-route", endpoint="a\x1b[31m\u202eb").reason("vi")
    assert "\\x1b[31m\\u202e" in reason and reason.isprintable()


def test_a_log_line_is_one_line_of_printable_text() -> None:
    """The log is read in terminals, too."""
    line = log._dumps({"event": "message.refused", "partner": "\u202ea\x9b\n"})
    assert line.isprintable() and json.loads(line)["partner"] == "\u202ea\x9b\n"


def test_tables_and_fields_show_strangers_words_without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither markup nor an escape sequence of a cell reaches the terminal."""
    out = io.StringIO()
    monkeypatch.setattr(screen, "console", Console(file=out, width=200, force_terminal=False))
    screen.table(["subject_line"], [["[red]a[/red]\x1b]0;b\x07\u202e"]])
    screen.fields({"subject": "[b]c\u009b1m"})
    assert "[red]a[/red]\\x1b]0;b\\x07\\u202e" in out.getvalue()
    assert "[b]c\\x9b1m" in out.getvalue()


async def test_a_subject_that_turns_the_line_round_is_listed_harmlessly(
    make_site: Callable[..., Path], start: Callable[..., BusProcess]
) -> None:
    """Through the real door and the real command, as text and as JSON."""
    site = make_site()
    bus = start(site)
    body = make(size=5_000, seed=3).decode().replace("<edXML:Subject>", "<edXML:Subject>\u202eABC\u009b31m ", 1).encode()
    keys = site / "certs" / "development" / "telecom-authority"
    async with Unit.connect(bus.url, TELECOM_AUTHORITY.code, keys=keys, trust=site / "certs" / "own") as unit:
        receipt = await unit.send(body, message_id="acting-1")
    for words in (("messages",), ("messages", "--json"), ("show", receipt.message_id), ("show", receipt.message_id, "--json")):
        done = govbus(*words, "--site", site)
        assert done.code == 0 and "ABC" in done.said
        assert "\u202e" not in done.said and "\u009b" not in done.said
