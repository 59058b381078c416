"""Sign: seal the document itself with one of our keys. The last step of a route: nothing changes the bytes afterwards.

``xades`` (default) is XAdES baseline B-B (ETSI EN 319 132-1), enveloped: the signing time and certificate are signed too. ``xmldsig`` is
the plain enveloped XML Signature (W3C XML-DSig 1.1), ``xmldsig-by-id`` signs the one ``element`` that is named. Not to be confused with an
endpoint's ``security:``, which signs each sending on the wire and is fresh each time; this signature stays with the document.

Raises Rejected ``statement-foreign`` (5.7.1) for a document that would be a receipt, a checkpoint or a backup's voucher of our own.
"""

from collections.abc import Callable

from lxml import etree
from pydantic import Field

from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.options import KeyName, MethodName, Signed
from bus.receipt import STATEMENTS
from bus.signature import xades, xmldsig, xmldsig_by_id
from bus.signer import Signer
from bus.site import Site


class Options(Signed):
    """With which key, and in which form."""

    key: KeyName | None = Field(None, description="one of our keys; the site's own by default")
    method: MethodName | None = Field(None, description="signature method; by default the usual one for the key's kind")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    signer = site.keyring.signer(options.key or site.key).using(options.method or "")
    write = _PROFILES[options.profile]
    note = f"sign {options.profile} {signer.name} {signer.method.name}"

    def sign(exchange: Exchange) -> Exchange:
        kind = etree.QName(exchange.message.outline)
        if kind.namespace in STATEMENTS:
            raise Rejected("statement-foreign", kind=kind.text)
        return exchange.with_body(exchange.message.hollow.parsed(write(exchange, signer, options.element)), note)

    return sign


def _xades(exchange: Exchange, signer: Signer, _element: str) -> bytes:
    return xades.sign(exchange.message.emptied, signer, exchange.now, exchange.message.hollow)


def _xmldsig(exchange: Exchange, signer: Signer, _element: str) -> bytes:
    return xmldsig.sign_enveloped(exchange.message.emptied, signer, exchange.message.hollow)


def _by_id(exchange: Exchange, signer: Signer, element: str) -> bytes:
    return xmldsig_by_id.sign(exchange.message.emptied, element, signer, exchange.message.hollow)


_PROFILES: dict[str, Callable[[Exchange, Signer, str], bytes]] = {"xades": _xades, "xmldsig": _xmldsig, "xmldsig-by-id": _by_id}
