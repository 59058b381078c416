"""The stacks that run in this process or by command: xmlsec1, python-xmlsec, signxml, zeep, openssl.

Each has ``profiles`` and two verbs. ``sign`` gives a signed document; ``verify`` returns, or raises ``Refused``. Both raise
``Unsupported`` with the stack's own words where it does not know the algorithm: that is found by asking it, never assumed.
"""

import base64
import hashlib
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import signxml
import signxml.exceptions
import xmlsec
from cross_templates import DS, WSU, XADES, template
from cross_world import DOCUMENT, ENVELOPE, IDENTIFIED, IDENTIFIER, PLACE, PLACED, SOAP11, Algorithm, World
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from lxml import etree
from signxml import xades as signxml_xades
from zeep import exceptions as zeep_exceptions
from zeep.wsse import signature as zeep_signature
from zeep.wsse.utils import get_security_header

_EXCLUSIVE = signxml.CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0


class Refused(Exception):
    """The stack's verifier says no."""


class Unsupported(Exception):
    """The stack does not know the algorithm, in its own words."""


class Stack(Protocol):
    """A foreign implementation."""

    name: str
    profiles: tuple[str, ...]

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        """The profile's document, signed."""

    def verify(self, profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        """Returns if the signature holds."""


def _run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(part) for part in command], capture_output=True, timeout=30, check=False, cwd=cwd)


class Xmlsec1:
    """The command line of libxmlsec, built against the system's libxml2 and OpenSSL."""

    profiles = ("xmldsig", "by-id", "xades", "wss")
    #: Which elements' Id attributes it may resolve.
    _NAMED = (f"{XADES}:SignedProperties", f"{SOAP11}:Body", f"{WSU}:Timestamp", PLACED)
    _IDS = tuple(part for name in _NAMED for part in ("--id-attr:Id", name))

    def __init__(self, program: str) -> None:
        self._program = program
        self.name = f"xmlsec1 {_run(program, '--version').stdout.split()[1].decode()}"

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        source = world.scratch / "template.xml"
        source.write_bytes(template(profile, algorithm, identity, world))
        done = _run(self._program, "--sign", "--privkey-pem", identity.key_file, *self._IDS, source)
        if done.returncode:
            raise Unsupported(_telling(done.stderr.decode()))
        return done.stdout

    def verify(self, profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        source = world.scratch / "signed.xml"
        source.write_bytes(signed)
        # WS-Security's token references are not its own: it is given the certificate, as for the other profiles the authority.
        certificate = world.identities[algorithm.key].certificate_file
        keys = ("--pubkey-cert-pem", certificate) if profile == "wss" else ("--trusted-pem", world.authority_file)
        self._judge(*keys, *self._IDS, source)

    def verify_files(self, _algorithm: Algorithm, world: World, signed: bytes, directory: Path) -> None:
        """The signature over files that lie in ``directory``."""
        source = world.scratch / "signed.xml"
        source.write_bytes(signed)
        self._judge("--trusted-pem", world.authority_file, *self._IDS, source, cwd=directory)

    def _judge(self, *arguments: object, cwd: Path | None = None) -> None:
        done = _run(self._program, "--verify", *arguments, cwd=cwd)
        words = done.stderr.decode()
        if done.returncode:
            # FAIL: it looked and said no. Anything else: it could not look.
            raise Refused(words) if "FAIL" in words.split() else Unsupported(_telling(words))


def _telling(words: str) -> str:
    """What the first line of libxmlsec's error stack, where the cause is, says after the places in its source."""
    return next(iter(words.splitlines()), "").partition(":subj=")[2]


class PythonXmlsec:
    """python-xmlsec: libxmlsec in process, by templates written by hand, as its wheel brings it."""

    profiles = ("xmldsig", "by-id", "xades", "wss")

    def __init__(self) -> None:
        self.name = f"python-xmlsec {version('xmlsec')}"

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        root = etree.fromstring(template(profile, algorithm, identity, world))
        try:
            self._context(root, xmlsec.Key.from_file(str(identity.key_file), xmlsec.constants.KeyDataFormatPem)).sign(_signature(root))
        except xmlsec.Error as error:
            raise Unsupported(str(error)) from None
        return etree.tostring(root)

    def verify(self, profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        root = etree.fromstring(signed)
        try:
            identity = world.identities[algorithm.key]
            key = xmlsec.Key.from_file(str(identity.certificate_file), xmlsec.constants.KeyDataFormatCertPem)
            self._context(root, key).verify(_signature(root))
        except xmlsec.VerificationError as error:
            raise Refused(str(error)) from None
        except xmlsec.Error as error:
            raise Unsupported(str(error)) from None

    @staticmethod
    def _context(root: etree._Element, key: xmlsec.Key) -> xmlsec.SignatureContext:
        xmlsec.tree.add_ids(root, ["Id"])
        context = xmlsec.SignatureContext()
        context.key = key
        return context


def _signature(root: etree._Element) -> etree._Element:
    return next(root.iter(f"{{{DS}}}Signature"))


class Signxml:
    """signxml, pure Python over lxml and cryptography. Its XAdES with exclusive C14N is known to be wrong."""

    profiles = ("xmldsig", "by-id", "xades")

    def __init__(self) -> None:
        self.name = f"signxml {version('signxml')}"

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        certificate = {"key": identity.private, "cert": [identity.certificate]}
        try:
            method = signxml.SignatureMethod(algorithm.uri)
            how = {"signature_algorithm": method, "digest_algorithm": algorithm.hash, "c14n_algorithm": _EXCLUSIVE}
            if profile == "by-id":
                # Its way to sign a part of a document: the part by itself, by a signature that is put beside it.
                root = etree.fromstring(IDENTIFIED)
                part = etree.fromstring(_canonical(root.find(f"{{*}}{PLACE}")))
                signer = signxml.XMLSigner(method=signxml.methods.detached, **how)
                root.append(signer.sign(part, reference_uri=f"#{IDENTIFIER}", **certificate))
                return etree.tostring(root)
            make = {"xmldsig": signxml.XMLSigner, "xades": signxml_xades.XAdESSigner}[profile]
            return etree.tostring(make(**how).sign(etree.fromstring(DOCUMENT), **certificate))
        except (ValueError, signxml.exceptions.SignXMLException) as error:
            raise Unsupported(str(error)) from None

    def verify(self, profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        try:
            methods = [signxml.SignatureMethod(algorithm.uri)]
        except ValueError as error:
            raise Unsupported(str(error)) from None
        if profile == "xades":
            verifier = signxml_xades.XAdESVerifier()
            config = signxml_xades.XAdESSignatureConfiguration(signature_methods=methods, expect_references=2)
        else:
            verifier, config = signxml.XMLVerifier(), signxml.SignatureConfiguration(signature_methods=methods)
        try:
            verifier.verify(signed, x509_cert=world.identities[algorithm.key].certificate, expect_config=config)
        except signxml.exceptions.SignXMLException as error:
            raise Refused(str(error)) from None


class Zeep:
    """zeep's wsse plug-ins (BinarySecurityToken, or issuer and serial number), over python-xmlsec."""

    profiles = ("wss",)

    def __init__(self, token: str) -> None:
        self.name, self.token = f"zeep {version('zeep')} {token}", token
        self._plug_in = {"bst": zeep_signature.BinarySignature, "x509-data": zeep_signature.Signature}[token]

    def sign(self, _profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        root = etree.fromstring(ENVELOPE)
        stamp = etree.SubElement(get_security_header(root), f"{{{WSU}}}Timestamp")
        etree.SubElement(stamp, f"{{{WSU}}}Created").text = world.now.isoformat()
        try:
            methods = {"signature_method": _transform(algorithm.name), "digest_method": _transform(algorithm.hash)}
            self._plug_in(str(identity.key_file), str(identity.certificate_file), **methods).apply(root, {})
        except (AttributeError, xmlsec.Error) as error:
            raise Unsupported(str(error)) from None
        return etree.tostring(root)

    def verify(self, _profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        try:
            zeep_signature.verify_envelope(etree.fromstring(signed), str(world.identities[algorithm.key].certificate_file))
        except zeep_exceptions.SignatureVerificationFailed as error:
            raise Refused(str(error)) from None
        except xmlsec.Error as error:
            raise Unsupported(str(error)) from None


def _transform(name: str) -> object:
    """python-xmlsec's constant: "rsa-sha256" is TransformRsaSha256."""
    return getattr(xmlsec.constants, "Transform" + "".join(part.capitalize() for part in name.split("-")))


class Openssl:
    """The openssl program on the raw SignatureValue over SignedInfo's octets; digests are hashlib's."""

    profiles = ("xmldsig",)

    def __init__(self, program: str) -> None:
        self._program = program
        self.name = f"openssl {_run(program, 'version').stdout.split()[1].decode()}"

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        root = etree.fromstring(template(profile, algorithm, identity, world))
        digest = hashlib.new(algorithm.hash, _canonical(etree.fromstring(DOCUMENT))).digest()
        next(root.iter(f"{{{DS}}}DigestValue")).text = base64.b64encode(digest).decode()
        data, value = self._files(root, world, b"")
        done = _run(self._program, *self._verb("sign", algorithm, identity, data, value))
        if done.returncode:
            raise Unsupported(done.stderr.decode())
        octets = value.read_bytes()
        if algorithm.name.startswith("ecdsa"):
            octets = b"".join(
                part.to_bytes(identity.certificate.public_key().key_size // 8, "big") for part in decode_dss_signature(octets)
            )
        next(root.iter(f"{{{DS}}}SignatureValue")).text = base64.b64encode(octets).decode()
        return etree.tostring(root)

    def verify(self, _profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        identity = world.identities[algorithm.key]
        root = etree.fromstring(signed)
        self._check_digest(root, algorithm)
        octets = base64.b64decode(next(root.iter(f"{{{DS}}}SignatureValue")).text)
        if algorithm.name.startswith("ecdsa"):
            half = len(octets) // 2
            octets = encode_dss_signature(int.from_bytes(octets[:half], "big"), int.from_bytes(octets[half:], "big"))
        data, value = self._files(root, world, octets)
        done = _run(self._program, *self._verb("verify", algorithm, identity, data, value))
        if done.returncode:
            raise Refused(done.stdout.decode() + done.stderr.decode())

    @staticmethod
    def _check_digest(root: etree._Element, algorithm: Algorithm) -> None:
        bare = etree.fromstring(etree.tostring(root))
        stated = next(bare.iter(f"{{{DS}}}DigestValue")).text
        bare.remove(_signature(bare))
        if hashlib.new(algorithm.hash, _canonical(bare)).digest() != base64.b64decode(stated):
            raise Refused("the digest differs")

    def _files(self, root, world, octets):
        data, value = world.scratch / "signed-info", world.scratch / "value"
        data.write_bytes(_canonical(next(root.iter(f"{{{DS}}}SignedInfo"))))
        value.write_bytes(octets)
        return data, value

    @staticmethod
    def _verb(verb, algorithm, identity, data, value):
        key = identity.key_file
        if algorithm.name == "ed25519":
            target = ("-out", value) if verb == "sign" else ("-sigfile", value)
            return ("pkeyutl", f"-{verb}", "-inkey", key, "-rawin", "-in", data, *target)
        padding = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest") if "pss" in algorithm.name else ()
        how = ("-sign", key, "-out", value) if verb == "sign" else ("-prverify", key, "-signature", value)
        return ("dgst", f"-{algorithm.hash}", *padding, *how, data)


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)
