"""``soap:`` SOAP 1.1 and 1.2 with WS-Security, MTOM and SOAP with Attachments: both sides of ``urn:govbus:exchange:v1``.

With ``path`` the endpoint serves the contract (``door.py``); with ``url`` it calls a partner that serves one (``client.py``).
"""

from adapters.soap.adapter import Adapter
from adapters.soap.options import Options

__all__ = ["Adapter", "Options"]
