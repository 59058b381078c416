"""The fuzz targets: what each reads, the inputs it begins with, how they are mutated, and what must hold for any input.

A target's ``run`` returns for every input, or raises ``Rejected`` or ``Deferred``: those are answers. Anything else is a finding. Beyond
that each has an oracle of its own, in its docstring. Where a reader needs more than octets (a Content-Type, headers), they stand as
lines in front, with a blank line between, so that a corpus file can be read and written by hand.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import fuzz_evidence as evidence
import fuzz_mutations as mutations
import fuzz_signing as signing
from cryptography.hazmat.primitives.asymmetric import rsa
from fuzz_signing import NOW, Forged
from lxml import etree

from adapters.soap import payloads
from bus import config, edxml, hollow, mending, mime, pki, soap, vxp, xmlio
from bus.edxml.frame import frame
from bus.errors import BusError, Rejected
from bus.evidence import Evidence
from bus.exchange import Exchange
from bus.keys import Keyring
from bus.message import Message
from bus.octets import whole
from bus.organisations import CodeBook
from bus.schemas import Library
from bus.signature import encryption, username, wss, xades, xmldsig, xmldsig_by_id
from bus.signer import Signer, SoftKey
from bus.site import Site
from bus.soap import SOAP_11
from bus.steps import validate
from sandbox import documents

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Target:
    """``run`` on octets; ``seeds`` to begin with; ``mutate`` knows their form; ``reads``: the modules whose coverage counts."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    mutate: mutations.Mutator
    reads: tuple[str, ...]


# --- XML --------------------------------------------------------------------------------------------------------------


def _xml(data: bytes) -> None:
    """Canonical form is a fixed point, a mended document too, and parsing does not depend on what the octets were encoded in."""
    once = xmlio.canonicalize(mending.parse(data))
    if xmlio.canonicalize(xmlio.parse(once)) != once:
        raise AssertionError("the canonical form of a canonical form differs")
    if xmlio.canonicalize(xmlio.parse(once.decode().encode("utf-16"))) != once:
        raise AssertionError("the same text in UTF-16 has another canonical form")


def _xml_seeds() -> Iterable[bytes]:
    yield signing.DOCUMENT
    yield b'<?xml version="1.0" encoding="UTF-8"?><?p q?><!-- c --><a xmlns="urn:a" xml:lang="vi"><![CDATA[x]]>&#x1ec7;</a>\n'
    yield '<?xml version="1.0" encoding="UTF-16"?><a>ệ</a>'.encode("utf-16")
    yield b'stray\n<a><b xlink:href="x"/></a>'
    yield from signing.messages()["wss"][:1]


#: Stands in an input for a base64 text that is long enough to be cut out.
_LONG = b"LONG"
_BASE64 = b"QUJD" * 3 * 7000


def _hollow(data: bytes) -> None:
    """A document worked without the insides of its files has the canonical form, or the refusal, that it has with them."""
    data = data[:4096].replace(_LONG, _BASE64 + b"\r\n" + _BASE64)
    expected = _outcome(lambda: xmlio.canonicalize(xmlio.parse(data)))
    found = _outcome(lambda: whole(hollow.canonical_form(data)))
    if expected != found:
        raise AssertionError(f"hollow: {found[:200]!r} instead of {expected[:200]!r}")


def _outcome(work: Callable[[], bytes]) -> bytes:
    try:
        return work()
    except Rejected as error:
        return error.key.encode()


def _hollow_seeds() -> Iterable[bytes]:
    yield b'<e:edXML xmlns:e="urn:e"><e:ContentTransferEncoded>LONG</e:ContentTransferEncoded><Content a="&gt;">LONG==</Content></e:edXML>'
    yield b"<a><!--<Content>LONG</Content>--><Content><![CDATA[LONG]]></Content><Content>x<b/>LONG</Content><Content/>LONG</a>"


# --- what carries XML -------------------------------------------------------------------------------------------------


def _split(data: bytes) -> tuple[dict[str, str], bytes]:
    """The header lines in front, and the body."""
    head, _, body = data.replace(b"\r\n\r\n", b"\n\n", 1).partition(b"\n\n")
    lines = (line.partition(":") for line in head.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in lines}, body


def _soap(data: bytes) -> None:
    """An envelope is read, a partner's fault becomes an answer, and a request's parameters can be asked for."""
    headers, body = _split(data)
    envelope = soap.read(body, headers.get("content-type", ""), headers.get("soapaction", ""))
    soap.check_understood(envelope, ())
    soap.reply_headers(envelope)
    soap.raise_fault(envelope, "partner")
    request = payloads.parameters(envelope.payload, envelope.hollow)
    for name in request.elements:
        request.text(name)
    payloads.day(request, "ChangedSince")
    payloads.whole_number(request, "Max", 1, 100)
    if "Content" in request.elements:
        payloads.octets(request.elements["Content"], envelope.hollow)


def _soap_seeds() -> Iterable[bytes]:
    plain = b'Content-Type: text/xml; charset=utf-8\nSOAPAction: "urn:govbus:exchange:v1/SendDocument"\n\n'
    yield plain + whole(soap.envelope(SOAP_11, signing.PAYLOAD))
    addressed = f'<a:Action xmlns:a="{soap.ADDRESSING}">x</a:Action><a:MessageID xmlns:a="{soap.ADDRESSING}">urn:1</a:MessageID>'.encode()
    yield b"Content-Type: text/xml\n\n" + whole(soap.envelope(SOAP_11, signing.PAYLOAD, addressed))
    for error in (Rejected("soap-version", namespace="x"), Rejected("soap-not-understood", header="x")):
        for version, kind in ((soap.SOAP_11, b"text/xml"), (soap.SOAP_12, b"application/soap+xml; action=x")):
            yield b"Content-Type: %b\n\n%b" % (kind, whole(soap.envelope(version, soap.fault(version, error, "r"))))
    include = b'<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:1"/>'
    for reference in (include, b"cid:1", b""):
        root = whole(soap.envelope(SOAP_11, signing.PAYLOAD.replace(b"QUJD", reference)))
        content_type, package = mime.package(root, 'application/xop+xml; type="text/xml"', "text/xml", {"1": b"ABC"} if reference else {})
        boundary = mime.media_type(content_type).parameter("boundary").encode()
        yield (b"Content-Type: %b\n\n%b" % (content_type.encode(), whole(package))).replace(boundary, b"b")
    for request in (
        b"<GetPendingDocumentIds><OrganId>1</OrganId><Max>5</Max></GetPendingDocumentIds>",
        b"<GetOrganizations><ChangedSince>2026-01-01</ChangedSince></GetOrganizations>",
    ):
        yield plain + whole(soap.envelope(SOAP_11, request.replace(b">", b' xmlns="urn:govbus:exchange:v1">', 1)))


def _mime(data: bytes) -> None:
    """Every octet of a package is in a part, or in what the grammar demands: parts are disjoint stretches, or decoded from such."""
    headers, body = _split(data)
    package = mime.related(mime.media_type(headers.get("content-type", "")), body)
    total = len(package.root.data) + sum(map(len, package.parts.values()))
    if total > len(body):
        raise AssertionError(f"{total} octets came out of a package of {len(body)}")


def _mime_seeds() -> Iterable[bytes]:
    first = b"Content-Type: text/xml\r\nContent-ID: <root>\r\nContent-Transfer-Encoding: %b\r\n\r\n%b"
    for encoding, text in ((b"binary", b"<a/>"), (b"base64", b"PGEvPg=="), (b"quoted-printable", b"<a b=3D'1'/>=\r\n")):
        body = b"--b\r\n%b\r\n--b\r\nContent-ID: <1>\r\n\r\nABC\r\n--b--\r\n" % (first % (encoding, text))
        yield b'Content-Type: multipart/related; boundary="b"; type="text/xml"; start="<root>"\n\n' + body


# --- documents --------------------------------------------------------------------------------------------------------


@cache
def _library() -> Library:
    return Library(REPOSITORY / "schemas")


@cache
def _gate() -> Callable[[bytes], None]:
    """The step ``validate`` as the reference site has it at its door."""
    nobody = Keyring({}, (), {})
    site = Site(REPOSITORY, "G14", "fuzz", "own/bus", {}, nobody, _library(), CodeBook(()), lambda: NOW, {})
    steps = {
        kind: validate.build(validate.Options(schema=f"edxml/v1/{kind}.xsd", **{"normalised-by": "edxml/v1/normalise.xsl"}), site)
        for kind in ("document", "status")
    }

    def check(data: bytes) -> None:
        message = Message("", {}, data)
        kind = "status" if frame(message.outline).is_status else "document"
        steps[kind](Exchange(message, message, "fuzz", NOW))

    return check


def _edxml(data: bytes) -> None:
    """A document is described, viewed, read and validated; a hop appended to its trace list changes nothing else that is described."""
    tree = edxml.parse(data)
    described = edxml.describe(tree)
    edxml.view(tree)
    edxml.receivers(tree)
    edxml.read(tree)
    edxml.attachments(tree)
    if edxml.describe(edxml.parse(edxml.append_trace(data, "G14", NOW))) != described:
        raise AssertionError("a hop in the trace list changed what the document is")
    edxml.check_files(tree)
    _gate()(data)


def _edxml_seeds() -> Iterable[bytes]:
    yield from (path.read_bytes() for path in sorted((REPOSITORY / "tests/edxml/data").glob("*.edxml")))
    yield documents.make(size=3_000)


# --- signatures -------------------------------------------------------------------------------------------------------


def _wss(data: bytes) -> None:
    """The Body that is handed back is one that was signed, and libxmlsec accepts the same envelope."""
    verified = wss.verify(xmlio.parse(data), wss.DEFAULT, signing.trust, NOW, known=signing.Lying())
    signing.check_accepted(data, verified.octets)


def _enveloped(verify: Callable[[bytes, Callable[[bytes], str]], object]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        """The document that is handed back is one that was signed, and libxmlsec accepts it too."""
        verified = verify(data, signing.trust)
        signing.check_accepted(data, verified.octets)  # type: ignore[attr-defined]

    return run


def _insider(data: bytes) -> None:
    """Signed again by who may sign: what is handed back is the one Body of the envelope, as libxml2 sees it, with its Id unique."""
    try:
        again = signing.resigned(data)
    except (etree.XMLSyntaxError, ValueError):
        return
    if again is None:
        return
    root = xmlio.parse(again)
    octets = wss.verify(root, wss.DEFAULT, signing.trust, NOW, known=signing.Lying()).octets
    body = root.find(f"{{{etree.QName(root).namespace}}}Body")
    if body is None or etree.tostring(body, method="c14n", exclusive=True, with_tail=False) != octets:
        raise Forged("the octets handed back are not those of the Envelope's Body")
    uris = [reference.get("URI") for reference in root.iter(f"{{{signing.DS}}}Reference")]
    names = [value for element in root.iter() for name, value in element.attrib.items() if etree.QName(name).localname.lower() == "id"]
    if not any(f"#{value}" in uris and names.count(value) == 1 for value in body.attrib.values()):
        raise Forged("no reference names the Body by an Id that it has alone")


_PLACE = "Amount"


def _by_id(data: bytes) -> None:
    """The element that is handed back is the one that was signed, and libxmlsec accepts the document too."""
    octets = xmldsig_by_id.verify(data, _PLACE, signing.trust).octets
    if octets != b'<d:Amount xmlns:d="urn:d" Id="amount">1000</d:Amount>' or not signing.accepted_by_libxmlsec(data):
        raise Forged(f"an element that nobody signed: {octets!r}")


def _by_id_seeds() -> Iterable[bytes]:
    yield xmldsig_by_id.sign(signing.DOCUMENT, _PLACE, signing.signer())


_PARTS = {"file": b"a file", "note": b"<a></a>"}


def _attachments(data: bytes) -> None:
    """A Body that was signed, and both parts beside it."""
    octets = _verified_with(data, _PARTS)
    if octets not in signing.signed():
        raise Forged(f"a Body that nobody signed: {octets!r}")
    for name in _PARTS:
        with suppress(Rejected):
            _verified_with(data, {**_PARTS, name: b"another"})
            raise Forged(f"the part {name!r} is not covered")


def _verified_with(data: bytes, parts: Mapping[str, bytes]) -> bytes:
    media = mime.MediaType("application/octet-stream", {})
    given = {name: mime.Part(media, name, memoryview(part)) for name, part in parts.items()}
    return wss.verify(xmlio.parse(data), wss.DEFAULT, signing.trust, NOW, attachments=given).octets


def _attachment_seeds() -> Iterable[bytes]:
    yield wss.sign(whole(soap.envelope(SOAP_11, signing.PAYLOAD)), signing.signer(), NOW, attachments=_PARTS)


@cache
def _holder() -> tuple[encryption.Holder, encryption.Recipient]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = signing.certified(key)
    return encryption.Holder([Signer("own/fuzz", SoftKey(key), certificate)]), encryption.Recipient(certificate)


def _encrypted(data: bytes) -> None:
    """What is opened is what was enclosed, in the place where it was."""
    envelope = soap.read(data, "text/xml")
    opened = _holder()[0].open(envelope.root, envelope.hollow)
    if opened is None or xmlio.canonicalize(opened[-1][0]) != xmlio.canonicalize(xmlio.parse(signing.PAYLOAD)):
        raise Forged("something else came out of the encryption than went in")


def _encrypted_seeds() -> Iterable[bytes]:
    yield _holder()[1].enclose(wss.sign(whole(soap.envelope(SOAP_11, signing.PAYLOAD)), signing.signer(), NOW))


def _username(data: bytes) -> None:
    """Only the one user, by the one password."""
    if username.verify(xmlio.parse(data), {"unit": "bí mật"}.get, NOW, username.NonceCache()).user != "unit":
        raise Forged("another user was named")


def _username_seeds() -> Iterable[bytes]:
    from zeep.wsse.username import UsernameToken

    for digest in (False, True):
        root = etree.fromstring(whole(soap.envelope(SOAP_11, signing.PAYLOAD, b"<h/>")))
        UsernameToken("unit", "bí mật", use_digest=digest, nonce="one", created=NOW).apply(root, {})
        yield etree.tostring(root)


def _receipt(data: bytes) -> None:
    """Only the receipt that was sealed is read."""
    evidence = Evidence(signing.signer(), lambda certificate: certificate == signing.signer().certificate_der, lambda: NOW)
    if evidence.read(data) != signing.receipt():
        raise Forged("a receipt was read that nobody sealed")


# --- VXP and routes.yaml ----------------------------------------------------------------------------------------------

_SECRET = "not-a-real-secret"


def _vxp(data: bytes) -> None:
    """Parameters that come back are those that were signed; a hub's answer is an answer or a reason to wait."""
    headers, body = _split(data)
    _quietly(lambda: vxp.check_reply(vxp.read_reply(body, "hub"), "hub"))
    _quietly(lambda: vxp.verified_file(body, headers.get("xroadvnpt-hash-file", "")))
    call = vxp.verify(headers, {"unit": _SECRET}.get, NOW, timedelta(minutes=5))
    if dict(call.parameters) != {name.lower(): value for name, value in _PARAMETERS.items()}:
        raise Forged(f"parameters that nobody signed: {call.parameters}")


def _quietly(work: Callable[[], object]) -> None:
    with suppress(BusError):
        work()


_PARAMETERS = {"systemid": "unit", "timestamp": vxp.timestamp(NOW), "Content-Type": vxp.JSON, "docId": "1", "description": "a"}


def _vxp_seeds() -> Iterable[bytes]:
    headers = "".join(f"{name}: {value}\n" for name, value in vxp.signed_headers(_PARAMETERS, _SECRET).items()).encode()
    yield headers + b"\n" + vxp.reply(data=[{"docId": "1", "serviceType": "edoc"}], number=1.5)
    yield headers + b"\n" + vxp.failure(Rejected("soap-version", namespace="x"))


@cache
def _home() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="govbus-fuzz-")


@cache
def _site() -> Path:
    """A site: its routes.yaml is written anew for each input."""
    root = Path(_home().name)
    (root / "schemas").symlink_to(REPOSITORY / "schemas")
    partners = {"unit": "Đơn vị", "partner-agency": "Cơ quan"}
    pki.development(root / "certs", organisation_name="Bộ", partners=partners, now=NOW, key_type="ec-p256")
    return root


def _routes(data: bytes) -> None:
    """Any file gives a list of faults, each on one line that names a place."""
    (_site() / "routes.yaml").write_bytes(data)
    for fault in config.check(_site(), environment={"VXP_URL": "http://127.0.0.1:9/", "VXP_SECRET": "x"}, clock=lambda: NOW):
        if not str(fault).startswith(f"{fault.file}:{fault.line}:") or "\n" in fault.text:
            raise AssertionError(f"a fault that is not one line: {fault!r}")


def _routes_seeds() -> Iterable[bytes]:
    yield (REPOSITORY / "routes.yaml").read_bytes()
    yield b"site: {organisation: G14, name: x}\npartners: {}\nendpoints: {a: {soap: {path: /a}}}\nroutes: [{name: r, from: a, to: [a]}]\n"


def _signed(profile: str) -> Callable[[], Iterable[bytes]]:
    return lambda: signing.messages()[profile]


_SIGNATURE = ("bus.signature", "bus.xmlio")
TARGETS: Mapping[str, Target] = {
    "xml": Target(_xml, _xml_seeds, mutations.xml, ("bus.xmlio", "bus.mending")),
    "hollow": Target(_hollow, _hollow_seeds, mutations.xml, ("bus.hollow", "bus.octets")),
    "soap": Target(_soap, _soap_seeds, mutations.headed(mutations.xml), ("bus.soap", "bus.xop", "bus.mime", "adapters.soap.payloads")),
    "mime": Target(_mime, _mime_seeds, mutations.octets, ("bus.mime", "bus.octets")),
    "edxml": Target(_edxml, _edxml_seeds, mutations.xml, ("bus.edxml", "bus.schemas", "bus.steps.validate")),
    "wss": Target(_wss, _signed("wss"), mutations.xml, _SIGNATURE),
    "insider": Target(_insider, _signed("wss"), mutations.xml, _SIGNATURE),
    "xades": Target(_enveloped(xades.verify), _signed("xades"), mutations.xml, _SIGNATURE),
    "xmldsig": Target(_enveloped(xmldsig.verify_enveloped), _signed("xmldsig"), mutations.xml, _SIGNATURE),
    "by-id": Target(_by_id, _by_id_seeds, mutations.xml, ("bus.signature.xmldsig_by_id", "bus.signature.reading")),
    "attachments": Target(_attachments, _attachment_seeds, mutations.xml, ("bus.signature.attachments", "bus.signature.wss")),
    "encrypted": Target(_encrypted, _encrypted_seeds, mutations.xml, ("bus.signature.encryption",)),
    "username": Target(_username, _username_seeds, mutations.xml, ("bus.signature.username", "bus.signature.times")),
    "receipt": Target(_receipt, _signed("receipt"), mutations.xml, ("bus.evidence", *_SIGNATURE)),
    "container": Target(evidence.container, evidence.containers, mutations.octets, ("bus.asic", *_SIGNATURE)),
    "checkpoint": Target(evidence.summary, evidence.summaries, mutations.xml, ("bus.checkpoint", *_SIGNATURE)),
    "stamp": Target(evidence.stamp, evidence.stamps, mutations.octets, ("bus.timestamps",)),
    "pdf": Target(evidence.pdf, evidence.pdfs, mutations.octets, ("bus.pdf",)),
    "vxp": Target(_vxp, _vxp_seeds, mutations.headed(mutations.octets), ("bus.vxp",)),
    "routes": Target(_routes, _routes_seeds, mutations.octets, ("bus.config", "bus.options")),
}


def run(name: str, data: bytes) -> str:
    """One input through one target: the key of the refusal, or "" where it was taken. Raises what is a finding."""
    try:
        TARGETS[name].run(data)
    except BusError as refusal:
        for language in refusal.reasons.values():
            language.encode()
        return refusal.key
    return ""
