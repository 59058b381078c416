"""Golden pairs: ``tests/routes/<route>/NN-name.in.xml`` through that route of the reference site gives ``NN-name.out.xml``.

Beside it, ``NN-name.to.txt`` has one line a target: ``target owner receivers…`` ("-" for no owner). A refused message has instead of both
a ``NN-name.refused.txt`` with the code and the reason in both languages. ``tests/routes/<sandbox site>/<route>/`` is the same
for a sandbox site. A route with a gate is asked to admit the message first, as the door does; then it processes what the gate let through.

To add a case, write ``NN-name.in.xml`` and run with ``GOLDEN=write``; then read what was written before committing it.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from routing_messages import NOW, received

from bus import config, message
from bus.errors import Rejected
from bus.exchange import Target
from bus.route import Route
from bus.site import Site

ROUTES = Path(__file__).resolve().parent.parent / "routes"
CASES = sorted(ROUTES.rglob("*.in.xml"))


def outcome(route: Route, site: Site, body: bytes) -> dict[str, bytes]:
    """What becomes of a message on this route, by file suffix."""
    incoming = received(body)
    # The exchange and the agency's service speak for many organisations; at a door of ours everyone speaks for itself.
    speaker = (
        "government-office"
        if route.source == "national-exchange"
        else getattr(site.partner_of(incoming.header(message.FROM)), "name", "nobody")
    )
    incoming = incoming.with_headers(sender=speaker)
    try:
        admitted = route.admit(incoming, NOW) if route.source else None
        exchange = route.process(admitted.message if admitted else incoming, NOW)
    except Rejected as error:
        return {".refused.txt": f"{error.code} {error.at}\n{error.reason('vi')}\n{error.reason('en')}\n".encode()}
    return {".out.xml": exchange.message.body, ".to.txt": "".join(map(_line, exchange.to)).encode()}


def _line(target: Target) -> str:
    return f"{target.name} {target.owner or '-'} {' '.join(target.receivers)}\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.relative_to(ROUTES).as_posix().removesuffix(".in.xml"))
def test_golden(case: Path, load: Callable[[str], config.Loaded]) -> None:
    """Same octets in, same octets out, to the same targets; or the same refusal, word for word."""
    *site_name, route_name = case.parent.relative_to(ROUTES).parts
    loaded = load(site_name[0] if site_name else "")
    actual = outcome(loaded.routes[route_name], loaded.site, case.read_bytes())
    stem = case.name.removesuffix(".in.xml")
    if os.environ.get("GOLDEN") == "write":
        for suffix in (".out.xml", ".to.txt", ".refused.txt"):
            case.with_name(stem + suffix).unlink(missing_ok=True)
        for suffix, data in actual.items():
            case.with_name(stem + suffix).write_bytes(data)
    expected = {path.name.removeprefix(stem): path.read_bytes() for path in case.parent.glob(f"{stem}.*") if path != case}
    assert actual == expected


def test_every_route_has_a_golden_pair(load: Callable[[str], config.Loaded]) -> None:
    """A route without an example is a route that nobody has seen at work."""
    assert {case.parent.name for case in CASES if case.parent.parent == ROUTES} == set(load("").routes)
