"""The files below ``certs/``, read: our own keys in their three forms, and what lies in a partner's directory.

``own/<key>.key``, ``.crt``   PKCS#8 PEM, and its certificates, leaf first
``own/<key>.p12``             PKCS#12 (RFC 7292): key and certificate under a password
``own/<key>.p11``, ``.crt``   the URI of a key in a PKCS#11 token (``pkcs11.py``), and its certificate
``own/<name>.crt`` alone      a retired certificate of ours; ``own/<key>-….crt`` is of that key, and its old receipts still verify
``trust/<partner>/…``         ``.crt``, ``.pem``: certificates; ``.crl``: revocation lists (PEM or DER)

Whatever cannot be used becomes a ``Fault`` and is left out. No fault shows anything of a key or a password.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from bus.answers import issued
from bus.errors import BusError, Fault
from bus.methods import PrivateKey
from bus.ocsp import MALFORMED
from bus.pkcs11 import TokenKey, Uri
from bus.signer import Signer, SoftKey
from bus.trust import Demands, Trust, divided, is_authority, name_text


@dataclass(frozen=True, slots=True)
class Own:
    """Our keys by name, those of them that lie in a token, and certificates of ours without a key."""

    signers: Mapping[str, Signer]
    tokens: tuple[TokenKey, ...]
    retired: tuple[x509.Certificate, ...]


def names(certs: Path) -> frozenset[str]:
    """Names of the keys that lie under ``own/``, readable or not."""
    return frozenset(f"own/{path.stem}" for suffix in _FORMS for path in (certs / "own").glob(f"*{suffix}"))


def own(certs: Path, passwords: Mapping[str, str], faults: list[Fault]) -> Own:
    """Everything under ``own/``; ``passwords`` by the key's name."""
    signers: dict[str, Signer] = {}
    tokens: list[TokenKey] = []
    directory = certs / "own"
    for suffix, read in _FORMS.items():
        for path in sorted(directory.glob(f"*{suffix}")):
            name = f"own/{path.stem}"
            if name in signers:
                faults.append(_fault(path, f"there are two keys called {name}"))
                continue
            try:
                signers[name], token = read(path, name, passwords.get(name, ""))
            except (*MALFORMED, OSError, BusError) as error:
                faults.append(_fault(path, error))
            else:
                tokens += [token] if token else []
    keyless = (path for path in sorted(directory.glob("*.crt")) if not any(path.with_suffix(suffix).exists() for suffix in _FORMS))
    loose = [certificate for path in keyless for certificate in certificates(path, faults)]
    return Own(signers, tuple(tokens), tuple(certificate for certificate in loose if not is_authority(certificate)))


def past(certs: Path, names: Iterable[str]) -> tuple[x509.Certificate, ...]:
    """Certificates of keys that signed before, by the keys' names: ``own/bus`` has them in ``own/bus-….crt``, and in ``own/bus.crt``."""
    stems = [name.removeprefix("own/") for name in names]
    paths = [path for stem in stems for path in (certs / "own" / f"{stem}.crt", *sorted((certs / "own").glob(f"{stem}-*.crt")))]
    keyless = [path for path in paths if path.exists() and not any(path.with_suffix(suffix).exists() for suffix in _FORMS)]
    return tuple(one for path in keyless for one in certificates(path, []) if not is_authority(one))


def trust(directory: Path, partner: str, demands: Demands, faults: list[Fault]) -> Trust:
    """What a partner's directory holds. An authority whose own issuer lies there too is an intermediate, any other an anchor."""
    files = sorted(path for suffix in ("*.crt", "*.pem") for path in directory.glob(suffix))
    # A leaf's file may carry its chain: each certificate counts once.
    found = dict.fromkeys(certificate for path in files for certificate in certificates(path, faults))
    anchors, intermediates = divided([certificate for certificate in found if is_authority(certificate)])
    pinned = tuple(certificate for certificate in found if not is_authority(certificate))
    crls = tuple(crl for path in sorted(directory.glob("*.crl")) for crl in _crls(path, (*anchors, *intermediates), faults))
    return Trust(partner, anchors, pinned, crls, intermediates, demands)


def certificates(path: Path, faults: list[Fault]) -> Iterable[x509.Certificate]:
    """The certificates of a file."""
    try:
        data = path.read_bytes()
        found = x509.load_pem_x509_certificates(data) if b"-----BEGIN" in data else [x509.load_der_x509_certificate(data)]
        for certificate in found:
            _ = certificate.subject, certificate.issuer, certificate.extensions
    except (*MALFORMED, OSError) as error:
        faults.append(_fault(path, error))
        return []
    return found


def _pem(path: Path, name: str, _password: str) -> tuple[Signer, None]:
    # The full RSA check takes 40 ms a key, at every start; the comparison with the certificate finds a damaged key as well.
    key = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    return Signer(name, SoftKey(_usable(key)), _certificate_beside(path)), None


def _pkcs12(path: Path, name: str, password: str) -> tuple[Signer, None]:
    if not password:
        raise ValueError(f"needs its password: site: {{keys: {{{name}: {{password: env:NAME}}}}}}")
    key, certificate, _ = pkcs12.load_key_and_certificates(path.read_bytes(), password.encode())
    if certificate is None:
        raise ValueError("holds no certificate for its key")
    return Signer(name, SoftKey(_usable(key)), certificate), None


def _token(path: Path, name: str, password: str) -> tuple[Signer, TokenKey]:
    certificate = _certificate_beside(path)
    public = certificate.public_key()
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise TypeError("the key is neither RSA, EC nor Ed25519")
    key = TokenKey(name, Uri.parse(path.read_text(encoding="utf-8")), public, password)
    signer = Signer(name, key, certificate)
    key.prove()
    return signer, key


#: How a key's file ends -> how it is read.
_FORMS: Mapping[str, Callable[[Path, str, str], tuple[Signer, TokenKey | None]]] = {".key": _pem, ".p12": _pkcs12, ".p11": _token}


def _usable(key: object) -> PrivateKey:
    if not isinstance(key, PrivateKey):
        raise TypeError("the key is neither RSA, EC nor Ed25519")
    return key


def _certificate_beside(path: Path) -> x509.Certificate:
    chain = path.with_suffix(".crt")
    if not chain.exists():
        raise ValueError(f"its certificate {chain.name} does not exist")
    return x509.load_pem_x509_certificates(chain.read_bytes())[0]


def _crls(path: Path, authorities: tuple[x509.Certificate, ...], faults: list[Fault]) -> Iterable[x509.CertificateRevocationList]:
    try:
        data = path.read_bytes()
        crl = x509.load_pem_x509_crl(data) if data.startswith(b"-----BEGIN") else x509.load_der_x509_crl(data)
    except (*MALFORMED, OSError) as error:
        faults.append(_fault(path, error))
        return []
    named = [authority for authority in authorities if authority.subject == crl.issuer]
    if named and not any(issued(authority, crl) for authority in named):
        faults.append(_fault(path, f"the revocation list does not bear the signature of its issuer {name_text(crl.issuer)}"))
    return [crl]


def _fault(path: Path, cause: Exception | str) -> Fault:
    if isinstance(cause, BusError):
        return Fault(str(path), 1, 1, cause.reason("en"), vi=cause.reason("vi"))
    text = str(cause) or type(cause).__name__
    return Fault(str(path), 1, 1, f"cannot be used: {text.splitlines()[0]}")
