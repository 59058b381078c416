"""Enrich: name the organisations that an edXML message gives only by code, from the code book (EIP *Content Enricher*).

A ``From`` or ``To`` without ``OrganName`` (or with an empty one) gets the name that its code has on that day. A name that is there is
never changed, nor is a code the book does not know. A body in which nothing is missing passes octet for octet; otherwise it is written
anew, so a signature over it does not survive. QCVN 102:2016/BTTTT, 1.1 and 1.2.
"""

from datetime import date
from typing import Literal

from lxml import etree
from pydantic import Field

from bus.edxml.frame import NAMESPACE, child, children, frame, text
from bus.edxml.model import VIETNAM
from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.options import Model
from bus.site import Site

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


class Options(Model):
    """Whom to name."""

    whom: tuple[Literal["From", "To"], ...] = Field(("From", "To"), min_length=1, description="which of From and To")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""

    def enrich(exchange: Exchange) -> Exchange:
        today = exchange.now.astimezone(VIETNAM).date()
        tree = exchange.message.own_outline()
        try:
            header = frame(tree).message_header
        except Rejected:
            return exchange
        organs = [organ for name in options.whom for organ in children(header, name)]
        named = sum(_name(organ, today, site) for organ in organs)
        if not named:
            return exchange.with_note("enrich nothing")
        body = exchange.message.hollow.parsed(_DECLARATION + etree.tostring(tree, encoding="UTF-8", xml_declaration=False))
        return exchange.with_body(body, f"enrich {named} names")

    return enrich


def _name(organ: etree._Element, today: date, site: Site) -> bool:
    """Give one From or To its name; whether there was one to give."""
    code, name = child(organ, "OrganId"), child(organ, "OrganName")
    found = site.organisations.find(text(code), today) if code is not None and not text(name) else None
    if code is None or found is None:
        return False
    if name is None:
        # The standard's order: OrganId, OrganizationInCharge, OrganName.
        before = child(organ, "OrganizationInCharge")
        name = etree.SubElement(organ, f"{{{NAMESPACE}}}OrganName", nsmap={code.prefix: NAMESPACE})
        (code if before is None else before).addnext(name)
    name.text = found.name
    return True
