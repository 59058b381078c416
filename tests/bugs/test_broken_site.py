"""An operator's commands work when the site's files do not: they are needed then (D45)."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from bus import config, daemon, scaffold
from bus.cli import app
from bus.delivery import ROUTE_PREFIX
from bus.errors import ConfigurationError, Rejected
from bus.message import DOCUMENT_ID, ENDPOINT, FROM, KIND, KIND_DOCUMENT, SENDER, SENDER_MESSAGE_ID, SUBJECT, Message
from bus.receipt import Status
from bus.store import Owed

ROUTE = "unit-documents"
NO_YAML = "routes: [}"


def append(site: Path, text: str) -> None:
    with (site / "routes.yaml").open("a", encoding="utf-8") as file:
        file.write(text)


def replace(site: Path, old: str, new: str) -> None:
    path = site / "routes.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


#: What is broken -> how, and a word of the warning.
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a line that is no YAML": (lambda site: append(site, "\n  - ][\n"), "not YAML"),
    "a tab in the site block": (lambda site: replace(site, "site:\n", "site:\n\tx: [\n"), "not YAML"),
    "an unknown key of the site": (lambda site: replace(site, "site:\n", "site:\n  colour: red\n"), "colour"),
    "a route with a slip": (lambda site: replace(site, "name: unit-documents", "nam: unit-documents"), "nam"),
    "a top-level word": (lambda site: (site / "routes.yaml").write_text("nonsense\n"), "must be a mapping"),
    "routes.yaml is gone": (lambda site: (site / "routes.yaml").unlink(), "cannot be read"),
    "routes.yaml in another encoding": (lambda site: _latin(site), "UTF-8"),
    "the key is damaged": (lambda site: (site / "certs/own/bus.key").write_text("no key"), "bus.key"),
    "the key is gone": (lambda site: (site / "certs/own/bus.key").unlink(), "own/bus"),
    "all of certs/ is gone": (lambda site: (site / "certs").rename(site / "elsewhere"), "certs"),
    "a partner's certificate is damaged": (lambda site: _damage(site), "cannot be used"),
    "site.env has a bad line": (lambda site: (site / "site.env").write_text("no line\n"), "site.env"),
    "a stylesheet is damaged": (lambda site: (site / "schemas/edxml/v1/normalise.xsl").write_text("<x"), "normalise"),
}


def _latin(site: Path) -> None:
    path = site / "routes.yaml"
    path.write_bytes(path.read_bytes() + "# Bộ".encode("utf-16"))


def _damage(site: Path) -> None:
    next(iter(sorted((site / "certs" / "trust").rglob("*.crt")))).write_text("no certificate")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a document that is over, one that is owed, and one that is dead."""
    made = tmp_path_factory.mktemp("whole") / "site"
    scaffold.create(made, datetime.now(UTC))
    asyncio.run(_live(made))
    return made


async def _live(site: Path) -> None:
    expires = datetime.now(UTC) + timedelta(days=3)
    with daemon.opened(site, {}, "main") as (_, store):
        for name in ("CV-1", "CV-2", "CV-3"):
            headers = {SENDER: "telecom-authority", SENDER_MESSAGE_ID: name, ENDPOINT: "unit-inbox", KIND: KIND_DOCUMENT, FROM: "G14"}
            told = {DOCUMENT_ID: f"G14,2026/01/01,{name}/BC", SUBJECT: "Về đường bộ"}
            message = Message(f"bus-{name}", headers | told, f"<x>{name}</x>".encode())
            await store.accept(message, Owed(ROUTE, ROUTE_PREFIX + ROUTE, message, expires))
        first, second, _third = await store.claim(ROUTE_PREFIX + ROUTE, 3, timedelta(seconds=1))
        await store.bury(first, Status.REJECTED, "5.1.1", {"vi": "không", "en": "no"})
        await store.bury(second, Status.DEAD, "5.4.0", {"vi": "không", "en": "no"})
        await store.release(expired_at=None)


@pytest.fixture
def site(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "site"))


def run(*arguments: object, env: dict[str, str] | None = None) -> Result:
    """A command, in this process."""
    given = {"GOVBUS_LANG": "en", "GOVBUS_STORE": "", **(env or {})}
    return CliRunner().invoke(app, [*map(str, arguments)], env=given)


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_a_warning_above_the_answer(site: Path, broken: str) -> None:
    """Messages are listed and shown, dead letters are listed and moved, the audit holds; standard output is the answer alone."""
    act, word = BROKEN[broken]
    act(site)
    with pytest.raises(ConfigurationError):
        config.load(site, environment={}, clock=daemon.utc_now)
    listed = run("messages", "--json", "--site", site)
    assert [found["public_id"] for found in json.loads(listed.stdout)] == ["CV-3", "CV-2", "CV-1"]
    lines = listed.stderr.splitlines()
    assert all(line.startswith("warning: ") for line in lines)
    assert word in listed.stderr
    shown = run("show", "CV-1", "--json", "--site", site)
    assert json.loads(shown.stdout)[0]["message"]["id"] == "bus-CV-1"
    assert run("resend", "CV-2", "--reason", "mended", "--site", site).exit_code == 0
    audited = run("audit", "--json", "--site", site)
    # Without any certificate of ours nobody can say whose the receipts are.
    assert (audited.exit_code, json.loads(audited.stdout)["counts"]["accepted"]) == (1 if broken == "all of certs/ is gone" else 0, 3)
    assert run("keys", "--json", "--site", site).exit_code == 0
    assert run("check", "--site", site).exit_code == 1


def test_every_command_that_signs_nothing_answers_as_always(site: Path, tmp_path: Path) -> None:
    """One bad line in routes.yaml takes none of them away, and what must be signed is signed, since the site block is whole."""
    BROKEN["a line that is no YAML"][0](site)
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    (receipts / "one.xml").write_text(json.loads(run("receipts", "CV-1", "--json", "--site", site).stdout)[0])
    for command in (
        ("dead",),
        ("receipts", "CV-1"),
        ("reconcile", receipts),
        ("backup", tmp_path / "backup.tar"),
        ("archive", tmp_path / "archive.tar", "--before", "2020-01-01"),
        ("prune", "--before", "2020-01-01", "--no-archive", "--reason", "why"),
        ("evidence", "CV-1", "-o", tmp_path / "one.asice"),
        ("cancel", "CV-3", "--reason", "why"),
    ):
        done = run(*command, "--site", site)
        assert (command, done.exit_code) == (command, 0), done.output
        assert done.stderr.startswith("warning: routes.yaml:")


@pytest.mark.parametrize("broken", ["the key is gone", "the key is damaged", "an unknown key of the site", "routes.yaml is gone"])
def test_what_must_be_signed_names_the_key_that_it_lacks_and_changes_nothing(site: Path, tmp_path: Path, broken: str) -> None:
    """``cancel`` and ``evidence`` sign; a backup does not, and is written."""
    BROKEN[broken][0](site)
    for command in (("cancel", "CV-3", "--reason", "why"), ("evidence", "CV-1", "-o", tmp_path / "one.asice")):
        done = run(*command, "--site", site)
        assert isinstance(done.exception, Rejected)
        assert ("own/bus" if "key is" in broken else "'site'") in str(done.exception)
    assert not (tmp_path / "one.asice").exists()
    [story] = json.loads(run("show", "CV-3", "--json", "--site", site).stdout)
    assert [each["state"] for each in story["deliveries"] if not each["receipt_id"]] == ["READY"]
    assert run("backup", tmp_path / "backup.tar", "--site", site).exit_code == 0


def test_an_expired_key_is_shown_as_expired_and_signs_nothing_new(site: Path, tmp_path: Path) -> None:
    """``keys`` is the tool for it; whatever reads goes on; a receipt under an expired certificate would convince nobody."""
    scaffold.create(tmp_path / "old", datetime.now(UTC) - timedelta(days=5000))
    shutil.copytree(tmp_path / "old" / "certs" / "own", site / "certs" / "own", dirs_exist_ok=True)
    listed = run("keys", "--json", "--site", site)
    assert (listed.exit_code, {key["name"] for key in json.loads(listed.stdout) if key["kind"] == "own" and key["expired"]}) == (
        0,
        {"own/bus", "own/tls"},
    )
    assert "(expired)" in run("keys", "--site", site, env={"COLUMNS": "300"}).stdout
    assert "expired on" in listed.stderr
    assert run("messages", "--json", "--site", site).exit_code == 0
    done = run("cancel", "CV-3", "--reason", "why", "--site", site)
    assert isinstance(done.exception, Rejected)
    assert "expired on" in str(done.exception)
    assert run("backup", tmp_path / "backup.tar", "--site", site).exit_code == 0


def test_a_directory_that_is_no_site_gets_no_store(tmp_path: Path) -> None:
    """Beside a broken routes.yaml a store is opened, and never made."""
    for text in (None, NO_YAML):
        if text:
            (tmp_path / "routes.yaml").write_text(text)
        done = run("messages", "--site", tmp_path)
        assert isinstance(done.exception, ConfigurationError)
        assert not (tmp_path / "data").exists()


def test_a_user_sees_sentences_and_exit_codes(site: Path) -> None:
    """The console script: a warning above the answer, a refusal with its code, no traceback."""
    BROKEN["the key is gone"][0](site)
    command = [sys.executable, "-m", "bus", "cancel", "CV-3", "--reason", "why", "--site", str(site)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "GOVBUS_LANG": "vi", "GOVBUS_STORE": ""}, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("warning: ")
    assert "5.3.5 Không dùng được khóa ký 'own/bus'" in done.stderr
