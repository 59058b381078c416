"""Evidence: receipts, checkpoints of the journal (``bus.checkpoint``) and what vouches for a backup, as signed XML, written and read.

A receipt is ``{urn:govbus:receipt:v1}Receipt`` (schemas/receipt/v1/receipt.xsd), signed XAdES-B-B, enveloped
(ETSI EN 319 132-1, section 6.3). Anyone who holds the site's certificate can verify it without us.

``read`` raises Rejected: 5.7.x for a signature that does not hold or is not the site's, 5.6.x for what is no receipt. It looks at the
octets that were signed and at nothing else. A backup's is ``{urn:govbus:backup:v1}Backup`` with one element ``Manifest``: the SHA-256 of
its manifest. ``seal`` is called inside the store's transaction and must be quick: the text is put
together by hand, the signature is all it costs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from xml.sax.saxutils import escape

from lxml import etree

from bus import checkpoint, lexical, xmlio
from bus.checkpoint import Summary
from bus.errors import LANGUAGES, Rejected
from bus.receipt import Receipt, Status
from bus.signature import xades
from bus.signature.policy import ours
from bus.signer import Signer

NAMESPACE = "urn:govbus:receipt:v1"
BACKUP = "urn:govbus:backup:v1"

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
#: A carriage return written as itself would be read back as a line feed (XML 1.0, section 2.11); this is its canonical form.
_ESCAPES = {"\r": "&#xD;"}
_ATTRIBUTE_ESCAPES = {"\r": "&#xD;", "\n": "&#xA;", "\t": "&#x9;", '"': "&quot;"}
#: Elements of a receipt in the schema's order, with the field each one holds; those before them, and reasons, are treated apart.
_BEFORE_REASONS = (("Recipient", "recipient"), ("Status", "status"), ("Code", "code"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The site's notary. ``trust`` tells whether a certificate (DER) is one of the site's own, past or present.

    Without a ``signer`` it reads only: to seal is Rejected 5.3.5.
    """

    signer: Signer | None
    trust: Callable[[bytes], bool]
    clock: Callable[[], datetime]

    def seal(self, receipt: Receipt) -> bytes:
        """The receipt as signed XML."""
        return xades.sign_canonical(write(receipt), self._sealing(), self.clock())

    def seal_checkpoint(self, summary: Summary) -> bytes:
        """A checkpoint of the journal as signed XML."""
        return xades.sign_canonical(checkpoint.write(summary), self._sealing(), self.clock())

    def read_checkpoint(self, xml: bytes) -> Summary:
        """The checkpoint that these octets prove. Raises Rejected."""
        return checkpoint.parse(xades.verify(xml, self._trusted, policies=ours).octets)

    def read(self, xml: bytes) -> Receipt:
        """The receipt that these octets prove. Raises Rejected."""
        verified = xades.verify(xml, self._trusted, policies=ours)
        return parse(verified.octets)

    def seal_backup(self, manifest: bytes) -> bytes:
        """What vouches for the backup with these octets as its manifest, as signed XML."""
        statement = f'<Backup xmlns="{BACKUP}">{_element("Manifest", sha256(manifest).hexdigest())}</Backup>'
        return xades.sign_canonical(statement.encode(), self._sealing(), self.clock())

    def _sealing(self) -> Signer:
        if self.signer is None:
            raise Rejected("key-unusable", name="own")
        return self.signer

    def _trusted(self, certificate: bytes) -> bool:
        if not self.trust(certificate):
            raise Rejected("certificate-unknown", subject=f"SHA-256 {sha256(certificate).hexdigest()}")
        return True


def backup_signer(xml: bytes, manifest: bytes) -> bytes:
    """The certificate (DER) whose key vouches for the backup with this manifest; whose that is, the caller judges. Raises Rejected."""
    verified = xades.verify(xml, lambda _certificate: True, policies=ours)
    root = xmlio.parse(verified.octets)
    stated = root.findtext(f"{{{BACKUP}}}Manifest", "") if root.tag == f"{{{BACKUP}}}Backup" else ""
    if stated != sha256(manifest).hexdigest():
        raise Rejected("backup-signature")
    return verified.certificate


def write(receipt: Receipt) -> bytes:
    """The receipt as XML, not signed yet, in canonical form (Exclusive XML Canonicalization 1.0): its texts are ``legible``."""
    parts = [_element("ReceiptId", receipt.id), _element("MessageId", receipt.message_id)]
    if receipt.document_id:
        parts.append(_element("DocumentId", receipt.document_id))
    parts.append(_element("Sender", receipt.sender))
    if receipt.authenticated:
        parts.append(f'<Authenticated method="{_attribute(receipt.method)}">{_text(receipt.authenticated)}</Authenticated>')
    parts += [_element(name, getattr(receipt, field)) for name, field in _BEFORE_REASONS]
    parts += [f'<Reason xml:lang="{language}">{_text(receipt.reasons[language])}</Reason>' for language in LANGUAGES]
    parts += [_element("At", _time(receipt.at)), _element("Sha256", receipt.digest), _element("Previous", receipt.previous)]
    return f'<Receipt xmlns="{NAMESPACE}">{"".join(parts)}</Receipt>'.encode()


def _element(name: str, value: str) -> str:
    return f"<{name}>{_text(value)}</{name}>"


def _text(value: str) -> str:
    return escape(value, _ESCAPES)


def _attribute(value: str) -> str:
    """Canonical XML 1.0, section 2.3: white space and quotes in attributes."""
    return escape(value, _ATTRIBUTE_ESCAPES).replace("&gt;", ">")


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def parse(octets: bytes) -> Receipt:
    """The receipt in XML whose signature was verified. Raises Rejected 5.6.x."""
    root = xmlio.parse(octets)
    if root.tag != f"{{{NAMESPACE}}}Receipt":
        raise Rejected("receipt-invalid", detail=str(root.tag))
    try:
        return _receipt(root)
    except (KeyError, ValueError) as error:
        raise Rejected("receipt-invalid", detail=str(error)) from error


def _receipt(root: etree._Element) -> Receipt:
    reasons = {reason.get(_XML_LANG, ""): reason.text or "" for reason in root.iterchildren(f"{{{NAMESPACE}}}Reason")}
    values = {etree.QName(child).localname: child.text or "" for child in root.iterchildren("{*}*")}
    authenticated = root.find(f"{{{NAMESPACE}}}Authenticated")
    return Receipt(
        id=values["ReceiptId"],
        message_id=values["MessageId"],
        document_id=values.get("DocumentId", ""),
        sender=values["Sender"],
        recipient=values["Recipient"],
        status=Status(values["Status"]),
        code=values["Code"],
        reasons={language: reasons[language] for language in LANGUAGES},
        at=lexical.instant(values["At"]),
        digest=values["Sha256"],
        previous=values["Previous"],
        authenticated=values.get("Authenticated", ""),
        method=authenticated.get("method", "") if authenticated is not None else "",
    )
