"""Trace: add our hop to an edXML document's trace list, as the national exchange asks of everyone who handles it.

The hop is spliced in: every other octet of the body stays as it was. A status has no trace list and passes unchanged; so does a body
that is not edXML. QCVN 102:2016/BTTTT, 2.1 (TraceHeader).
"""

from pydantic import Field

from bus import edxml
from bus.exchange import Exchange, Step
from bus.message import KIND, KIND_DOCUMENT
from bus.options import Model, OrganCode
from bus.site import Site


class Options(Model):
    """Whose hop it is."""

    organisation: OrganCode | None = Field(None, description="organisation code to write; the site's own by default")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    organisation = options.organisation or site.organisation

    def trace(exchange: Exchange) -> Exchange:
        if exchange.message.header(KIND) != KIND_DOCUMENT:
            return exchange
        message = exchange.message
        traced = edxml.append_trace(message.emptied, organisation, exchange.now)
        return exchange.with_body(message.hollow.filled(traced), f"trace {organisation}")

    return trace
