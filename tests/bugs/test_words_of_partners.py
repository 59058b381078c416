"""A partner's words in every command, and in the log, are words: they colour nothing, turn nothing round and begin no line of their own."""

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helping import govbus

from bus.errors import Fault, Rejected
from sandbox.documents import TELECOM_AUTHORITY, make
from sandbox.process import BusProcess
from sandbox.unit import Unit

#: What XML 1.0 carries of it: colours by a C1 character, a line turned round, markup of the screen's library, a line that looks like ours.
HOSTILE = "\u009b31m\u202e\u2066[red]ABC[/red] [link=http://a]b[/link]\u0085\nINFO: all is well\u200b\u2028"
#: Characters that may stand in output beside printable ones.
_ACTING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def harmless(said: str) -> bool:
    return not _ACTING.search(said) and not any(line.startswith("INFO: all") for line in said.splitlines())


async def test_no_command_and_no_log_line_is_commanded_by_a_partner(
    make_site: Callable[..., Path], start: Callable[..., BusProcess], tmp_path: Path
) -> None:
    """Subject and MessageId of an accepted document and of refused ones, through the real door, in each command that shows them."""
    site = make_site()
    bus = start(site)
    body = make(size=5_000, seed=3).decode()
    name = f"id[red]{HOSTILE.strip()}"
    body = body.replace("<edXML:Subject>", f"<edXML:Subject>{HOSTILE}", 1)
    keys = site / "certs" / "development" / "telecom-authority"
    async with Unit.connect(bus.url, TELECOM_AUTHORITY.code, keys=keys, trust=site / "certs" / "own") as unit:
        receipt = await unit.send(body.encode(), message_id="words-1")
        for bad in (
            make(size=5_000, seed=4).decode().replace("<edXML:Subject>", f"<edXML:{'No'}Subject>{HOSTILE}", 1),
            f"<a b='{HOSTILE}'/>",
        ):
            with pytest.raises(Rejected):
                await unit.send(bad.encode(), message_id=name)
    held = tmp_path / "held"
    held.mkdir()
    [xml, *_] = govbus("receipts", "words-1", "--site", site, "--json").json
    (held / "\x1b[31m[red]one.xml").write_text(xml, encoding="utf-8")
    (held / "\u202eforeign\n.xml").write_text(f"<a>{HOSTILE}</a>", encoding="utf-8")
    container = tmp_path / "one.asice"
    assert govbus("evidence", "words-1", "-o", tmp_path / "two.asice", "--site", site).code == 0
    ours = tmp_path / "[red]\x1b[31m"
    shutil.copytree(site, ours, ignore=shutil.ignore_patterns("daemon.lock"))
    shown = [("messages",), ("messages", "--key", "ABC"), ("show", "words-1"), ("show", receipt.message_id), ("show", name), ("dead",)]
    shown += [("refused",), ("audit",), ("reconcile", held), ("keys",), ("check",), ("receipts", "no" + name)]
    shown += [("evidence", "words-1", "-o", container), ("verify", container), ("verify", held / "\x1b[31m[red]one.xml")]
    shown += [("resend", name, "--reason", HOSTILE), ("cancel", "words-1", "--reason", HOSTILE), ("messages", "--site", ours)]
    shown += [("backup", ours / "\u202e.tar"), ("check", "--site", tmp_path / "\x1b[31m")]
    for words in shown:
        for form in ((), ("--json",)):
            done = govbus(*words, *form, *(() if "--site" in words or words[0] == "verify" else ("--site", site)), COLUMNS="400")
            assert harmless(done.said), (words, form, ascii(done.said))
            assert done.code in {0, 1, 2}
    assert "[red]ABC[/red]" in govbus("show", "words-1", "--site", site, COLUMNS="400").said
    assert bus.stop() == 0
    assert harmless((site / "bus.log").read_text(encoding="utf-8"))


def test_a_terminal_is_shown_receipts_harmlessly_and_a_file_gets_their_octets() -> None:
    """What is signed is written as it is, where nobody looks."""
    program = "import sys; from bus.cli import messages; messages.put(sys.argv[1].encode())"
    ours, its = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", program, "<a>\u202e</a>"], stdout=its, check=True, timeout=60)
        assert os.read(ours, 100).strip() == b"<a>\\u202e</a>"
    finally:
        os.close(ours)
        os.close(its)
    done = subprocess.run([sys.executable, "-c", program, "<a>\u202e</a>"], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().strip() == "<a>\u202e</a>"


def test_a_fault_quotes_no_acting_character() -> None:
    """A file's name is a stranger's word, too."""
    said = Fault("certs/\x1b[31m\n", 1, 1, "a\u202eb", vi="a\u202eb").said("vi")
    assert said == "certs/\\x1b[31m\\n:1:1: a\\u202eb"
