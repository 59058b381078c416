"""The named points: each is called where it is named, and the plan kills at every one of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

from crash_plan import AT_START, BY_HAND, KINDS, NOT_IN_A_LIFE, SHOTS, Cue

from bus.points import POINTS


def _calls(directory: Path) -> Iterator[ast.Call]:
    for path in sorted(directory.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield node


def test_every_point_is_called_and_every_call_names_a_point(repository: Path) -> None:
    """POINTS and the calls of ``points.reach`` in the program are the same set."""
    called = set()
    for package in ("bus", "adapters"):
        for call in _calls(repository / package):
            if ast.unparse(call.func) == "points.reach":
                [name, *_] = call.args
                assert isinstance(name, ast.Constant), ast.unparse(call)
                called.add(name.value)
    assert called == set(POINTS)


def test_the_plan_kills_at_every_point() -> None:
    """No point is without a shot, and no shot aims at what is no point."""
    assert {shot.visit.split()[0] for shot in SHOTS if shot.cue is not Cue.CLOCK} | BY_HAND == set(POINTS)


def test_the_plan_knows_every_kind_of_transaction(repository: Path) -> None:
    """Each unit that the store hands to its writer is a kind with shots before and after its commit, or is known to be in no life."""
    modules = {path.stem for path in (repository / "bus" / "store").glob("*.py")}
    units = set()
    for node in ast.walk(ast.parse((repository / "bus" / "store" / "store.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "partial":
            module, _, function = ast.unparse(node.args[0]).rpartition(".")
            if module in modules:
                units.add(function)
    assert units == {*KINDS, *AT_START, *NOT_IN_A_LIFE} - {"several"}
    for side in ("before", "after"):
        aimed = {shot.visit.split()[1] for shot in SHOTS if shot.visit.startswith(f"store.{side}-commit")}
        assert aimed == {*KINDS, *AT_START}
