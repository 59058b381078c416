"""Sign: seal the document itself, enveloped, with one of our keys. The last step of a route: nothing changes the bytes afterwards.

``xades`` (default) is XAdES baseline B-B (ETSI EN 319 132-1): the signing time and certificate are signed too. ``xmldsig`` is the plain
XML Signature (W3C XML-DSig 1.1). Not to be confused with an endpoint's ``security:``, which signs each sending on the wire and is fresh
each time; this signature stays with the document.
"""

from typing import Literal

from pydantic import Field

from bus.exchange import Exchange, Step
from bus.options import KeyName, MethodName, Model
from bus.signature import xades, xmldsig
from bus.site import Site


class Options(Model):
    """With which key, and in which form."""

    key: KeyName | None = Field(None, description="one of our keys; the site's own by default")
    profile: Literal["xades", "xmldsig"] = Field("xades", description="form of the signature")
    method: MethodName | None = Field(None, description="signature method; by default the usual one for the key's kind")


def build(options: Options, site: Site) -> Step:
    """The step for one place in routes.yaml."""
    signer = site.keyring.signer(options.key or site.key).using(options.method or "")
    note = f"sign {options.profile} {signer.name} {signer.method.name}"

    def sign(exchange: Exchange) -> Exchange:
        body, hollow = exchange.message.emptied, exchange.message.hollow
        signed = (
            xades.sign(body, signer, exchange.now, hollow) if options.profile == "xades" else xmldsig.sign_enveloped(body, signer, hollow)
        )
        return exchange.with_body(hollow.parsed(signed), note)

    return sign
