"""docs/scale-out.md and its unit file say what the program does."""

import configparser
import inspect
import re
from pathlib import Path

from bus import daemon, node
from bus.engine import Engine


def test_the_unit_file_gives_the_drain_its_time(repository: Path) -> None:
    """systemd waits longer than requests and deliveries are given to end, and asks only the supervisor to stop."""
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string((repository / "docs" / "govbus.service").read_text(encoding="utf-8"))
    requests = int(re.findall(r"timeout_graceful_shutdown=(\d+)", inspect.getsource(daemon))[0])
    deliveries = inspect.signature(Engine.stop).parameters["grace"].default
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) >= requests + deliveries + 10
    assert (service["KillMode"], service["Restart"]) == ("mixed", "always")


def test_every_variable_of_a_node_is_documented(repository: Path) -> None:
    """What ``bus.node`` reads stands in the table, and nothing else does."""
    read = set(re.findall(r'"(GOVBUS_[A-Z]+)"', inspect.getsource(node))) | {"GOVBUS_STORE"}
    table = set(re.findall(r"^\| `(GOVBUS_[A-Z]+)`", (repository / "docs" / "scale-out.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert table == read
