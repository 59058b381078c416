"""What /metrics says of a backlog, as it grows and when it is gone."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import routes
from sandbox.process import BusProcess
from sandbox.unit import Unit


def backlog_of(bus: BusProcess) -> dict[str, float]:
    """The backlog's lines."""
    lines = bus.page("/metrics")[1].splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("govbus_backlog{"))}


async def take_all(bus: BusProcess) -> None:
    """Everybody empties his mailbox: the sender last, as others' acts give him receipts."""
    keys = bus.site / "certs" / "development"
    names = {"digital-agency": "000.00.02.G14", "telecom-authority": "000.00.01.G14"}
    for name, code in names.items():
        async with Unit.connect(bus.url, code, keys=keys / name, trust=bus.site / "certs" / "own") as unit:
            while entries := await unit.pending():
                for entry in entries:
                    await unit.fetch(entry.message_id)
                    await unit.confirm(entry.message_id)


def test_a_backlog_that_is_gone_is_shown_as_nothing(
    tmp_path: Path, start: Callable[..., BusProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the last backlog for ever nor no series: a rule on one that vanishes falls silent."""
    monkeypatch.setattr(routes, "RECEIVERS", routes.RECEIVERS[:1])
    routes.create(tmp_path / "site", 1)
    bus = start(tmp_path / "site")
    asyncio.run(routes.pass_through(bus, [routes.document(1, 0)]))
    assert backlog_of(bus)['govbus_backlog{state="WAITING",target="unit-inbox"}'] >= 2
    asyncio.run(take_all(bus))
    # Where counting takes long, on a busy machine for one, the last count is shown for a while.
    deadline = time.monotonic() + 30
    while any(backlog_of(bus).values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = backlog_of(bus)
    assert (left['govbus_backlog{state="WAITING",target="unit-inbox"}'], set(left.values())) == (0, {0})
