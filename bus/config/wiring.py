"""Whether the names in routes.yaml fit together: who takes from what, who sends where, and what can never be reached.

Works on the document's plain data, not on the validated models, so that one mistake in a block hides no other and causes none.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bus.config.faults import Faults
from bus.config.marks import Path
from bus.endpoint import Features
from bus.errors import suggestion


@dataclass(frozen=True, slots=True)
class Use:
    """One place where a route names a target: at ``path``, as ``{name: owners}`` if ``mailbox``."""

    name: str
    path: Path
    mailbox: bool


@dataclass(frozen=True, slots=True)
class Outline:
    """A route as far as wiring cares."""

    name: str
    source: str
    receipts: str
    conditional: bool
    confirmed: bool
    uses: tuple[Use, ...]
    path: Path


def outlines(data: Any) -> tuple[Outline, ...]:
    """The routes of the document, whatever shape they are in."""
    routes = data.get("routes") if isinstance(data, dict) else None
    listed = routes if isinstance(routes, list) else []
    return tuple(_outline(route, ("routes", index)) for index, route in enumerate(listed) if isinstance(route, dict))


def _outline(route: Mapping[str, Any], path: Path) -> Outline:
    return Outline(
        name=_word(route.get("name")),
        source=_word(route.get("from")),
        receipts=_word(route.get("receipts")),
        conditional="when" in route,
        confirmed="confirm-within" in route,
        uses=tuple(_uses(route, path)),
        path=path,
    )


def _uses(route: Mapping[str, Any], path: Path) -> Iterator[Use]:
    yield from _entries(route.get("to"), (*path, "to"))
    choose = route.get("choose")
    for index, branch in enumerate(choose if isinstance(choose, list) else []):
        for key in ("to", "otherwise"):
            if isinstance(branch, dict):
                yield from _entries(branch.get(key), (*path, "choose", index, key))


def _entries(value: Any, path: Path) -> Iterator[Use]:
    if isinstance(value, str):
        yield Use(value, path, mailbox=False)
    elif isinstance(value, dict):
        yield from (Use(str(name), (*path, name), mailbox=True) for name in value)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _entries(one, (*path, index))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def check(data: Any, endpoints: Mapping[str, Features | None], faults: Faults) -> None:
    """Add every fault of wiring. ``endpoints`` gives what each can do, None where that is not known."""
    routes = outlines(data)
    internal = {route.name for route in routes if route.name and not route.source}
    _check_names(routes, endpoints, faults)
    for route in routes:
        _check_source(route, endpoints, faults)
        _check_receipts(route, endpoints, faults)
        block = data["routes"][route.path[1]]
        _check_authorized(block, route, faults)
        _check_relayed(block, route, endpoints, faults)
        if route.confirmed and not any(use.mailbox for use in route.uses):
            faults.add((*route.path, "confirm-within"), "'confirm-within' has no effect: this route puts nothing into a mailbox", key=True)
        for use in route.uses:
            _check_use(use, endpoints, internal, {one.name for one in routes}, faults)
    _check_reached(routes, internal, faults)
    _check_branches(data, routes, faults)
    _check_cycles(routes, internal, faults)
    _check_used(routes, endpoints, faults)


def _check_names(routes: Collection[Outline], endpoints: Collection[str], faults: Faults) -> None:
    seen: set[str] = set()
    for route in routes:
        if route.name and route.name in seen:
            faults.add((*route.path, "name"), f"there is already a route {route.name!r}")
        if route.name in endpoints and not route.source:
            faults.add((*route.path, "name"), f"{route.name!r} is an endpoint's name: a target could mean either; rename the route")
        seen.add(route.name)


def _check_source(route: Outline, endpoints: Mapping[str, Features | None], faults: Faults) -> None:
    if route.source:
        _check_endpoint(route.source, (*route.path, "from"), "accepts", "takes nothing in", endpoints, faults)


def authorizes(route: Mapping[str, Any]) -> bool:
    """Whether the route's own gate holds the sender that a message names against the partner."""
    gate = route.get("gate")
    steps = [step.get("authorize") for step in gate if isinstance(step, dict)] if isinstance(gate, list) else []
    return any(isinstance(options, dict) and options.get("sender") for options in steps)


def _check_authorized(route: Mapping[str, Any], outline: Outline, faults: Faults) -> None:
    """``authorize: none`` has its reason, and a gate to be said of."""
    if "authorize" in route:
        at = (*outline.path, "authorize")
        if not _word(route.get("because")).strip():
            faults.add(at, "'authorize: none' needs its reason: write 'because: …', in words that an auditor understands", key=True)
        if authorizes(route):
            faults.add(at, "'authorize: none' contradicts the gate's own 'authorize' with 'sender'; remove one of them", key=True)
        elif not outline.source:
            faults.add(at, "'authorize' has no effect on a route without 'from': senders are authorised where messages come in", key=True)
    elif "because" in route:
        faults.add((*outline.path, "because"), "'because' is the reason of 'authorize: none', which is not there", key=True)


def _check_relayed(route: Mapping[str, Any], outline: Outline, endpoints: Mapping[str, Features | None], faults: Faults) -> None:
    """A hub relays what others wrote, which is refused unless the route says that it is right."""
    features = endpoints.get(outline.source)
    if features and features.relays and not {"authorize", "because"} & route.keys() and not authorizes(route):
        faults.warn((*outline.path, "from"), "relay-unauthorised", endpoint=outline.source)


def _check_receipts(route: Outline, endpoints: Mapping[str, Features | None], faults: Faults) -> None:
    if route.receipts:
        _check_endpoint(route.receipts, (*route.path, "receipts"), "mailbox", "has no mailboxes", endpoints, faults)


def _check_use(
    use: Use, endpoints: Mapping[str, Features | None], internal: Collection[str], routes: Collection[str], faults: Faults
) -> None:
    if use.mailbox:
        _check_endpoint(use.name, use.path, "mailbox", "has no mailboxes", endpoints, faults, key=True)
    elif use.name in endpoints:
        features = endpoints[use.name]
        if features and not features.sends:
            cure = f"; write {{{use.name}: To/OrganId}} to put it into mailboxes" if features.mailbox else ""
            faults.add(use.path, f"endpoint {use.name!r} cannot send{cure}")
    elif use.name in routes and use.name not in internal:
        faults.add(use.path, f"route {use.name!r} takes from an endpoint; only a route without 'from' can be a target")
    elif use.name not in internal:
        faults.add(use.path, f"unknown target {use.name!r}{suggestion(use.name, {*endpoints, *internal})}")


def _check_endpoint(
    name: str, path: Path, feature: str, lacking: str, endpoints: Mapping[str, Features | None], faults: Faults, *, key: bool = False
) -> None:
    if name not in endpoints:
        faults.add(path, f"unknown endpoint {name!r}{suggestion(name, endpoints)}", key=key)
        return
    features = endpoints[name]
    if features and not getattr(features, feature):
        faults.add(path, f"endpoint {name!r} {lacking}", key=key)


def _check_reached(routes: Collection[Outline], internal: Collection[str], faults: Faults) -> None:
    """Every route must be able to get a message: from its endpoint, unless an earlier route takes all; or from another route."""
    taken: dict[str, str] = {}
    targeted = {use.name for route in routes for use in route.uses}
    for route in routes:
        if route.source in taken:
            text = f"route {route.name!r} is never reached: {taken[route.source]!r} above takes everything from {route.source!r}"
            faults.add((*route.path, "name"), text)
        if route.source and not route.conditional:
            taken.setdefault(route.source, route.name)
        if route.name in internal and route.name not in targeted:
            faults.add((*route.path, "name"), f"route {route.name!r} is never reached: it has no 'from' and no route sends to it")
        if route.conditional and not route.source:
            faults.add(
                (*route.path, "when"), "'when' has no effect on a route without 'from'; put it into the 'choose' that leads here", key=True
            )


def _check_branches(data: Any, routes: Collection[Outline], faults: Faults) -> None:
    for outline in routes:
        route = data["routes"][outline.path[1]]
        choose = route.get("choose")
        if choose is None and route.get("to") is None:
            faults.add(outline.path, f"route {outline.name!r} leads nowhere: give it 'to' or 'choose'")
        elif choose is not None and route.get("to") is not None:
            faults.add((*outline.path, "to"), "a route has 'to' or 'choose', not both", key=True)
        if isinstance(choose, list):
            _check_choose(choose, (*outline.path, "choose"), faults)


def _check_choose(choose: list[Any], path: Path, faults: Faults) -> None:
    conditions: set[str] = set()
    closed = False
    for index, branch in enumerate(choose):
        if not isinstance(branch, dict):
            continue
        at = (*path, index)
        shape = {key for key in ("when", "to", "otherwise") if branch.get(key) is not None}
        condition = _word(branch.get("when"))
        if shape not in ({"when", "to"}, {"otherwise"}):
            faults.add(at, "a branch is {when: …, to: […]} or {otherwise: […]}")
        elif closed:
            faults.add(at, "this branch is never reached: 'otherwise' stands above it; it must be last")
        elif condition and condition in conditions:
            faults.add(at, "this branch is never reached: a branch above has the same 'when'")
        closed = closed or "otherwise" in shape
        conditions.add(condition)


def _check_cycles(routes: Collection[Outline], internal: Collection[str], faults: Faults) -> None:
    """A message must not go round: follow each route's targets depth first, and report the use that closes a circle, once."""
    by_name = {route.name: route for route in routes}
    done: set[str] = set()

    def follow(name: str, trail: tuple[str, ...]) -> None:
        for use in by_name[name].uses:
            if use.mailbox or use.name not in internal:
                continue
            if use.name in trail:
                circle = " → ".join((*trail[trail.index(use.name) :], use.name))
                faults.add(use.path, f"routes go round in a circle: {circle}")
            elif use.name not in done:
                follow(use.name, (*trail, use.name))
        done.add(name)

    for route in routes:
        if route.name not in done:
            follow(route.name, (route.name,))


def _check_used(routes: Collection[Outline], endpoints: Collection[str], faults: Faults) -> None:
    used = {name for route in routes for name in (route.source, route.receipts, *(use.name for use in route.uses))}
    # A misspelt name has its fault already; the endpoint that was meant is not unused as well.
    meant = {near for name in used.difference(endpoints) for near in difflib.get_close_matches(name, endpoints, n=1)}
    for name in endpoints:
        if name not in used | meant:
            faults.add(("endpoints", name), f"endpoint {name!r} is not used by any route", key=True)
