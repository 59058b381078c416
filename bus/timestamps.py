"""Time-stamps of an authority (TSA): a request, what may come back, and what a token proves. Pure: nothing is fetched here.

A token proves that its ``octets`` existed at a time, by the word of an authority that an anchor vouches for. ``verify`` is strict: the
imprint is SHA-256, 384 or 512 of the octets; there is one signer, named by the signed ESSCertID, whose certificate was valid at the
token's own time on a path from an anchor, and may be used for time-stamps and for nothing else. Signed attributes are DER; what is not
signed may be BER, the certificates in any order.

Raises Rejected ``timestamp-invalid`` with the check that failed; Deferred ``timestamp-refused`` for an authority that does not grant one.

Standards: RFC 3161 sections 2.2 (which checks a requester makes), 2.3 (the authority's certificate), 2.4.1 and 2.4.2 (messages);
RFC 5816 (ESSCertIDv2); RFC 5652 section 5 (CMS SignedData); RFC 5280 section 6 (path), by rfc3161-client over OpenSSL, which takes
the path's time from the token.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import rfc3161_client
from asn1crypto import cms, core, tsp
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from bus.errors import Deferred, Rejected

#: Hashes that an imprint, and the authority's own signature, may use.
_HASHES = frozenset({"sha256", "sha384", "sha512"})
_GRANTED = frozenset({"granted", "granted_with_mods"})
#: Bits of a nonce: more than anyone guesses, and no authority refuses as many.
NONCE_BITS = 63


class _Answer(core.Sequence):  # type: ignore[misc]
    """TimeStampResp (section 2.4.2); in asn1crypto's own the token is not optional, and no refusal can be read."""

    _fields = [("status", tsp.PKIStatusInfo), ("token", cms.ContentInfo, {"optional": True})]  # noqa: RUF012 - as the library wants it


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority that a site asks, whom it trusts to vouch for it, how often it asks, and how old a time-stamp may get (None: any)."""

    url: str
    anchors: tuple[x509.Certificate, ...]
    every: timedelta
    limit: timedelta | None = None
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a token proves: its ``octets`` were there ``at`` that time. ``certificate``: the authority's (DER);
    ``policy``: dotted OID; ``serial``: of up to 160 bits (section 2.4.2).
    """

    at: datetime
    policy: str
    serial: int
    certificate: bytes


def request(octets: bytes, nonce: int, policy: str = "") -> bytes:
    """A TimeStampReq (DER) for ``octets``, with the authority's certificate in the answer; ``policy``: the dotted OID that is demanded."""
    imprint = {"hash_algorithm": {"algorithm": "sha256"}, "hashed_message": hashlib.sha256(octets).digest()}
    wanted = {"req_policy": policy} if policy else {}
    return bytes(tsp.TimeStampReq({"version": "v1", "message_imprint": imprint, **wanted, "nonce": nonce, "cert_req": True}).dump())


def granted(response: bytes) -> bytes:
    """The token (CMS, DER) in a TimeStampResp; it is not verified yet. Raises Deferred when the authority grants none."""
    with _reading("the answer"):
        answer = _Answer.load(response, strict=True)
        status = answer["status"]
        if status["status"].native not in _GRANTED:
            words = "; ".join(status["status_string"].native or [])
            raise Deferred("timestamp-refused", detail=words or status["status"].native)
        return bytes(answer["token"].dump())


def verify(token: bytes, octets: bytes, anchors: Collection[x509.Certificate], *, nonce: int | None = None, policy: str = "") -> Stamp:
    """What ``token`` proves about ``octets``. ``nonce`` and ``policy``: those of the request, where it is known."""
    if not anchors:
        raise invalid("there is no authority to trust")
    with _reading("the token"):
        signed, info = _opened(token)
        certificate = _signer(signed)
        stamp = Stamp(info["gen_time"].native, info["policy"].native, info["serial_number"].native, certificate)
        answers = info["nonce"].native
    _check_certificate(certificate)
    _check_signature(token, octets, anchors)
    if nonce is not None and answers != nonce:
        raise invalid("it answers another request: the nonce is not ours")
    if policy and stamp.policy != policy:
        raise invalid(f"the policy is {stamp.policy}, not {policy}")
    return stamp


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """The library reads no more than it is asked for, so that anything may turn out to be damaged, late."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise invalid(f"{what} cannot be read: {str(error).partition(chr(10))[0]}") from None


def invalid(check: str) -> Rejected:
    """The refusal that names the check that failed."""
    return Rejected("timestamp-invalid", check=check)


def _opened(token: bytes) -> tuple[cms.SignedData, tsp.TSTInfo]:
    """The SignedData and the TSTInfo in it (section 2.4.2)."""
    content = cms.ContentInfo.load(token, strict=True)
    if content["content_type"].native != "signed_data":
        raise invalid("it is no SignedData")
    signed = content["content"]
    if signed["encap_content_info"]["content_type"].native != "tst_info" or len(signed["signer_infos"]) != 1:
        raise invalid("it does not hold one TSTInfo of one signer")
    return signed, signed["encap_content_info"]["content"].parsed


def _signer(signed: cms.SignedData) -> bytes:
    """The certificate (DER) that signer and signed ESSCertID both name."""
    [one] = signed["signer_infos"]
    digest, method = one["digest_algorithm"]["algorithm"].native, one["signature_algorithm"]
    # Many authorities write rsaEncryption, which names no hash: it is the digest's (RFC 3370 section 3.2).
    weak = {digest, digest if method["algorithm"].native == "rsassa_pkcs1v15" else method.hash_algo} - _HASHES
    if weak:
        raise invalid(f"it is signed with {', '.join(sorted(weak))}")
    name, value = _named(one["signed_attrs"])
    found = [each for each in _certificates(signed) if hmac.compare_digest(hashlib.new(name, each).digest(), value)]
    if len(found) != 1 or not _is_signer(one["sid"], found[0]):
        raise invalid("the signed certificate identifier is not the signer's")
    return bytes(found[0])


def _certificates(signed: cms.SignedData) -> list[bytes]:
    """The certificates (DER) of a token, each once. A SET has no order, and other authorities' programs write it in any."""
    return list(dict.fromkeys(bytes(choice.chosen.dump()) for choice in signed["certificates"] if choice.name == "certificate"))


def _named(attributes: Sequence[cms.CMSAttribute]) -> tuple[str, bytes]:
    """Hash and value of the first ESSCertIDv2, or of the first ESSCertID (RFC 5816 section 2.2.1)."""
    found = {each["type"].native: each["values"] for each in attributes}
    if "signing_certificate_v2" in found:
        first = found["signing_certificate_v2"][0]["certs"][0]
        return str(first["hash_algorithm"]["algorithm"].native), bytes(first["cert_hash"].native)
    if "signing_certificate" in found:
        return "sha1", bytes(found["signing_certificate"][0]["certs"][0]["cert_hash"].native)
    raise invalid("no signed attribute names the authority's certificate")


def _is_signer(sid: cms.SignerIdentifier, certificate: bytes) -> bool:
    parsed = cms.Certificate.load(certificate)
    if sid.name == "issuer_and_serial_number":
        named = sid.chosen
        return bool(named["issuer"] == parsed.issuer and named["serial_number"].native == parsed.serial_number)
    return bool(sid.chosen.native == parsed.key_identifier)


def _check_certificate(certificate: bytes) -> None:
    """Section 2.3: extended key usage, critical, with id-kp-timeStamping and nothing else."""
    try:
        usage = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (x509.ExtensionNotFound, ValueError):
        raise invalid("its signer's certificate is not one for time-stamps") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise invalid("its signer's certificate is not one for time-stamps alone")


def _check_signature(token: bytes, octets: bytes, anchors: Collection[x509.Certificate]) -> None:
    """The imprint, the signature, and the path from an anchor as of the token's own time."""
    # The library knows tokens only as they come: in an answer that grants them.
    with _reading("the token"):
        answer = _Answer({"status": {"status": "granted"}, "token": _plain(token)}).dump()
    verifier = rfc3161_client.VerifierBuilder(roots=list(anchors)).build()
    try:
        verifier.verify_message(rfc3161_client.decode_timestamp_response(answer), octets)
    except (rfc3161_client.VerificationError, ValueError) as error:
        raise invalid(_words(error)) from None


def _plain(token: bytes) -> cms.ContentInfo:
    """The token as a strict reader wants it: what no signature covers in DER (RFC 3161 does not ask for that) or left out.

    The octets of the TSTInfo and of the signed attributes are the token's own: those must be DER for the signature to hold.
    """
    signed = cms.ContentInfo.load(token)["content"]
    [signer] = signed["signer_infos"]
    names = ("version", "sid", "digest_algorithm", "signed_attrs", "signature_algorithm", "signature")
    content = core.ParsableOctetString(bytes(signed["encap_content_info"]["content"]))
    plain = {
        "version": signed["version"],
        "digest_algorithms": [signer["digest_algorithm"]],
        "encap_content_info": {"content_type": "tst_info", "content": content},
        "certificates": [cms.Certificate.load(each) for each in _certificates(signed)],
        "signer_infos": [{name: signer[name] for name in names}],
    }
    return cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(plain)})


def _words(error: Exception) -> str:
    """OpenSSL's own reason, out of the list of everything that it went through."""
    _, found, reason = str(error).partition("Verify error: ")
    return reason.partition('"')[0] if found else str(error).partition(": ErrorStack")[0]
