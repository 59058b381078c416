"""XML Encryption of a SOAP Body: for partners that want it beside TLS. The extra ``[xmlenc]``: libxmlsec does the cryptography.

``Recipient.enclose`` promises an envelope whose Body's content only the holder of the recipient's key can read: a fresh AES-256-GCM key for
each call, under RSA-OAEP. It comes after signing: what a signature is made over is not what travels.

``Holder.open`` promises the envelope as it was before: the decrypted octets come through the ordinary parser with its limits, in the
namespaces of the Body, and the signature over the Body is verified on what they say. One EncryptedKey, one EncryptedData, the Body's only
child; AES-GCM and RSA-OAEP, nothing else: CBC and PKCS#1 v1.5 have padding oracles (XML Encryption 1.1 sections 6.1.4 and 6.1.5). SHA-1
counts in OAEP, whose older name means it: nothing there rests on collisions (RFC 8017 section 7.1), and older stacks know nothing else.
Of the partner's markup nothing but two base64 texts reaches libxmlsec, in an element that is written here.

Every failure is the same: Rejected ``decryption-failed`` (5.7.5), whatever it was, so that nobody learns from it. ``security-missing``
(5.7.0) is raised for what is not encrypted though it must be. Constructors raise ValueError for a key that cannot be used, and where the
extra is not installed. libxmlsec draws keys and initialisation vectors itself.

Standards: XML Encryption 1.1 sections 3 (EncryptedData, EncryptedKey), 4.4 (processing), 5.2.4 (AES-GCM), 5.5.2 (RSA-OAEP); WS-Security 1.1
(SOAP Message Security) section 9; X.509 Certificate Token Profile 1.1 section 3.2.3.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from bus import roles
from bus.errors import Rejected
from bus.hollow import Hollow
from bus.octets import SMALL, Body, whole
from bus.signature.profile import DS, SHA256, WSSE
from bus.signer import Signer
from bus.xmlio import canonicalize, parse, value_prefixes

XENC = "http://www.w3.org/2001/04/xmlenc#"
XENC11 = "http://www.w3.org/2009/xmlenc11#"
ENCRYPTED_DATA = f"{{{XENC}}}EncryptedData"
ENCRYPTED_KEY = f"{{{XENC}}}EncryptedKey"
SECURITY = f"{{{WSSE}}}Security"
#: Characters of base64 in one encrypted Body: it is in memory several times while it is worked.
MOST = 48 << 20

_SHA512 = f"{XENC}sha512"
_OAEP_MGF1P, _OAEP = f"{XENC}rsa-oaep-mgf1p", f"{XENC11}rsa-oaep"
_MGF1 = f"{XENC11}mgf1sha"
_AES_256 = f"{XENC11}aes256-gcm"
_CONTENT = frozenset({f"{XENC11}aes128-gcm", _AES_256})
#: (method, digest, mask): what is not said is SHA-1 (section 5.5.2), and the older name has that mask by definition.
_TRANSPORT = frozenset(
    {
        *((_OAEP_MGF1P, digest, "") for digest in ("", f"{DS}sha1", SHA256, _SHA512)),
        (_OAEP, SHA256, ""),
        (_OAEP, SHA256, f"{_MGF1}256"),
        (_OAEP, _SHA512, f"{_MGF1}512"),
    }
)
_TYPES = frozenset({f"{XENC}Content", f"{XENC}Element"})
_KEY_NAME = "key"
#: All that libxmlsec ever reads.
_TEMPLATE = (
    f'<xenc:EncryptedData xmlns:xenc="{XENC}" xmlns:xenc11="{XENC11}" xmlns:ds="{DS}"><xenc:EncryptionMethod Algorithm="{{content}}"/>'
    "<ds:KeyInfo><xenc:EncryptedKey>{transport}"
    f"<ds:KeyInfo><ds:KeyName>{_KEY_NAME}</ds:KeyName></ds:KeyInfo>"
    "<xenc:CipherData><xenc:CipherValue>{key}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>"
    "<xenc:CipherData><xenc:CipherValue>{data}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>"
)
#: What is sent: the key in the Security header, which names the data; the data in the Body, which names the key.
_SENT_KEY = (
    f'<xenc:EncryptedKey xmlns:xenc="{XENC}" xmlns:xenc11="{XENC11}" xmlns:ds="{DS}" Id="EK-{{id}}">{{transport}}'
    f'<ds:KeyInfo><wsse:SecurityTokenReference xmlns:wsse="{WSSE}"><ds:X509Data><ds:X509IssuerSerial>'
    "<ds:X509IssuerName>{issuer}</ds:X509IssuerName><ds:X509SerialNumber>{serial}</ds:X509SerialNumber>"
    "</ds:X509IssuerSerial></ds:X509Data></wsse:SecurityTokenReference></ds:KeyInfo>"
    "<xenc:CipherData><xenc:CipherValue>{key}</xenc:CipherValue></xenc:CipherData>"
    '<xenc:ReferenceList><xenc:DataReference URI="#ED-{id}"/></xenc:ReferenceList></xenc:EncryptedKey>'
)
_SENT_DATA = (
    f'<xenc:EncryptedData xmlns:xenc="{XENC}" xmlns:ds="{DS}" Id="ED-{{id}}" Type="{XENC}Content">'
    f'<xenc:EncryptionMethod Algorithm="{_AES_256}"/><ds:KeyInfo><wsse:SecurityTokenReference xmlns:wsse="{WSSE}">'
    '<wsse:Reference URI="#EK-{id}"/></wsse:SecurityTokenReference></ds:KeyInfo>'
    "<xenc:CipherData><xenc:CipherValue>{data}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData>"
)


def _transport(method: str, digest: str = "", mask: str = "") -> str:
    """The EncryptionMethod of a key, in the prefixes of the templates."""
    hashed = f'<ds:DigestMethod Algorithm="{digest}"/>' if digest else ""
    masked = f'<xenc11:MGF Algorithm="{mask}"/>' if mask else ""
    return f'<xenc:EncryptionMethod Algorithm="{method}">{hashed}{masked}</xenc:EncryptionMethod>'


Transport = Literal["rsa-oaep", "rsa-oaep-mgf1p"]
#: How we wrap a key: with SHA-256 throughout, or as stacks know it that are older than XML Encryption 1.1.
_OURS: Mapping[Transport, str] = {"rsa-oaep": _transport(_OAEP, SHA256, f"{_MGF1}256"), "rsa-oaep-mgf1p": _transport(_OAEP_MGF1P)}


class Recipient:
    """A partner as one that is encrypted for."""

    def __init__(self, certificate: x509.Certificate, transport: Transport = "rsa-oaep") -> None:
        """Raises ValueError for a certificate whose key is not for that."""
        _check_for_transport(certificate)
        self._certificate = certificate
        self._transport = _OURS[transport]
        self._library = _library()
        self._manager = _manager(self._library, certificate.public_bytes(Encoding.DER), self._library.KeyFormat.CERT_DER)

    @property
    def certificate(self) -> x509.Certificate:
        """Whose key it is; its dates are the caller's matter."""
        return self._certificate

    def enclose(self, envelope: Body) -> bytes:
        """The envelope with its Body's content encrypted. Raises Rejected ``xml-limit`` for one that is too large."""
        root = parse(whole(envelope))
        body = root[-1]
        written = canonicalize(body, inclusive_prefixes=value_prefixes(body))
        # The canonical form has no tag but the first before the content, and none but the last after it.
        content = written[written.index(b">") + 1 : written.rindex(b"</")]
        if len(content) * 4 > MOST * 3:
            raise Rejected("xml-limit", limit="bytes to be encrypted", value=len(content), most=MOST * 3 // 4)
        key, data = self._encrypted(content)
        identifier = hashlib.sha256(key.encode()).hexdigest()[:32]
        for child in list(body):
            body.remove(child)
        body.text = None
        body.append(parse(_SENT_DATA.format(id=identifier, data=data).encode()))
        issuer, serial = escape(self._certificate.issuer.rfc4514_string()), self._certificate.serial_number
        _security(root).insert(
            0, parse(_SENT_KEY.format(id=identifier, transport=self._transport, issuer=issuer, serial=serial, key=key).encode())
        )
        return etree.tostring(root, encoding="UTF-8", xml_declaration=True)

    def _encrypted(self, content: bytes) -> tuple[str, str]:
        """The wrapped key and the encrypted content, in base64."""
        library = self._library
        context = library.EncryptionContext(self._manager)
        context.key = library.Key.generate(library.constants.KeyDataAes, 256, library.constants.KeyDataTypeSession)
        made = context.encrypt_binary(
            parse(_TEMPLATE.format(content=_AES_256, transport=self._transport, key="", data="").encode()), content
        )
        key, data = ("".join((value.text or "").split()) for value in made.iter(f"{{{XENC}}}CipherValue"))
        return key, data


class Holder:
    """We, as those who are encrypted for: with one key, or with several while one replaces another."""

    def __init__(self, signers: Sequence[Signer], *, required: bool = True) -> None:
        """``required``: what is not encrypted is refused. Raises ValueError for keys that are not RSA, or lie in a token."""
        for signer in signers:
            _check_rsa(signer.certificate)
        self._required = required
        self._library = _library()
        keys = (signer.in_memory.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for signer in signers)
        self._managers = [_manager(self._library, key, self._library.KeyFormat.PEM) for key in keys]

    def open(self, root: etree._Element, hollow: Hollow) -> etree._Element | None:
        """The envelope with its Body decrypted, as a tree of its own; None where it is not encrypted and need not be.

        Large files in what was encrypted are left to ``hollow``, as in any other message. Changes ``root``.
        """
        body = root[-1]
        found = list(root.iter(ENCRYPTED_DATA, ENCRYPTED_KEY))
        if not found and not self._required:
            return None
        if not found:
            raise Rejected("security-missing", check="the Body is not encrypted", at="/Envelope/Body")
        try:
            sealed = _Sealed.read(root, found, hollow)
            return _put(root, sealed, _checked(body, self._decrypted(sealed), hollow))
        except (Rejected, ValueError):
            raise Rejected("decryption-failed", at="/Envelope/Body") from None

    def _decrypted(self, sealed: "_Sealed") -> bytes:
        for manager in self._managers:
            try:
                octets = self._library.EncryptionContext(manager).decrypt(parse(sealed.template))
            except self._library.Error:
                continue
            if isinstance(octets, bytes):
                return octets
        raise ValueError("no key of ours opens it")

    def __repr__(self) -> str:
        return "Holder()"


@dataclass(frozen=True, slots=True)
class _Sealed:
    """The two elements that were found good in form, and ``template``: the same as libxmlsec is given it."""

    data: etree._Element
    key: etree._Element
    template: bytes = field(repr=False)

    @classmethod
    def read(cls, root: etree._Element, found: Sequence[etree._Element], hollow: Hollow) -> "_Sealed":
        """Raises ValueError for whatever is not exactly as it must be."""
        body, key = root[-1], next((one for one in found if one.tag == ENCRYPTED_KEY), None)
        if len(found) != 2 or key is None or len(body) != 1 or body[0].tag != ENCRYPTED_DATA:  # noqa: PLR2004 - one of each
            raise ValueError("there must be one EncryptedKey, and one EncryptedData as the Body's only child")
        data = body[0]
        if data.get("Type") not in _TYPES:
            raise ValueError("what is encrypted must be an element or its content")
        method, info, cipher = _parts(data, "EncryptionMethod", "KeyInfo", "CipherData")
        _check_place(root, key, info)
        content = method.get("Algorithm", "") if method is not None and not len(method) else ""
        if content not in _CONTENT:
            raise ValueError("the content's algorithm is not AES-GCM")
        key_method, _, key_cipher, references = _parts(key, "EncryptionMethod", "KeyInfo", "CipherData", "ReferenceList")
        if references is not None and [(one.tag, one.get("URI")) for one in references] != [(f"{{{XENC}}}DataReference", _name(data))]:
            raise ValueError("the key is for something else")
        return cls(data, key, _template(content, key_method, _base64(key_cipher, hollow), _base64(cipher, hollow)))


def _check_place(root: etree._Element, key: etree._Element, info: etree._Element | None) -> None:
    """The key stands in the Security header, or in the data's own KeyInfo (XML Encryption 1.1 section 3.5.1); a name of it must be its."""
    parent = key.getparent()
    if info is not None and parent is info and len(info) == 1:
        return
    header = root[0] if len(root) > 1 else None
    if parent is None or parent not in roles.ours(header, SECURITY):
        raise ValueError("the key is neither in the Security header nor with the data")
    named = [] if info is None else [one.get("URI") for one in info.iter(f"{{{WSSE}}}Reference")]
    if any(name != _name(key) for name in named):
        raise ValueError("the data names another key")


def _template(content: str, method: etree._Element | None, key: str, data: str) -> bytes:
    if method is None:
        raise ValueError("the key's algorithm is missing")
    children = {etree.QName(one).localname: one.get("Algorithm", "") for one in method}
    transport, digest, mask = method.get("Algorithm", ""), children.get("DigestMethod", ""), children.get("MGF", "")
    known = set(children) <= {"DigestMethod", "MGF"} and len(children) == len(method)
    if not known or (transport, digest, mask) not in _TRANSPORT:
        raise ValueError("the key's algorithm is not RSA-OAEP as it is known here")
    return _TEMPLATE.format(content=content, transport=_transport(transport, digest, mask), key=key, data=data).encode()


def _parts(element: etree._Element, *names: str) -> list[etree._Element | None]:
    """The children by name, in order, each at most once and nothing else among them."""
    tags = [f"{{{DS if name == 'KeyInfo' else XENC}}}{name}" for name in names]
    there = [child.tag for child in element]
    if there != [tag for tag in tags if tag in there]:
        raise ValueError(f"unexpected content of {element.tag}")
    return [element.find(tag) for tag in tags]


def _base64(cipher: etree._Element | None, hollow: Hollow) -> str:
    """The text of the CipherValue: base64 and nothing else. A CipherReference would have us fetch something."""
    if cipher is None or [child.tag for child in cipher] != [f"{{{XENC}}}CipherValue"] or len(cipher[0]):
        raise ValueError("there must be one CipherValue")
    text = hollow.text(cipher[0])
    if len(text) > MOST:
        raise ValueError("too large")
    written = whole(text).translate(None, b" \t\r\n")
    if not written or written.translate(None, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="):
        raise ValueError("a CipherValue is not base64")
    return written.decode("ascii")


def _name(element: etree._Element) -> str:
    return f"#{element.get('Id', '')}"


def _checked(body: etree._Element, octets: bytes, hollow: Hollow) -> bytes:
    """The decrypted octets, less the insides of large files, once the ordinary parser has found one element in them, and no other text."""
    emptied = hollow.emptied(octets) if len(octets) > SMALL else octets
    names = ((f"xmlns:{prefix}" if prefix else "xmlns", uri) for prefix, uri in body.nsmap.items())
    start = "".join(f" {name}={quoteattr(uri)}" for name, uri in names).encode()
    content = parse(b"<content%b>%b</content>" % (start, emptied))
    # An end tag in the octets would have closed our element, and what followed it would not have been well-formed.
    if len(content) != 1 or next(content.iter(ENCRYPTED_DATA, ENCRYPTED_KEY), None) is not None:
        raise ValueError("what was encrypted is not one element, or is encrypted again")
    return emptied


def _put(root: etree._Element, sealed: "_Sealed", octets: bytes) -> etree._Element:
    """The envelope with the octets in the place of what was sealed. As text: in another tree, elements may change their prefixes."""
    parent = sealed.key.getparent()
    if parent is not None and parent.tag == SECURITY:
        parent.remove(sealed.key)
    # The parser dropped every comment, so there is none but this.
    mark = etree.Comment("opened")
    mark.tail = sealed.data.tail
    root[-1].replace(sealed.data, mark)
    return parse(etree.tostring(root, encoding="UTF-8").replace(b"<!--opened-->", octets, 1))


def _security(root: etree._Element) -> etree._Element:
    """The Security header, made where there is none."""
    soap = etree.QName(root).namespace
    if len(root) == 1:
        root.insert(0, etree.Element(f"{{{soap}}}Header"))
    found = next(roles.ours(root[0], SECURITY), None)
    if found is None:
        found = etree.SubElement(root[0], SECURITY, {f"{{{soap}}}mustUnderstand": "1"}, nsmap={"wsse": WSSE})
    return found


def _manager(library: Any, key: bytes, form: Any) -> Any:
    """A keys manager with this key alone, made once (it costs 11 ms) and not changed again, so that threads may share it."""
    manager, made = library.KeysManager(), library.Key.from_memory(key, form)
    made.name = _KEY_NAME
    manager.add_key(made)
    return manager


def _check_for_transport(certificate: x509.Certificate) -> None:
    _check_rsa(certificate)
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_encipherment:
        raise ValueError("the certificate was not issued for encryption: its key usage has no keyEncipherment")


def _check_rsa(certificate: x509.Certificate) -> None:
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        raise ValueError("XML Encryption needs an RSA key (RSA-OAEP), and this certificate's is none")  # noqa: TRY004 - a wrong file


def _library() -> Any:
    """python-xmlsec, of the optional extra."""
    try:
        import xmlsec  # noqa: PLC0415 - only sites that encrypt have it
    except ImportError as error:
        raise ValueError(f"XML Encryption needs the extra xmlenc: pip install 'govbus[xmlenc]' ({error})") from None
    return xmlsec
