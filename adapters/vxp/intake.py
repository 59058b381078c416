"""What the door and the poller share: from a file that came over VXP to an accepted message."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from bus import edxml
from bus.endpoint import Answer, Bus
from bus.errors import Rejected
from bus.message import CONTENT_TYPE, KIND_DOCUMENT, KIND_STATUS, SENDER, Message, bounded
from bus.octets import Body
from bus.offload import offload

#: The protocol's ``messagetype`` and our kind; in the order in which a poller asks for them.
KINDS: Final[Mapping[str, str]] = {"edoc": KIND_DOCUMENT, "status": KIND_STATUS}
TYPES: Final[Mapping[str, str]] = {kind: name for name, kind in KINDS.items()}


def no_check(_described: Mapping[str, str]) -> None:
    """A poller has nothing to compare the file with."""


async def accept(
    bus: Bus, endpoint: str, data: Body, origin: Mapping[str, str], check: Callable[[Mapping[str, str]], None] = no_check
) -> Answer:
    """Hand ``data`` to the bus with the headers it describes itself by, under those in ``origin``: what we know beats what it says.

    ``check`` may object to what the file says of itself. A Rejected for what is no edXML, or from ``check``, is journalled here.
    """
    message = Message(id="", headers=origin, body=data)
    try:
        bounded(data)
        described = await offload(len(data), _describe, message)
        check(described)
    except Rejected as error:
        await bus.refuse(endpoint, origin[SENDER], error, message.digest)
        raise
    headers = {**described, CONTENT_TYPE: "application/xml", **origin}
    return await bus.accept(endpoint, replace(message, headers=headers))


def _describe(message: Message) -> dict[str, str]:
    return edxml.describe(message.outline)
