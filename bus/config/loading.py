"""From a site's directory to a running configuration, or to every fault in it. ``govbus check`` and start-up are this one path.

The order: the file, what stands outside it, who the site is, then the parts one by one, then whether they fit together. A fault in
one part keeps no other part from being checked. Starts nothing, and opens no connection but to tokens with our keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bus.config import identity, reading, wiring
from bus.config.blocks import SiteBlock
from bus.config.building import Builder
from bus.config.marks import Mark
from bus.endpoint import Adapter
from bus.errors import ConfigurationError, Fault
from bus.options import Surroundings
from bus.route import Route
from bus.site import Clock, Site


@dataclass(frozen=True, slots=True)
class Loaded:
    """A site that is ready to run. ``tls`` is the HTTPS door's key or "none"; ``warnings`` are faults that stop nothing."""

    site: Site
    endpoints: Mapping[str, Adapter]
    routes: Mapping[str, Route]
    tls: str
    warnings: tuple[Fault, ...] = ()
    #: Where routes.yaml names each partner; "" for the block of all of them.
    places: Mapping[str, Mark] = field(default_factory=dict)


def load(root: Path, *, environment: Mapping[str, str], clock: Clock) -> Loaded:
    """The site in ``root``. Raises ConfigurationError with every fault there is."""
    loaded, faults = _examine(root, environment, clock)
    if loaded is None:
        raise ConfigurationError(faults)
    return loaded


def check(root: Path, *, environment: Mapping[str, str], clock: Clock) -> list[Fault]:
    """Every fault and warning of the site in ``root``, in the file's order."""
    return sorted(_examine(root, environment, clock)[1])


def _examine(root: Path, environment: Mapping[str, str], clock: Clock) -> tuple[Loaded | None, list[Fault]]:
    try:
        read = reading.read(root, environment, clock)
    except ConfigurationError as error:
        return None, list(error.faults)
    return _loaded(read), read.faults.found


def _loaded(read: reading.Reading) -> Loaded | None:
    """Everything of the site made and checked; None when any of it has a fault."""
    faults = read.faults
    block = faults.validated(SiteBlock, read.data["site"], ("site",), None) if read.data.get("site") is not None else None
    # Without a good `site` block the parts are still made, so that they can be checked; they are thrown away.
    site = identity.site(read, block or SiteBlock.model_construct(organisation="", name=""), identity.partners(read))
    surroundings = Surroundings(site.library, identity.own_keys(read), frozenset(read.mapping("partners")))
    builder = Builder(read, site, surroundings)
    endpoints = builder.endpoints()
    routes = builder.routes(endpoints)
    wiring.check(read.data, {name: adapter.features if adapter else None for name, adapter in endpoints.items()}, faults)
    if block is not None:
        identity.check_keys(read, site.keyring, block)
    if block is None or faults:
        return None
    ready = {name: adapter for name, adapter in endpoints.items() if adapter}
    warnings = tuple(sorted(faults.found))
    return Loaded(site, ready, {route.name: route for route in routes}, block.tls, warnings, _places(read))


def _places(read: reading.Reading) -> Mapping[str, Mark]:
    named = {name: read.document.mark(("partners", name), key=True) for name in read.mapping("partners")}
    return {"": read.document.mark(("partners",), key=True), **named}
