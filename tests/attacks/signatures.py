"""Attacks on what a signature says: references, transforms, algorithms, keys, times, and parts missing, doubled or out of shape."""

import base64
import copy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from attacker import DS, EXC, ID, Mutation, security
from lxml import etree

from bus.signature.profile import WSSE, WSU
from bus.signature.times import written

XPATH = "http://www.w3.org/TR/1999/REC-xpath-19991116"
FILTER = "http://www.w3.org/2002/06/xmldsig-filter2"
URIS = (
    "",
    "#",
    "#nobody",
    "#xpointer(/)",
    "#xpointer(id('Body'))",
    "#element(/1/2)",
    "file:///etc/hostname",
    "http://127.0.0.1:9/",
    "https://localhost:9/x#Body",
    "ftp://127.0.0.1:9/",
    "cid:body",
    "cid:%2e%2e",
    "data:text/plain,x",
    "./routes.yaml",
    "//localhost/x",
    "urn:x",
    "#\u00a0",
    "##",
    "#%42ody",
    "?x",
)
_XSLT = (
    '<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="1.0">'
    '<xsl:template match="/"><xsl:copy-of select="document(\'file:///etc/hostname\')"/></xsl:template></xsl:stylesheet>'
)
TRANSFORMS: dict[str, tuple[str, str]] = {
    "XSLT": ("http://www.w3.org/TR/1999/REC-xslt-19991116", _XSLT),
    "XPath": (XPATH, f'<ds:XPath xmlns:ds="{DS[1:-1]}">not(self::x)</ds:XPath>'),
    "XPath nothing": (XPATH, f'<ds:XPath xmlns:ds="{DS[1:-1]}">false()</ds:XPath>'),
    "XPath filter 2": (FILTER, f'<f:XPath xmlns:f="{FILTER}" Filter="subtract">/</f:XPath>'),
    "base64": ("http://www.w3.org/2000/09/xmldsig#base64", ""),
    "enveloped": ("http://www.w3.org/2000/09/xmldsig#enveloped-signature", ""),
    "inclusive C14N": ("http://www.w3.org/TR/2001/REC-xml-c14n-20010315", ""),
    "inclusive C14N with comments": ("http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments", ""),
    "exclusive C14N with comments": (f"{EXC}WithComments", ""),
    "C14N 1.1": ("http://www.w3.org/2006/12/xml-c14n11", ""),
    "STR-Transform": ("http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#STR-Transform", ""),
    "SwA content": ("http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1#Attachment-Content-Signature-Transform", ""),
    "decryption": ("http://www.w3.org/2002/07/decrypt#XML", ""),
    "an unknown one": ("urn:x", ""),
    "one without a name": ("", ""),
}
_OLD, _MORE = "http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/04/xmldsig-more#"
SIGNATURE_METHODS = (
    f"{_OLD}rsa-sha1",
    f"{_OLD}dsa-sha1",
    f"{_OLD}hmac-sha1",
    f"{_MORE}hmac-sha256",
    f"{_MORE}hmac-sha512",
    f"{_MORE}hmac-md5",
    f"{_MORE}rsa-md5",
    f"{_MORE}rsa-sha224",
    f"{_MORE}rsa-ripemd160",
    f"{_MORE}ecdsa-sha1",
    f"{_MORE}ecdsa-sha256",
    "http://www.w3.org/2007/05/xmldsig-more#rsa-pss",
    "urn:none",
    "",
)
DIGEST_METHODS = (f"{_OLD}sha1", f"{_MORE}md5", f"{_MORE}sha224", "http://www.w3.org/2001/04/xmlenc#ripemd160", "urn:none", "")
C14N_METHODS = (*(name for words, (name, _) in TRANSFORMS.items() if "C14N" in words), "urn:none", "", f"{_OLD}minimal")


def _each(root: etree._Element, path: str) -> list[etree._Element]:
    return root.findall(f".//{path}")


def _info(root: etree._Element) -> etree._Element:
    return _each(root, f"{DS}SignedInfo")[0]


def references() -> Iterator[tuple[str, Mutation]]:
    """What a Reference points to, and by which transforms."""
    for number, what in ((0, "the first reference"), (1, "the second reference")):
        for uri in URIS:
            yield f"{what} to {uri!r}", lambda root, number=number, uri=uri: _each(root, f"{DS}Reference")[number].set("URI", uri)
        for words, (algorithm, inside) in TRANSFORMS.items():
            for how in ("alone", "before", "after"):
                yield f"{what} by {words} {how}", _transforming(number, algorithm, inside, how)
        yield f"{what} without URI", lambda root, number=number: _each(root, f"{DS}Reference")[number].attrib.pop("URI") and None
        yield f"{what} without transforms", _dropping(f"{DS}Transforms", number)
        yield f"{what} left out", _dropping(f"{DS}Reference", number)
    yield "a thousand references", lambda root: _repeating(root, f"{DS}Reference", 1000)
    yield "a thousand transforms", lambda root: _repeating(root, f"{DS}Transform", 1000)
    yield "no reference at all", lambda root: [_info(root).remove(each) for each in _each(root, f"{DS}Reference")] and None


def _transforming(number: int, algorithm: str, inside: str, how: str) -> Mutation:
    def mutate(root: etree._Element) -> None:
        transforms = _each(root, f"{DS}Transforms")[number]
        made = etree.Element(f"{DS}Transform", Algorithm=algorithm)
        if inside:
            made.append(etree.fromstring(inside))
        if how == "alone":
            transforms.clear()
        transforms.insert(0 if how == "before" else len(transforms), made)

    return mutate


def _dropping(path: str, number: int = 0) -> Mutation:
    def mutate(root: etree._Element) -> None:
        found = _each(root, path)[number]
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)

    return mutate


def _repeating(root: etree._Element, path: str, times: int) -> None:
    first = _each(root, path)[0]
    for _ in range(times):
        first.addnext(copy.deepcopy(first))


def algorithms() -> Iterator[tuple[str, Mutation]]:
    """Algorithms that nobody should take; HMAC with what everybody knows as its secret, and cut to a byte."""
    for name in SIGNATURE_METHODS:
        yield f"SignatureMethod {name!r}", _renaming(f"{DS}SignatureMethod", name)
    for name in DIGEST_METHODS:
        yield f"DigestMethod {name!r}", _renaming(f"{DS}DigestMethod", name)
    for name in C14N_METHODS:
        yield f"CanonicalizationMethod {name!r}", _renaming(f"{DS}CanonicalizationMethod", name)
    for bits in ("0", "1", "8", "-8", "80"):

        def shortened(root: etree._Element, bits: str = bits) -> None:
            method = _each(root, f"{DS}SignatureMethod")[0]
            method.set("Algorithm", f"{_MORE}hmac-sha256")
            etree.SubElement(method, f"{DS}HMACOutputLength").text = bits

        yield f"HMAC of {bits} bits", shortened


def _renaming(path: str, name: str) -> Mutation:
    def mutate(root: etree._Element) -> None:
        for each in _each(root, path):
            each.set("Algorithm", name)

    return mutate


def shapes() -> Iterator[tuple[str, Mutation]]:
    """Parts that are missing, empty, doubled, in each other's place, or not what their type says."""
    wsse, wsu = f"{{{WSSE}}}", f"{{{WSU}}}"
    parts = {
        "Security": f"{wsse}Security",
        "the token": f"{wsse}BinarySecurityToken",
        "the Timestamp": f"{wsu}Timestamp",
        "Created": f"{wsu}Created",
        "Signature": f"{DS}Signature",
        "SignedInfo": f"{DS}SignedInfo",
        "CanonicalizationMethod": f"{DS}CanonicalizationMethod",
        "SignatureMethod": f"{DS}SignatureMethod",
        "SignatureValue": f"{DS}SignatureValue",
        "KeyInfo": f"{DS}KeyInfo",
        "the token reference": f"{wsse}SecurityTokenReference",
        "DigestMethod": f"{DS}DigestMethod",
        "DigestValue": f"{DS}DigestValue",
    }
    for words, path in parts.items():
        yield f"{words} left out", _dropping(path)
        yield f"{words} twice", lambda root, path=path: _repeating(root, path, 1)
        if not words.endswith("Method"):  # they are empty as it is
            yield f"{words} empty", lambda root, path=path: _emptied(_each(root, path)[0])
        yield f"{words} in another namespace", lambda root, path=path: _foreign(_each(root, path)[0])
        if words != "Security":
            yield f"{words} with a stray child", lambda root, path=path: _strayed(_each(root, path)[0])
    for words in ("SignatureValue", "DigestValue", "the token"):
        for text in ("", "=", "AAAA", "not base64!", "QQ==QQ==", "A" * 100_000, "đ", base64.b64encode(bytes(256)).decode()):
            yield f"{words} is {text[:12]!r}", lambda root, path=parts[words], text=text: setattr(_each(root, path)[0], "text", text)


def _emptied(element: etree._Element) -> None:
    for child in list(element):
        element.remove(child)
    element.text = None


def _strayed(element: etree._Element) -> None:
    etree.SubElement(element, "{urn:x}stray")


def _foreign(element: etree._Element) -> None:
    element.tag = f"{{urn:x}}{etree.QName(element).localname}"


def keys(stranger: bytes) -> Iterator[tuple[str, Mutation]]:
    """Where the key comes from: the message may name a key, never bring one."""

    def info(inside: str) -> Mutation:
        def mutate(root: etree._Element) -> None:
            old = _each(root, f"{DS}KeyInfo")[0]
            old.clear()
            old.append(etree.fromstring(f'<r xmlns:ds="{DS[1:-1]}" xmlns:wsse="{WSSE}">{inside}</r>')[0])

        return mutate

    yield (
        "KeyValue RSA",
        info("<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>"),
    )
    yield "KeyName", info("<ds:KeyName>own/bus</ds:KeyName>")
    for target in ("#loop", "", "file:///etc/hostname", "http://127.0.0.1:9/key", "#xpointer(/)"):
        yield f"RetrievalMethod to {target!r}", info(f'<ds:RetrievalMethod Id="loop" URI="{target}"/>')
    for target in ("#nobody", "", "#", "http://127.0.0.1:9/", "file:///etc/hostname"):
        yield (
            f"token reference to {target!r}",
            info(f'<wsse:SecurityTokenReference><wsse:Reference URI="{target}"/></wsse:SecurityTokenReference>'),
        )
    yield (
        "a key identifier of nobody",
        info('<wsse:SecurityTokenReference><wsse:KeyIdentifier ValueType="urn:x">QQ==</wsse:KeyIdentifier></wsse:SecurityTokenReference>'),
    )
    yield "PGPData", info("<ds:PGPData><ds:PGPKeyID>QQ==</ds:PGPKeyID></ds:PGPData>")
    yield "MgmtData", info("<ds:MgmtData>x</ds:MgmtData>")
    for words, der in (
        ("a stranger's", stranger),
        ("a broken", stranger[:40]),
        ("an enormous", stranger * 300),
    ):
        text = base64.b64encode(der).decode()
        yield f"X509Data with {words} certificate", info(f"<ds:X509Data><ds:X509Certificate>{text}</ds:X509Certificate></ds:X509Data>")

        def token(root: etree._Element, text: str = text) -> None:
            _each(root, f"{{{WSSE}}}BinarySecurityToken")[0].text = text

        yield f"{words} certificate as the token", token
    for name, value in (("ValueType", "urn:x"), ("ValueType", ""), ("EncodingType", "urn:x"), ("ValueType", f"{WSSE}#X509PKIPathv1")):
        yield (
            f"the token's {name} is {value!r}",
            lambda root, name=name, value=value: _each(root, f"{{{WSSE}}}BinarySecurityToken")[0].set(name, value),
        )


def times() -> Iterator[tuple[str, Mutation]]:
    """Stale, early, impossible and doubled times, rightly signed."""

    def created(text: str) -> Mutation:
        return lambda root: setattr(_each(root, f"{{{WSU}}}Created")[0], "text", text)

    def expires(text: str) -> Mutation:
        def mutate(root: etree._Element) -> None:
            stamp = _each(root, f"{{{WSU}}}Timestamp")[0]
            for old in stamp.findall(f"{{{WSU}}}Expires"):
                stamp.remove(old)
            etree.SubElement(stamp, f"{{{WSU}}}Expires").text = text

        return mutate

    def from_now(**offset: float) -> str:
        return written(datetime.now(UTC) + timedelta(**offset))

    for words, offset in (("an hour ago", -1.0), ("a year ago", -8760.0), ("in an hour", 1.0), ("in a year", 8760.0)):
        yield f"created {words}", created(from_now(hours=offset))
    for text in (
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "2026-01-01",
        "0000-00-00T00:00:00Z",
        "2026-11-22T10:00:00",
        "-1",
        "9" * 400,
        "2026-01-01T00:00:00+99:00",
    ):
        yield f"created {text[:24]!r}", created(text)
    for words, offset in (("a minute before it was created", -0.1), ("a year ago", -8760.0)):
        yield f"expired {words}", expires(from_now(hours=offset))
    for text in ("", "never", "2026-02-30T00:00:00Z"):
        yield f"expires {text!r}", expires(text)


def identifiers() -> Iterator[tuple[str, Mutation]]:
    """One Id for two elements, wherever the second one is."""
    places: dict[str, Callable[[etree._Element], etree._Element]] = {
        "Header": lambda root: root[0],
        "Security": security,
        "Envelope": lambda root: root,
        "Signature": lambda root: _each(root, f"{DS}Signature")[0],
        "Timestamp": lambda root: _each(root, f"{{{WSU}}}Timestamp")[0],
    }
    for words, find in places.items():
        for target in ("Body", "Timestamp"):

            def mutate(root: etree._Element, find: Callable[[etree._Element], etree._Element] = find, target: str = target) -> None:
                signed = root[1] if target == "Body" else _each(root, f"{{{WSU}}}Timestamp")[0]
                made = etree.Element("{urn:x}twin")
                made.set(ID, str(signed.get(ID)))
                find(root).insert(0, made)

            yield f"{target}'s Id again in {words}", mutate
