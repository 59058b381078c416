"""A thousand routes in one site."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import routes
from sandbox.process import BusProcess


@pytest.mark.parametrize("number", [1_000])
def test_fault_51_a_thousand_routes_to_three_partners_start_rest_and_work(
    number: int, tmp_path: Path, start: Callable[..., BusProcess]
) -> None:
    """A real daemon loads them, costs next to nothing while nothing happens, and takes what only the last of them takes."""
    routes.create(tmp_path / "site", number)
    bus = start(tmp_path / "site")
    assert routes.idle_cost(bus, seconds=2.0) < 0.15
    assert len(asyncio.run(routes.pass_through(bus, [routes.document(1, number - 1)]))) == 1
