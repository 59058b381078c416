"""Our own keys in PKCS#12, what ends soon and who is told, and that no secret is ever shown."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authority_server import DAY, Issuer, pem
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from helping import until
from trust_hands import events, govbus, letter, page, pieces, unit

from bus.errors import ConfigurationError
from bus.keys import Keyring
from bus.watch import ending, said_of_end
from sandbox.process import BusProcess

PASSWORD = "mật khẩu-Zx81"


def _p12(path: Path, private: ec.EllipticCurvePrivateKey, certificate: x509.Certificate | None, password: str = PASSWORD) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encryption = serialization.BestAvailableEncryption(password.encode())
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"bus", private, certificate, None, encryption))


def test_a_key_in_a_pkcs_12_file_signs(tmp_path):
    """Key and certificate come out of the one file, under its password."""
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = Issuer("CA").leaf("bus", private)
    _p12(tmp_path / "own" / "bus.p12", private, certificate)
    signer = Keyring.load(tmp_path, {}, passwords={"own/bus": PASSWORD}).signer("own/bus")
    assert signer.certificate == certificate
    signer.method.verify(private.public_key(), signer.sign(b"x"), b"x")


#: What is wrong -> the password given, and what is said.
P12_FAULTS = {
    "no password": ("", "needs its password"),
    "wrong password": ("sai", "Invalid password"),
    "no certificate": (PASSWORD, "holds no certificate"),
    "two of one name": (PASSWORD, "there are two keys called own/bus"),
}


@pytest.mark.parametrize("wrong", P12_FAULTS)
def test_a_pkcs_12_file_that_cannot_be_used_says_why(tmp_path, wrong):
    """Each fault names the file and the cure, and never the password."""
    given, said = P12_FAULTS[wrong]
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = Issuer("CA").leaf("bus", private)
    _p12(tmp_path / "own" / "bus.p12", private, None if wrong == "no certificate" else certificate)
    if wrong == "two of one name":
        form = serialization.PrivateFormat.PKCS8
        octets = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        (tmp_path / "own" / "bus.key").write_bytes(octets)
        (tmp_path / "own" / "bus.crt").write_bytes(pem(certificate))
    with pytest.raises(ConfigurationError, match=rf"bus\.p12.*{said}") as refused:
        Keyring.load(tmp_path, {}, passwords={"own/bus": given})
    assert PASSWORD not in str(refused.value)


def _options(site: Path, text: str) -> None:
    routes = site / "routes.yaml"
    routes.write_text(routes.read_text(encoding="utf-8").replace("  tls: own/tls\n", f"  tls: own/tls\n{text}"), encoding="utf-8")


def test_a_password_does_not_stand_in_routes_yaml(site):
    """Only env: and file: are taken; and a name that is none of our keys' is a fault."""
    _options(site, f"  keys: {{own/bus: {{password: {PASSWORD}}}, own/buss: {{password: env:HOME}}}}\n")
    done = govbus("check", "--site", site)
    assert done.code == 1
    assert "'password' is a secret: write env:NAME or file:PATH" in done.said
    assert "key 'own/buss' does not exist under certs/; did you mean 'own/bus'?" in done.said
    assert PASSWORD not in done.said


async def test_no_output_of_a_run_shows_a_key_or_a_password(site: Path, start: Callable[..., BusProcess]) -> None:
    """Log, store, pages, check, keys and a traceback's file: neither PEM nor DER of any own key, nor the PKCS#12 file's password."""
    own = site / "certs" / "own"
    private = serialization.load_pem_private_key((own / "bus.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificates((own / "bus.crt").read_bytes())[0]
    _p12(own / "bus.p12", private, certificate)  # type: ignore[arg-type]
    secrets = [PASSWORD.encode(), *pieces(own / "bus.key"), *pieces(own / "tls.key")]
    (own / "bus.key").unlink()
    _options(site, "  keys: {own/bus: {password: env:P12}}\n")
    bus = start(site, environment={"P12": PASSWORD})
    async with unit(bus) as sender:
        assert (await sender.send(letter(1), "m1")).status == "ACCEPTED"
    said = [page(bus, path)[1].encode() for path in ("/metrics", "/readyz", "/healthz")]
    assert bus.stop() == 0
    _p12(own / "bus.p12", private, certificate, password="khác")  # type: ignore[arg-type]
    for command in ("check", "keys", "run"):
        done = govbus(command, "--site", site, P12=PASSWORD)
        assert done.code == (0 if command == "keys" else 1)
        said.append(done.said.encode())
    said += [path.read_bytes() for path in (site / "bus.log", *(site / "data").rglob("*")) if path.is_file()]
    assert len(said) > 8
    assert [secret for octets in said for secret in secrets if secret in octets] == []


#: Life left -> what is said of it after the partner's name, in English and in Vietnamese; ``{day}``: the day of its end.
ENDS = {
    9 * DAY + timedelta(hours=12): ("expires {day}, in 9 days", "hết hạn ngày {day}, còn 9 ngày"),
    timedelta(0): ("expired on {day}; replace it", "đã hết hạn ngày {day}; hãy thay"),
}


def _ending(site: Path, life: timedelta) -> tuple[str, str]:
    """A partner's only pinned certificate ends after ``life``; what is to be said of it."""
    partner = site / "certs" / "trust" / "telecom-authority"
    (partner / "system.crt").unlink()
    certificate = Issuer("CA").leaf("sắp hết", None, start=datetime.now(UTC) - 30 * DAY, life=29 * DAY + life)
    (partner / "sap-het.crt").write_bytes(pem(certificate))
    en, vi = (said.format(day=f"{certificate.not_valid_after_utc:%Y-%m-%d}") for said in ENDS[life])
    return (
        f"certificate 'CN=sắp hết,C=VN' of 'telecom-authority' {en}",
        f"chứng thư 'CN=sắp hết,C=VN' của 'telecom-authority' {vi}",
    )


@pytest.mark.parametrize("life", ENDS)
def test_check_tells_of_what_ends_soon_and_of_what_has_ended(site, life):
    """In the operator's language, as a warning: a partner's certificate must not keep the bus from starting."""
    en, vi = _ending(site, life)
    assert f"warning: {en}" in govbus("check", "--site", site).said
    assert f"warning: {vi}" in govbus("check", "--site", site, GOVBUS_LANG="vi").said


async def test_what_ends_soon_is_told_by_an_alarm_and_by_a_metric(site: Path, start: Callable[..., BusProcess]) -> None:
    """The daemon says so once a day, in both languages, and counts the days."""
    life = next(iter(ENDS))
    en, vi = _ending(site, life)
    bus = start(site)
    await until(lambda: events(bus, "alarm.certificate-expiring"))
    [alarm] = events(bus, "alarm.certificate-expiring")
    assert (alarm["en"], alarm["vi"], alarm["name"]) == (en, vi, "trust/telecom-authority")
    [line] = [line for line in page(bus, "/metrics")[1].splitlines() if line.startswith('govbus_certificate_days_left{name="trust/telecom')]
    assert abs(float(line.split()[-1]) - life / DAY) < 0.1


def test_retired_certificates_and_lists_raise_no_alarm(tmp_path):
    """What is kept for old receipts has ended on purpose, and a list has an end of its own."""
    issuer = Issuer("CA")
    (tmp_path / "own").mkdir()
    (tmp_path / "trust").mkdir()
    (tmp_path / "own" / "old.crt").write_bytes(pem(issuer.leaf("cũ", life=-timedelta(hours=1))))
    (tmp_path / "trust" / "ca.crt").write_bytes(pem(issuer.certificate))
    (tmp_path / "trust" / "ca.crl").write_bytes(issuer.crl())
    ring, now = Keyring.load(tmp_path, {"agency": "trust"}), datetime.now(UTC)
    assert list(ending(ring, now)) == []
    assert [entry.kind for entry in ending(ring, now + 3640 * DAY)] == ["anchor"]
    [entry] = ending(ring, now + 3640 * DAY)
    assert said_of_end(entry, now + 3640 * DAY)["vi"].startswith("chứng thư 'CN=CA,C=VN' của 'agency' hết hạn ngày")


def test_check_warns_of_a_pinned_certificate_whose_status_nobody_can_be_asked_about(site):
    """Demanded, it would be refused whenever it is used: said before that, with the cure."""
    trust = site / "certs" / "trust" / "telecom-authority"
    (trust / "ca.crt").unlink()
    (trust / "system.crt").write_bytes(pem(x509.load_pem_x509_certificates((trust / "system.crt").read_bytes())[0]))
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace("trust/telecom-authority}", "trust/telecom-authority, revocation: {check: ocsp}}")
    routes.write_text(text, encoding="utf-8")
    done = govbus("check", "--site", site)
    assert done.code == 0
    assert "nobody can be asked about the status of" in done.said
    assert "put its issuer's certificate beside it, or check: directory" in done.said


#: What stands under ``revocation:`` or beside it -> what is said about it.
BAD_OPTIONS = {
    "revocation: {check: sometimes}": "'check' must be",
    "revocation: {when-unknown: perhaps}": "'when-unknown' must be",
    "revocation: {ocsp: 'file:///etc/passwd'}": "is not an http:// or https:// address",
    "revocation: {crl: ['ftp://x/y.crl']}": "is not an http:// or https:// address",
    "revocation: {fresh: 0s}": "'fresh' must be more than",
    "certificate-policies: [not-an-oid]": "does not have the form",
}


@pytest.mark.parametrize(("option", "said"), BAD_OPTIONS.items())
def test_options_that_make_no_sense_are_faults_at_their_place(site, option, said):
    """Each at its line and column, with cause and cure."""
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace("trust/telecom-authority}", f"trust/telecom-authority, {option}}}")
    routes.write_text(text, encoding="utf-8")
    done = govbus("check", "--site", site)
    assert done.code == 1
    assert said in done.said


def test_keys_lists_what_was_answered(site, authority):
    """``govbus keys``: the directory's certificates, and the lists and responses that are held with when they run out."""
    from bus.answers import key_of

    partner = site / "certs" / "trust" / "telecom-authority"
    shutil.rmtree(partner)
    partner.mkdir()
    (partner / "ca.crt").write_bytes(pem(authority.issuer.certificate))
    kept, issuer = site / "data" / "revocation", key_of(authority.issuer.certificate)
    kept.mkdir(parents=True)
    leaf = authority.issuer.leaf("x")
    (kept / f"{issuer}.der").write_bytes(authority.issuer.crl())
    (kept / f"{issuer}-{leaf.serial_number:x}.der").write_bytes(authority.issuer.answer(leaf))
    done = govbus("keys", "--site", site, "--json")
    rows = {row["kind"]: row for row in json.loads(done.said.splitlines()[-1]) if row["partner"] == "telecom-authority"}
    assert rows.keys() == {"anchor", "crl-answer", "ocsp-answer"}
    assert rows["anchor"]["detail"] == "revocation: directory"
    assert f"{leaf.serial_number:x}" in rows["ocsp-answer"]["subject"]
    ends = datetime.fromisoformat(rows["ocsp-answer"]["not_after"]) - datetime.now(UTC)
    assert timedelta(minutes=58) < ends <= timedelta(hours=1)
