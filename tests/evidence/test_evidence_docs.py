"""docs/evidence.md says how to check an evidence without us: what stands there is run as it stands there, and forgeries must fail by it."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from evidence_rig import Told, now

from adapters.soap import payloads
from bus import asic, pki
from bus.signature import xades
from bus.signer import Signer
from sandbox.unit import read_signer


@pytest.fixture
def place(told: Told, certs: Path, tmp_path: Path) -> Path:
    """A directory with what an evidence's reader trusts: the parties' own certificates."""
    missing = [tool for tool in ("bash", "unzip", "xmlsec1", "openssl") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    (tmp_path / "ministry.crt").write_bytes(_pem(told.rig.site.keyring.signer("own/bus")))
    (tmp_path / "sender.crt").write_bytes(_pem(told.rig.unit))
    told.authority.write(tmp_path / "tsa")
    shutil.copy(tmp_path / "tsa" / "ca.crt", tmp_path / "tsa.crt")
    return tmp_path


def _pem(signer: Signer) -> bytes:
    return signer.certificate.public_bytes(Encoding.PEM)


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "docs" / "evidence.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def checked(repository: Path, place: Path, container: bytes) -> tuple[int, str, str]:
    """The document's commands on a container: how they ended, what they said, and the command that they were at."""
    (place / "message.asice").write_bytes(container)
    shutil.rmtree(place / "message", ignore_errors=True)
    [shell] = blocks(repository, "sh")
    done = subprocess.run(["bash", "-e", "-x", "-c", shell], cwd=place, capture_output=True, timeout=60, check=False)
    traced = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.startswith("+")]
    return done.returncode, done.stdout.decode("utf-8", "replace"), " | ".join(traced[-10:])


def test_the_commands_of_the_document_verify_a_container(repository: Path, place: Path, container: bytes) -> None:
    """Shell by shell line, each must succeed; then the Merkle paths, by Python's standard library; and a changed row fails."""
    code, said, at = checked(repository, place, container)
    assert (code, "?" in said) == (0, False), at
    [script] = blocks(repository, "python")
    python = [sys.executable, "-c", script]
    results = [subprocess.run(python, cwd=place / "message", capture_output=True, timeout=60, check=False).returncode]
    row = place / "message" / "journal" / "0002-claimed.json"
    row.write_bytes(row.read_bytes().replace(b"claimed", b"Claimed", 1))
    results.append(subprocess.run(python, cwd=place / "message", capture_output=True, timeout=60, check=False).returncode)
    assert results == [0, 1]


def test_authorities_in_place_of_certificates_do_as_well(repository: Path, place: Path, container: bytes, certs: Path) -> None:
    """As they lie on a fresh site, where each party has an authority of its own; without the sender's it is said what is left open."""
    shutil.copy(certs / "own" / "ca.crt", place / "ministry.crt")
    shutil.copy(certs / "trust" / "unit" / "ca.crt", place / "sender.crt")
    assert checked(repository, place, container)[0] == 0
    (place / "sender.crt").unlink()
    code, said, _ = checked(repository, place, container)
    assert (code, "? no sender.crt" in said) == (0, True)


async def test_they_are_true_on_a_site_without_time_stamps(repository: Path, place: Path, told: Told) -> None:
    """A default site has no time-stamping authority: it is said that the time is the site's word, and everything else holds."""
    message = await told.live("tin-khong-dau", number=21)
    await told.checkpoint(stamped=False)
    container = told.container(message)
    (place / "tsa.crt").unlink()
    code, said, at = checked(repository, place, container)
    assert (code, "? there is no time-stamp: the time is the word of the site" in said) == (0, True), at


Forgery = Callable[[dict[str, bytes], Told, Path], Signer | None]


def _another_authority(_files: dict[str, bytes], told: Told, root: Path) -> Signer:
    """Sealed by a stranger under our names."""
    authority = pki.create_authority(root / "false", "ca", "Development CA of Bộ Thông tin và Truyền thông", "Bộ", now())
    pki.issue(root / "false", "system", authority, common_name="bus", organisation="Bộ", now=now(), key_type="ec-p256")
    return read_signer(root / "false")


def _the_door(_files: dict[str, bytes], told: Told, _root: Path) -> Signer:
    """Sealed by the site's TLS key."""
    return told.rig.site.keyring.signer("own/tls")


def _a_partner(_files: dict[str, bytes], told: Told, _root: Path) -> Signer:
    """Sealed by a partner."""
    return told.rig.other


def _consistent(files: dict[str, bytes]) -> None:
    """The site as the forger: rows that fit the changed request and content."""
    row = json.loads(files["message/row.json"])
    row |= {
        "request": sha256(files["message/request.xml"]).hexdigest(),
        "digest": sha256(files["message/content.xml"]).hexdigest(),
    }
    old = sha256(files["message/row.json"]).hexdigest()
    files["message/row.json"] = json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    name = next(each for each in files if each.endswith("-accepted.json"))
    files[name] = files[name].replace(old.encode(), sha256(files["message/row.json"]).hexdigest().encode())


def _wrapped(files: dict[str, bytes], _told: Told, _root: Path) -> None:
    """The signed Body moved into a header, another in its place, that carries another document."""
    request, false = files["message/request.xml"], b"<gi\xe1\xba\xa3/>"
    [body] = re.findall(rb"<soap:Body .*</soap:Body>", request, re.DOTALL)
    content = re.sub(rb"(<x:Content[^>]*>)[^<]*", lambda found: found[1] + base64.b64encode(false), body)
    other = re.sub(rb' wsu:Id="[^"]*"', b"", content, count=1)
    files["message/request.xml"] = request.replace(body, other).replace(b"</soap:Header>", b"<x>" + body + b"</x></soap:Header>")
    files["message/content.xml"] = false
    _consistent(files)


def _wrapped_in_another_name(files: dict[str, bytes], told: Told, root: Path) -> None:
    """The same, the false content in an element beside the Body: what is first in the file is not what was signed."""
    request, false = files["message/request.xml"], b"<x/>"
    [content] = re.findall(rb"<x:Content[^>]*>[^<]*</x:Content>", request)
    shown = re.sub(rb">[^<]*<", b">" + base64.b64encode(false) + b"<", content, count=1)
    shown = b'<y xmlns:x="urn:govbus:exchange:v1">' + shown + b"</y>"
    files["message/request.xml"] = request.replace(b"<soap:Header>", b"<soap:Header>" + shown, 1)
    files["message/content.xml"] = false
    _consistent(files)


def _twice_the_same_id(files: dict[str, bytes], told: Told, root: Path) -> None:
    """Another element that bears the Body's Id."""
    request = files["message/request.xml"]
    [name] = re.findall(rb'<soap:Body [^>]*wsu:Id="([^"]*)"', request)
    files["message/request.xml"] = request.replace(b"</soap:Header>", b'<z Id="' + name + b'"/></soap:Header>')
    _consistent(files)


def _another_sender(files: dict[str, bytes], told: Told, root: Path) -> None:
    """Another partner's signature over the same Body."""
    files["message/request.xml"] = told.rig.signed(payloads.send_content("tin-1", files["message/content.xml"]), signer=told.rig.other)
    _consistent(files)


def _receipt_of_another(files: dict[str, bytes], told: Told, _root: Path) -> None:
    """A receipt that a partner signed."""
    plain = re.sub(rb"<ds:Signature .*</ds:Signature>", b"", files["receipts/01-ACCEPTED.xml"], flags=re.DOTALL)
    files["receipts/01-ACCEPTED.xml"] = xades.sign_canonical(plain, told.rig.other, now())
    _journal_names(files, "receipts/01-ACCEPTED.xml")


def _receipt_wrapped(files: dict[str, bytes], _told: Told, _root: Path) -> None:
    """A genuine receipt as a part of a false one."""
    genuine = files["receipts/01-ACCEPTED.xml"]
    false = re.sub(rb"<ds:Signature .*</ds:Signature>", b"", genuine, flags=re.DOTALL).replace(b"ACCEPTED", b"CONFIRMED")
    files["receipts/01-ACCEPTED.xml"] = false.replace(b"</Receipt>", genuine + b"</Receipt>")
    _journal_names(files, "receipts/01-ACCEPTED.xml")


def _signature_of_a_checkpoint(files: dict[str, bytes], _told: Told, _root: Path) -> None:
    """A false receipt with a genuine signature over something else."""
    [signature] = re.findall(rb"<ds:Signature .*</ds:Signature>", files["checkpoints/00000001.xml"], re.DOTALL)
    name = "receipts/01-ACCEPTED.xml"
    files[name] = re.sub(rb"<ds:Signature .*</ds:Signature>", lambda _: signature, files[name], flags=re.DOTALL)
    _journal_names(files, name)


def _journal_names(files: dict[str, bytes], name: str) -> None:
    journal = next(each for each in files if each.endswith("-accepted.json"))
    digest = sha256(files[name]).hexdigest().encode()
    files[journal] = re.sub(rb'(receipt\\":\{[^}]*sha256\\":\\")[0-9a-f]{64}', lambda found: found[1] + digest, files[journal])


#: Each forgery, and the command that finds it.
FORGERIES: dict[Forgery, str] = {
    _another_authority: "openssl verify",
    _the_door: "openssl",
    _a_partner: "openssl verify",
    _wrapped: "Body",
    _wrapped_in_another_name: "Content",
    _twice_the_same_id: "Body-",
    _another_sender: "openssl verify",
    _receipt_of_another: "openssl verify",
    _receipt_wrapped: "xmlsec1 --verify",
    _signature_of_a_checkpoint: "xmlsec1 --verify",
}


@pytest.mark.parametrize("pinned", [True, False], ids=["own certificates", "authorities"])
@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.__name__.strip("_"))
def test_forgeries_fail_by_the_commands(
    repository: Path, place: Path, told: Told, message: str, certs: Path, forgery: Forgery, *, pinned: bool
) -> None:
    """Whoever seals it, and whatever is wrapped in what: the commands stop, at what finds it."""
    if not pinned:
        shutil.copy(certs / "own" / "ca.crt", place / "ministry.crt")
        shutil.copy(certs / "trust" / "unit" / "ca.crt", place / "sender.crt")
    files = told.files(message)
    signer = forgery(files, told, place) or told.rig.site.keyring.signer("own/bus")
    container = b"".join(bytes(chunk) for chunk in asic.write(dict(files), signer, now()))
    code, _, at = checked(repository, place, container)
    assert (code != 0, FORGERIES[forgery] in at) == (True, True), at


def test_a_certificate_of_a_shared_authority_is_not_the_ministrys_when_its_own_is_pinned(
    repository: Path, place: Path, told: Told, message: str, certs: Path
) -> None:
    """The authority has other customers; one of them seals. By the pinned certificate it fails."""
    authority = pki.read_authority(certs / "development")
    pki.issue(place / "customer", "system", authority, common_name="Khách khác", organisation="Khách", now=now(), key_type="ec-p256")
    container = b"".join(bytes(chunk) for chunk in asic.write(told.files(message), read_signer(place / "customer"), now()))
    code, _, at = checked(repository, place, container)
    assert (code != 0, "openssl verify" in at) == (True, True), at


def test_a_key_that_the_file_brings_itself_is_not_believed(repository: Path, place: Path, told: Told, message: str) -> None:
    """A forged receipt that shows the site's certificate, and in a KeyValue the key that really signed it."""
    false, own = told.rig.other, told.rig.site.keyring.signer("own/bus")
    files = told.files(message)
    plain = re.sub(rb"<ds:Signature .*</ds:Signature>", b"", files["receipts/01-ACCEPTED.xml"], flags=re.DOTALL)
    signed = xades.sign_canonical(plain, false, now())
    point = false.certificate.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    key = (
        b'<ds:KeyInfo><ds:KeyValue><dsig11:ECKeyValue xmlns:dsig11="http://www.w3.org/2009/xmldsig11#">'
        b'<dsig11:NamedCurve URI="urn:oid:1.2.840.10045.3.1.7"/><dsig11:PublicKey>'
        + base64.b64encode(point)
        + b"</dsig11:PublicKey></dsig11:ECKeyValue></ds:KeyValue>"
    )
    shown = base64.b64encode(own.certificate_der)
    signed = re.sub(rb"<ds:X509Certificate>[^<]*", b"<ds:X509Certificate>" + shown, signed).replace(b"<ds:KeyInfo>", key)
    files["receipts/01-ACCEPTED.xml"] = signed
    _journal_names(files, "receipts/01-ACCEPTED.xml")
    code, _, at = checked(repository, place, told.sealed(files))
    assert (code, "xmlsec1 --verify" in at) == (1, True), at
