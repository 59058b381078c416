"""The program as its users meet it: real commands, real exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.process import BusProcess


def govbus(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bus", *map(str, arguments)]
    environ = {**os.environ, "GOVBUS_LANG": "en", "GOVBUS_STORE": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=False)


def test_init_writes_a_site_that_checks_clean(tmp_path: Path) -> None:
    """`govbus init` writes a site in which `govbus check` finds no fault, only that its keys are of development; it writes over nothing."""
    site = tmp_path / "site"
    assert govbus("init", site).returncode == 0
    checked = govbus("check", "--site", site, "--json")
    [warning] = json.loads(checked.stdout)
    assert (checked.returncode, warning["warning"], "of development" in warning["text"]) == (0, True, True)
    again = govbus("init", site)
    assert again.returncode == 1
    assert "not empty" in again.stdout


def test_a_fresh_site_keeps_its_secrets_to_its_owner(make_site: Callable[..., Path]) -> None:
    """Private keys and site.env are readable to their owner only."""
    site = make_site()
    secret = [*(site / "certs").rglob("*.key"), site / "site.env"]
    assert secret[:-1]
    assert [path for path in secret if path.stat().st_mode & 0o077] == []


def test_a_wrong_site_is_a_list_of_faults_not_a_traceback(tmp_path: Path) -> None:
    """A directory that is no site is said to be none, with exit code 1."""
    done = govbus("check", "--site", tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("routes.yaml:1:1: cannot be read")
    started = govbus("run", "--site", tmp_path)
    assert started.returncode == 1
    assert "Traceback" not in started.stdout + started.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    """Unknown commands and options are usage errors."""
    assert govbus("no-such-command").returncode == 2
    assert govbus("messages", "--state", "NONSENSE").returncode == 2


@pytest.mark.parametrize("language", ["vi", "en"])
def test_an_unknown_message_is_said_to_be_unknown(make_site: Callable[..., Path], language: str) -> None:
    """`show` and `receipts` of an id that does not exist exit 1 with a sentence in the operator's language."""
    site = make_site()
    sentence = {"vi": "Không có bản tin nào", "en": "There is no message"}[language]
    for command in ("show", "receipts"):
        done = govbus(command, "nothing", "--site", site, GOVBUS_LANG=language)
        assert done.returncode == 1
        assert sentence in done.stdout


def test_a_fresh_site_audits_clean(make_site: Callable[..., Path]) -> None:
    """An empty store is a sound store."""
    done = govbus("audit", "--site", make_site(), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["ok"] is True


@pytest.mark.parametrize("command", ["steps", "adapters", "schema"])
def test_documentation_needs_no_site(command: str, tmp_path: Path) -> None:
    """Steps, adapters and the JSON Schema are documented anywhere."""
    arguments = [command] if command == "schema" else [command, "--json"]
    done = govbus(*arguments)
    assert done.returncode == 0
    assert json.loads(done.stdout)


def test_a_second_daemon_on_one_site_refuses_to_start(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """Two daemons on one embedded store are a mistake, and it is said so, naming the first one's process."""
    first = start(make_site())
    second = govbus("run", "--site", first.site, "--port", "0")
    assert second.returncode == 1
    assert str(first.pid) in second.stdout
    assert first.stop() == 0


def test_a_taken_port_is_said_to_be_taken(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """A port in use is named, without a traceback."""
    first = start(make_site("one"))
    port = first.url.rsplit(":", 1)[1]
    done = govbus("run", "--site", make_site("two"), "--port", port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stdout.replace("\n", "")


def test_sigterm_drains_and_exits_0(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """SIGTERM ends the daemon with exit code 0 and a last line."""
    bus = start(make_site())
    assert bus.stop() == 0
    assert [line["event"] for line in bus.log_lines()][-1] == "bus.stopped"


def test_sighup_reloads_and_a_broken_file_changes_nothing(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """SIGHUP takes up a changed routes.yaml; a broken one is reported and the old generation goes on."""
    bus = start(make_site())
    routes = bus.site / "routes.yaml"
    good = routes.read_text(encoding="utf-8")

    def reload(text: str, event: str) -> dict[str, object]:
        routes.write_text(text, encoding="utf-8")
        begin = len(bus.log_lines())
        bus.send_signal(signal.SIGHUP)
        while True:
            for line in bus.log_lines()[begin:]:
                if line["event"] in {"bus.reloaded", "bus.reload-failed"}:
                    assert line["event"] == event
                    return line

    assert "renamed-statuses" in reload(good.replace("government-statuses", "renamed-statuses"), "bus.reloaded")["routes"]  # type: ignore[operator]
    failed = reload(good.replace("validate:", "vallidate:", 1), "bus.reload-failed")
    assert "did you mean 'validate'" in str(failed["faults"])
    assert bus.stop() == 0


def test_workers_share_one_socket_and_a_dead_one_is_replaced(make_site: Callable[..., Path], start: Callable[..., BusProcess]) -> None:
    """`--workers 2` runs two processes over one socket; one that is killed is replaced, and SIGTERM ends all of them with exit code 0."""

    def ready() -> set[int]:
        return {int(str(line["pid"])) for line in bus.log_lines() if line["event"] == "bus.ready"}

    def until(count: int) -> set[int]:
        deadline = time.monotonic() + 30
        while len(ready()) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return ready()

    bus = start(make_site(), workers=2)
    first = until(2)
    os.kill(min(first), signal.SIGKILL)
    assert len(until(3)) == 3
    assert bus.stop() == 0
    assert [pid for pid in ready() if Path(f"/proc/{pid}").exists()] == []
