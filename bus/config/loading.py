"""From a site's directory to a running configuration, or to every fault in it. ``govbus check`` and start-up are this one path.

The order: the file, what stands outside it, who the site is, then the parts one by one, then whether they fit together. A fault in
one part keeps no other part from being checked. Starts nothing, and opens no connection but to tokens with our keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bus import ownership
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
    """A site that is ready to run. ``tls`` is the HTTPS door's key or "none"; ``warnings`` are faults that stop nothing.

    ``faults``: of a site that was surveyed, what keeps it from running; the rest holds what can be used.
    """

    site: Site
    endpoints: Mapping[str, Adapter]
    routes: Mapping[str, Route]
    tls: str
    warnings: tuple[Fault, ...] = ()
    faults: tuple[Fault, ...] = ()
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


def survey(root: Path, *, environment: Mapping[str, str], clock: Clock) -> Loaded:
    """Whatever of the site in ``root`` can be used: for those who must get at its store when its files are broken (D45).

    Where the ``site`` block itself cannot be used, ``organisation`` is "".
    """
    read, broken = reading.salvage(root, environment, clock)
    block = _site_block(read)
    loaded = _parts(read, block or _known(read.data.get("site")))
    if block is not None:
        identity.check_keys(read, loaded.site.keyring, block)
    # What a file in pieces seems to lack would only be the shadow of its fault.
    found = sorted(broken or read.faults.found)
    wrong, warnings = ([fault for fault in found if fault.warning is stops_nothing] for stops_nothing in (False, True))
    return replace(loaded, warnings=tuple(warnings), faults=tuple(wrong))


def _known(given: object) -> SiteBlock:
    """Of a ``site`` block with a fault, the names of its keys, past and present, and its code book; for signing it counts as none."""
    found = given if isinstance(given, dict) else {}
    texts = {name: found[name] for name in ("name", "key", "organisations") if isinstance(found.get(name), str)}
    listed = found.get("past-keys")
    past = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return SiteBlock.model_construct(**({"name": ""} | texts | {"organisation": "", "past_keys": past}))


def _examine(root: Path, environment: Mapping[str, str], clock: Clock) -> tuple[Loaded | None, list[Fault]]:
    try:
        read = reading.read(root, environment, clock)
    except ConfigurationError as error:
        return None, list(error.faults)
    return _loaded(read), read.faults.found


def _loaded(read: reading.Reading) -> Loaded | None:
    """Everything of the site made and checked; None when any of it has a fault."""
    block = _site_block(read)
    # Without a good `site` block the parts are still made, so that they can be checked; they are thrown away.
    loaded = _parts(read, block or SiteBlock.model_construct(organisation="", name=""))
    if block is not None:
        identity.check_keys(read, loaded.site.keyring, block)
    if block is None or read.faults:
        return None
    return replace(loaded, warnings=tuple(sorted(read.faults.found)))


def _site_block(read: reading.Reading) -> SiteBlock | None:
    given = read.data.get("site")
    return read.faults.validated(SiteBlock, given, ("site",), None) if given is not None else None


def _parts(read: reading.Reading, block: SiteBlock) -> Loaded:
    """The parts of the site that could be made; what was wrong with them, and with how they fit together, is noted."""
    site = identity.site(read, block, identity.partners(read))
    surroundings = Surroundings(site.library, identity.own_keys(read), frozenset(read.mapping("partners")))
    builder = Builder(read, site, surroundings)
    endpoints = builder.endpoints()
    routes = builder.routes(endpoints)
    read.elsewhere(ConfigurationError(set(site.warnings)))
    read.faults.found += ownership.exposed(read.root)
    wiring.check(read.data, {name: adapter.features if adapter else None for name, adapter in endpoints.items()}, read.faults)
    ready = {name: adapter for name, adapter in endpoints.items() if adapter}
    return Loaded(site, ready, {route.name: route for route in routes}, block.tls, places=_places(read))


def _places(read: reading.Reading) -> Mapping[str, Mark]:
    named = {name: read.document.mark(("partners", name), key=True) for name in read.mapping("partners")}
    return {"": read.document.mark(("partners",), key=True), **named}
