"""Endpoints and routes made from their blocks: adapters and steps found by name, their options checked, the parts put together."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bus.config import wiring
from bus.config.blocks import BranchBlock, RouteBlock
from bus.config.components import Component, adapters, steps
from bus.config.marks import Path
from bus.config.reading import Reading
from bus.delivery import ROUTE_PREFIX
from bus.endpoint import Adapter
from bus.errors import ConfigurationError, suggestion
from bus.exchange import Step, behind_the_door
from bus.options import Surroundings
from bus.retry import RetryPolicy
from bus.route import Branch, Entry, Route
from bus.site import Site
from bus.steps import authorize

#: The one step whose place matters: nothing may change what it signed.
_LAST_STEP = "sign"


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes the parts of one reading. ``surroundings`` is what their options may name."""

    reading: Reading
    site: Site
    surroundings: Surroundings

    def endpoints(self) -> dict[str, Adapter | None]:
        """Each endpoint's adapter by name, None for one that could not be made."""
        return {name: self._endpoint(name, data) for name, data in self.reading.mapping("endpoints").items()}

    def _endpoint(self, name: str, data: Any) -> Adapter | None:
        found = self._component("adapter", data, ("endpoints", name), adapters())
        made: Adapter | None = self._make(found, lambda component, options: component.make(name, options, self.site)) if found else None
        return made

    def routes(self, endpoints: Collection[str]) -> list[Route]:
        """The routes that could be made, in the file's order."""
        made = [self._route(data, ("routes", index), endpoints) for index, data in enumerate(self.reading.listed("routes"))]
        return [route for route in made if route]

    def _route(self, data: Any, path: Path, endpoints: Collection[str]) -> Route | None:
        block = self.reading.faults.validated(RouteBlock, data, path, self.surroundings)
        listed = data if isinstance(data, dict) else {}
        gate, worked = (self._steps(listed.get(key), (*path, key)) for key in ("gate", "steps"))
        if block is None or gate is None or worked is None:
            return None
        return _route(block, self.site, (*self._first(block, listed), *gate), worked, endpoints, _declared(listed))

    def _first(self, block: RouteBlock, listed: Mapping[str, Any]) -> tuple[Step, ...]:
        """What stands before the gate's own steps: nobody names another as the sender, unless the route says why that is right."""
        if not block.source or wiring.authorizes(listed):
            return ()
        return (authorize.none(block.because),) if block.authorize else (authorize.of_format(self.site),)

    def _steps(self, listed: Any, path: Path) -> tuple[Step, ...] | None:
        """The steps under ``gate`` or ``steps``, or None if any cannot be made."""
        if not isinstance(listed, list):
            return ()
        made = [self._step(one, (*path, index), last=index == len(listed) - 1) for index, one in enumerate(listed)]
        return tuple(step for step in made if step) if all(made) else None

    def _step(self, data: Any, path: Path, *, last: bool) -> Step | None:
        found = self._component("step", data, path, steps())
        if found is None:
            return None
        if found.component.name == _LAST_STEP and ("gate" in path or not last):
            text = f"{_LAST_STEP!r} must be the last of 'steps': nothing may change what is signed"
            self.reading.faults.add(found.path, text, key=True)
        made: Step | None = self._make(found, lambda component, options: component.make(options, self.site))
        if made is None or "gate" in path:
            return made
        return behind_the_door(made, found.component.name, checks=found.component.checks)

    def _component(self, what: str, data: Any, path: Path, known: Mapping[str, Component]) -> "_Named | None":
        """The component that ``{name: options}``, or ``name`` alone, means."""
        name, options, at = (data, None, path) if isinstance(data, str) else ("", None, path)
        if isinstance(data, dict) and len(data) == 1:
            ((name, options),) = data.items()
            at = (*path, name)
        if not name:
            self.reading.faults.add(path, f"must be one {what} with its options, such as {{{next(iter(known), what)}: {{…}}}}")
            return None
        if name not in known:
            self.reading.faults.add(at, f"unknown {what} {name!r}{suggestion(name, known)}", key=True)
            return None
        return _Named(known[name], options, at)

    def _make(self, named: "_Named", make: Any) -> Any:
        """The component with its options, or None: then the fault has been noted."""
        faults = self.reading.faults
        options = faults.validated(named.component.options, named.options, named.path, self.surroundings)
        if options is None:
            return None
        self.reading.demand_outside(options, named.path)
        try:
            return make(named.component, options)
        except ConfigurationError as error:
            self.reading.elsewhere(error)
        except (ValueError, KeyError, OSError) as error:
            # Keys that could not be read have faults of their own already, each in its own file.
            if not isinstance(error, KeyError) or self.site.keyring.signers:
                faults.add(named.path, str(error.args[0] if isinstance(error, KeyError) else error), key=True)
        return None


@dataclass(frozen=True, slots=True)
class _Named:
    """A component as one place of the document names it."""

    component: Component
    options: Any
    path: Path


def _declared(data: Mapping[str, Any]) -> bytes:
    """A route as routes.yaml declares it, written one way only: the file's comments and layout decide nothing."""
    return json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


def _route(
    block: RouteBlock, site: Site, gate: tuple[Step, ...], worked: tuple[Step, ...], endpoints: Collection[str], declared: bytes
) -> Route:
    retry = block.retry
    return Route(
        name=block.name,
        source=block.source,
        site=site,
        when=block.when,
        gate=gate,
        steps=worked,
        choose=tuple(_branch(branch, endpoints) for branch in block.choose),
        to=_targets(block.to, endpoints),
        order_by=block.order_by,
        receipts=block.receipts,
        retry=RetryPolicy(retry.first, retry.factor, retry.most, retry.give_up),
        confirm_within=block.confirm_within,
        block=declared,
    )


def _branch(block: BranchBlock, endpoints: Collection[str]) -> Branch:
    return Branch(block.when, _targets(block.to or block.otherwise, endpoints))


def _targets(entries: list[Entry] | None, endpoints: Collection[str]) -> tuple[Entry, ...]:
    """The entries with their targets' full names: what is no endpoint is a route."""
    named = entries or []
    return tuple(entry if entry.name in endpoints else Entry(ROUTE_PREFIX + entry.name, entry.owners) for entry in named)
