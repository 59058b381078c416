"""What the operator types: every command, with and without --json, against a site that has worked."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from black_box import Bus, fresh_id, govbus, govbus_json, operation, send_content
from parties import DIGITAL, NOBODY, TELECOM, letter

from sandbox.process import BusProcess


@pytest.fixture(scope="module")
def worked(new_site: Callable[[], Path]) -> Iterator[tuple[Path, str]]:
    """A site, stopped again, that delivered and confirmed one message and refused another; and the message's id."""
    site, message_id = new_site(), fresh_id()
    with BusProcess(site) as process:
        bus = Bus(process.url, site)
        assert bus.call(send_content(letter(TELECOM, DIGITAL), message_id)).receipts
        assert bus.call(send_content(letter(TELECOM, NOBODY))).fault.code == "5.1.1"
        fetch = operation("GetDocument", MessageId=message_id)
        while b"Fault>" in bus.call(fetch, DIGITAL.partner, "/soap/inbox").body:
            continue
        assert bus.call(operation("ConfirmReceived", MessageId=message_id, Status="done"), DIGITAL.partner, "/soap/inbox").receipts
    yield site, message_id


@pytest.mark.parametrize("command", ["check", "messages", "dead", "audit", "keys"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_commands_about_a_site_print_text_or_one_line_of_json(worked: tuple[Path, str], command: str, form: tuple[str, ...]) -> None:
    """Exit code 0; with --json, JSON and nothing else."""
    done = govbus(command, "--site", worked[0], *form)
    assert (done.returncode, done.stderr) == (0, "")
    if form:
        assert len(done.stdout.splitlines()) == 1
        json.loads(done.stdout)


def test_a_message_is_found_and_told(worked: tuple[Path, str]) -> None:
    """By id, by route, by partner, by state; its story and its receipts; and what is not there is said not to be, with exit code 1."""
    site, message_id = worked
    for search in (("--key", message_id), ("--route", "unit-documents"), ("--partner", TELECOM.partner), ("--state", "done"), ()):
        found = govbus_json("messages", "--site", site, *search)
        assert isinstance(found, list)
        assert len(found) == 1
    assert govbus_json("messages", "--site", site, "--partner", DIGITAL.partner) == []
    (story,) = govbus_json("show", message_id, "--site", site)  # type: ignore[misc]
    assert [receipt["status"] for receipt in story["receipts"]] == ["ACCEPTED", "FETCHED", "CONFIRMED"]
    assert message_id in govbus("show", message_id, "--site", site).stdout
    receipts = govbus("receipts", message_id, "--site", site)
    assert receipts.stdout.count("urn:govbus:receipt:v1") == 3
    assert len(govbus_json("receipts", message_id, "--site", site)) == 3  # type: ignore[arg-type]
    for command in ("show", "receipts"):
        assert govbus(command, "nothing", "--site", site).returncode == 1
    for action in ("resend", "cancel"):
        assert govbus(action, message_id, "--reason", "thử", "--site", site).returncode == 1
        assert govbus(action, message_id, "--site", site).returncode == 2


def test_the_audit_adds_up(worked: tuple[Path, str]) -> None:
    """accepted = delivered + rejected + expired + dead + waiting."""
    report = govbus_json("audit", "--site", worked[0])
    assert isinstance(report, dict)
    counts = report["counts"]
    assert counts["accepted"] == 1 == sum(counts[place] for place in ("delivered", "rejected", "expired", "dead", "waiting"))


@pytest.mark.parametrize(
    "place", ["messages.document_id", "messages.digest", "receipts.xml", "receipts.at", "journal.detail", "journal.hash", "blobs.body"]
)
def test_one_changed_byte_is_found(worked: tuple[Path, str], tmp_path: Path, place: str) -> None:
    """Whoever changes a stored byte behind the bus's back, with the guards taken away and put back, is found by the audit."""
    site, (table, column) = tmp_path / "copy", place.split(".")
    shutil.copytree(worked[0], site)
    with sqlite3.connect(site / "data" / "bus.db") as connection:
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)).fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        rowid, value = connection.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid LIMIT 1").fetchone()
        octets = bytearray(value if isinstance(value, bytes) else value.encode())
        middle = len(octets) // 2
        octets[middle] = ord("x") if octets[middle] != ord("x") else ord("y")
        changed = bytes(octets) if isinstance(value, bytes) else octets.decode("utf-8", "replace")
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, rowid))
        for _, sql in guards:
            connection.execute(sql)
    done = govbus("audit", "--site", site, "--json")
    assert done.returncode == 1
    assert table.rstrip("s") in " ".join(json.loads(done.stdout)["findings"])
    assert govbus("audit", "--site", site).returncode == 1


def test_check_reports_every_mistake_at_once(new_site: Callable[[], Path]) -> None:
    """Each with file, line, column and a suggestion; the daemon refuses to start with the same lines."""
    site = new_site()
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    for right, wrong in {
        "- validate: {schema: edxml/v1/document.xsd,": "- vallidate: {schema: edxml/v1/document.xsd,",
        "schema: edxml/v1/status.xsd": "schema: edxml/v1/statos.xsd",
        "to: [agency-service]\n": "to: [agency-servise]\n",
        "retry: {first: 30s": "retry: {frist: 30s",
        "when: To\n": "when: 'To['\n",
        "sign: own/bus}}\n  # Each": "sign: own/bos}}\n  # Each",
        "trust: trust/partner-agency": "trust: trust/partner-agencies",
    }.items():
        assert right in text, right
        text = text.replace(right, wrong, 1)
    routes.write_text(text, encoding="utf-8")
    done = govbus("check", "--site", site)
    assert done.returncode == 1
    for clue in ("vallidate", "statos", "agency-servise", "frist", "To[", "own/bos", "partner-agencies"):
        (line,) = [line for line in done.stdout.splitlines() if clue in line]
        assert line.split(":")[0] == "routes.yaml"
        assert clue in text.splitlines()[int(line.split(":")[1]) - 1]
    faults = json.loads(govbus("check", "--site", site, "--json").stdout)
    assert len(faults) >= 7
    started = govbus("run", "--site", site, "--port", "0")
    assert started.returncode == 1
    assert "Traceback" not in started.stdout + started.stderr
    assert "vallidate" in started.stdout + started.stderr


@pytest.mark.parametrize("words", ["no-such", "show", "messages --limit x", "messages --state X", "run --port x", "receipts --no-such ID"])
def test_wrong_usage_is_2(words: str) -> None:
    """And no traceback."""
    done = govbus(*words.split())
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
