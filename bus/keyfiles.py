"""The files below ``certs/``, read: our own keys in their three forms, and what lies in a partner's directory.

``own/<key>.key``, ``.crt``   PKCS#8 PEM, and its certificates, leaf first
``own/<key>.p12``             PKCS#12 (RFC 7292): key and certificate under a password
``own/<key>.p11``, ``.crt``   the URI of a key in a PKCS#11 token (``pkcs11.py``), and its certificate
``own/<name>.crt`` alone      a retired certificate of ours; ``own/<key>-….crt`` is of that key, and its old receipts still verify
``trust/<partner>/…``         any number of files with certificates and revocation lists (``certfiles.py``), whatever their extension of
                              these: ``.crt .cer .cert .pem .der .crl .p7b .p7c .p7``, in any case, or ``<hash>.0`` and ``.r0``

Whatever lies in a trust directory is read whole and counts, or it is named. What may change who is trusted is a fault: a file of which
any part cannot be used, one that has no name of ours and holds a certificate or a list, a list that nobody there can have signed. The
rest is a warning. No fault shows anything of a key or a password; nothing here waits for a file that is none.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from bus import certfiles, regular
from bus.answers import incomplete, issued
from bus.certfiles import Content
from bus.errors import BusError, ConfigurationError, Fault
from bus.methods import PrivateKey
from bus.names import equal
from bus.ocsp import MALFORMED
from bus.pkcs11 import TokenKey, Uri
from bus.signer import Signer, SoftKey
from bus.trust import Demands, Trust, divided, is_authority, name_text

#: Extensions of files with certificates and lists; and names as ``openssl rehash`` makes them.
_EXTENSIONS = frozenset({".crt", ".cer", ".cert", ".pem", ".der", ".crl", ".p7b", ".p7c", ".p7"})
_LIKELY = _EXTENSIONS | {".key", ".p12", ".pfx", ".p11"}
_HASHED = re.compile(r"[0-9a-f]{8}\.r?[0-9]+")


@dataclass(frozen=True, slots=True)
class Own:
    """Our keys by name, those of them that lie in a token, and certificates of ours without a key."""

    signers: Mapping[str, Signer]
    tokens: tuple[TokenKey, ...]
    retired: tuple[x509.Certificate, ...]

    def keyless(self, certs: Path) -> tuple[x509.Certificate, ...]:
        """The certificates beside keys that cannot be used: what was signed with them is ours all the same."""
        unusable = (certs / f"{name}.crt" for name in sorted(names(certs) - self.signers.keys()))
        found = [one for path in unusable if path.exists() for one in certificates(path, [])]
        return tuple(one for one in found if not is_authority(one))


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
    keyless = (path for path in sorted(directory.glob("*.crt")) if not _has_key(path))
    loose = [certificate for path in keyless for certificate in certificates(path, faults)]
    faults += [_named(path, "own-unread", warning=True) for path in _idle(directory)]
    return Own(signers, tuple(tokens), tuple(certificate for certificate in loose if not is_authority(certificate)))


def _idle(directory: Path) -> list[Path]:
    """Files of our own directory that look like a key or a certificate and are none by their names: those are ours to choose."""
    if not directory.is_dir():
        return []
    return [path for path in sorted(directory.iterdir()) if path.suffix not in {*_FORMS, ".crt"} and path.suffix.lower() in _LIKELY]


def past(certs: Path, names: Iterable[str], usable: Collection[str]) -> tuple[x509.Certificate, ...]:
    """Certificates of keys that signed before, by the keys' names: ``own/bus`` has them in ``own/bus-….crt``, and in ``own/bus.crt``.

    ``usable``: names of keys that we have, whose files speak of the present. What has a key beside it, usable or not, is a key of its own,
    and no earlier certificate of another.
    """
    own = certs / "own"
    stems = [name.removeprefix("own/") for name in names]
    present = [own / f"{stem}.crt" for stem in stems if f"own/{stem}" not in usable]
    earlier = [path for stem in stems for path in sorted(own.glob(f"{stem}-*.crt")) if not _has_key(path)]
    found = [path for path in dict.fromkeys((*present, *earlier)) if path.exists()]
    return tuple(one for path in found for one in certificates(path, []) if not is_authority(one))


def _has_key(path: Path) -> bool:
    """Whether a key lies beside a certificate's file, readable or not."""
    return any(path.with_suffix(suffix).exists() for suffix in _FORMS)


def trust(directory: Path, partner: str, demands: Demands, faults: list[Fault]) -> Trust:
    """What a partner's directory holds. An authority whose own issuer lies there too is an intermediate, any other an anchor."""
    contents = list(_contents(directory, faults))
    # A leaf's file may carry its chain: each certificate counts once.
    found = dict.fromkeys(certificate for _, content in contents for certificate in content.certificates)
    anchors, intermediates = divided([certificate for certificate in found if is_authority(certificate)])
    pinned = tuple(certificate for certificate in found if not is_authority(certificate))
    crls: list[x509.CertificateRevocationList] = []
    for path, content in contents:
        for crl in content.crls:
            _check_list(path, crl, (*anchors, *intermediates), faults)
            crls += [crl] if crl not in crls else []
    return Trust(partner, anchors, pinned, tuple(crls), intermediates, demands)


def counts(path: Path) -> bool:
    """Whether a file of a trust directory is read, by its name."""
    return path.suffix.lower() in _EXTENSIONS or bool(_HASHED.fullmatch(path.name))


def demand(faults: Iterable[Fault]) -> None:
    """Raise ConfigurationError with all of them if any is more than a warning."""
    found = list(faults)
    if any(not fault.warning for fault in found):
        raise ConfigurationError(found)


def certificates(path: Path, faults: list[Fault]) -> Iterable[x509.Certificate]:
    """The certificates of a file."""
    try:
        return certfiles.read(regular.octets(path)).certificates
    except (*MALFORMED, OSError) as error:
        faults.append(_fault(path, error))
        return []


def _contents(directory: Path, faults: list[Fault]) -> Iterator[tuple[Path, Content]]:
    """Each file of a directory that counts, and what it holds. A directory that does not exist is an empty one."""
    try:
        paths = sorted(directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        faults.append(_fault(directory, error))
        return
    for path in paths:
        if path.is_dir():
            faults.append(_named(path, "trust-subdirectory", warning=True))
            continue
        try:
            octets = regular.octets(path)
            if counts(path):
                yield path, certfiles.read(octets)
            else:
                faults.append(_unread(path, octets))
        except (*MALFORMED, OSError) as error:
            faults.append(_fault(path, error))


def _unread(path: Path, octets: bytes) -> Fault:
    """A file whose name says nothing of certificates."""
    if certfiles.suspected(octets):
        return _named(path, "trust-misnamed", warning=False)
    return _named(path, "trust-private-key" if certfiles.PRIVATE_KEY in octets else "trust-no-material", warning=True)


def _check_list(path: Path, crl: x509.CertificateRevocationList, authorities: tuple[x509.Certificate, ...], faults: list[Fault]) -> None:
    """Name a list that does not count in full."""
    issuer = name_text(crl.issuer)
    if unfit := incomplete(crl):
        faults.append(_fault(path, f"{unfit}; put a complete list of {issuer} there"))
    elif not any(issued(authority, crl) for authority in authorities):
        if any(equal(authority.subject, crl.issuer) for authority in authorities):
            faults.append(_fault(path, f"the revocation list does not bear the signature of its issuer {issuer}"))
        else:
            faults.append(_named(path, "trust-list-alone", warning=True, issuer=issuer))


def _pem(path: Path, name: str, _password: str) -> tuple[Signer, None]:
    # The full RSA check takes 40 ms a key, at every start; the comparison with the certificate finds a damaged key as well.
    key = serialization.load_pem_private_key(regular.octets(path), None, unsafe_skip_rsa_key_validation=True)
    return Signer(name, SoftKey(_usable(key)), _certificate_beside(path)), None


def _pkcs12(path: Path, name: str, password: str) -> tuple[Signer, None]:
    if not password:
        raise ValueError(f"needs its password: site: {{keys: {{{name}: {{password: env:NAME}}}}}}")
    key, certificate, _ = pkcs12.load_key_and_certificates(regular.octets(path), password.encode())
    if certificate is None:
        raise ValueError("holds no certificate for its key")
    return Signer(name, SoftKey(_usable(key)), certificate), None


def _token(path: Path, name: str, password: str) -> tuple[Signer, TokenKey]:
    certificate = _certificate_beside(path)
    public = certificate.public_key()
    if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise TypeError("the key is neither RSA, EC nor Ed25519")
    key = TokenKey(name, Uri.parse(regular.words(path)), public, password)
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
    try:
        return x509.load_pem_x509_certificates(regular.octets(chain))[0]
    except OSError as error:
        raise ValueError(f"its certificate {chain.name} cannot be read: {error.strerror}") from error


def _fault(path: Path, cause: Exception | str) -> Fault:
    if isinstance(cause, BusError):
        return Fault(str(path), 1, 1, cause.reason("en"), vi=cause.reason("vi"))
    text = str(cause) or type(cause).__name__
    return Fault(str(path), 1, 1, f"cannot be used: {text.splitlines()[0]}")


def _named(path: Path, key: str, *, warning: bool, **values: object) -> Fault:
    return Fault.of(str(path), key, values, warning=warning)
