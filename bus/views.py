"""What XPaths of routes.yaml are asked of: the edXML view of a message, or its root element where the body is not edXML.

A view is for reading: the same one is handed out again for the same message. Raises what ``Message.tree`` raises.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

from lxml import etree

from bus import edxml
from bus.errors import Rejected
from bus.message import Message
from bus.octets import SMALL
from bus.site import Site


def of(message: Message, site: Site) -> etree._Element:
    """The context node for every XPath about ``message``."""
    look = _view if len(message.body) <= SMALL else _view.__wrapped__
    return look(message.outline, site.organisations.aliases)


# The routes of one endpoint, the gate and the router ask one message in turn, and its next hop asks it again: of a small body the tree is
# the same then (``Message.tree``). Few only: each holds its tree; of a large body, none.
@lru_cache(maxsize=16)
def _view(tree: etree._Element, aliases: Callable[[str], Iterable[str]]) -> etree._Element:
    try:
        return edxml.view(tree, aliases)
    except Rejected as error:
        if error.key != "edxml-invalid":
            raise
        return tree
