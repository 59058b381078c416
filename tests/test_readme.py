"""The README is true: its first route is a route that the bus takes."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bus import config


def test_the_first_route_is_free_of_faults(repository: Path, make_site: Callable[..., Path]) -> None:
    """Put in place of the reference routes, the README's example checks clean."""
    example = re.search(r"```yaml\n(routes:.*?)```", (repository / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    site = make_site()
    file = site / "routes.yaml"
    before_routes = file.read_text(encoding="utf-8").split("\nroutes:")[0]
    # An endpoint that no route uses is a fault, and the example uses no agency.
    without_agency = re.sub(r"  agency-service:\n.*\n", "", before_routes)
    file.write_text(f"{without_agency}\n{example[1]}", encoding="utf-8")
    faults = config.check(site, environment=os.environ, clock=lambda: datetime.now(UTC))
    assert [str(fault) for fault in faults] == []


def test_every_command_named_in_the_readme_exists(repository: Path) -> None:
    """What the README tells a newcomer to type can be typed."""
    from bus.cli import app

    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    named = set(re.findall(r"`(?:\.venv/bin/)?govbus ([a-z]+)", (repository / "README.md").read_text(encoding="utf-8")))
    assert named - known == set()
