"""The edXML codec: QCVN 102:2016/BTTTT with Amendment 1:2022, as the national document exchange really speaks it.

Reads tolerantly, writes strictly. ``parse`` first; then ``describe`` and ``view`` for the bus itself, ``read`` for the whole content.
"""

from bus.edxml.files import Attached, attachments, check_files, each_attachment, media_type
from bus.edxml.frame import NAMESPACE
from bus.edxml.model import Attachment, Document, StatusMessage
from bus.edxml.ordering import said_the_same
from bus.edxml.reader import read
from bus.edxml.trace import append_trace
from bus.edxml.view import describe, receivers, view
from bus.edxml.writer import write_document, write_status
from bus.mending import parse

__all__ = [
    "NAMESPACE",
    "Attached",
    "Attachment",
    "Document",
    "StatusMessage",
    "append_trace",
    "attachments",
    "check_files",
    "describe",
    "each_attachment",
    "media_type",
    "parse",
    "read",
    "receivers",
    "said_the_same",
    "view",
    "write_document",
    "write_status",
]
