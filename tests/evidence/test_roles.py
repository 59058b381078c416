"""Who vouches for whom: a certificate counts in the role in whose place the verifier laid it, and in no other, whatever names it bears."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio
from evidence_rig import ROUTES, Told, broken, keys, now, verify
from soap_rig import MINISTRY, OTHER, UNIT, build
from tsa_server import Authority

from bus import asic, pki, proofs
from bus.errors import ConfigurationError
from bus.proofs import Report, Verdict, given
from bus.signer import Signer

FORGER = "000.00.00.G99"
SIGNATURES = {
    "The signature of the container",
    "The signature of the request",
    "The signature of a receipt",
    "The signature of the confirmation",
    "The signature of a checkpoint",
}


def unvouched(report: Report) -> set[str]:
    """Which signatures nobody vouches for: the beginning of each line."""
    return {line.say("en").partition(":")[0] for line in report.lines if not line.vouched}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def forged(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path, Authority]:
    """A partner's own bus, under authorities of its own making that bear our names: the evidence it writes, its PKI, its time-stamps."""
    certs = tmp_path_factory.mktemp("forger") / "certs"
    partners = {"unit": "Đơn vị", "other": "Bộ khác"}
    pki.development(certs, organisation_name="Bộ Thông tin và Truyền thông", partners=partners, now=now(), key_type="ec-p256")
    authority = Authority(now())
    authority.write(certs / "trust" / "tsa")
    rig = build(tmp_path_factory.mktemp("forged-site"), certs, ROUTES)
    await rig.engine.start()
    try:
        told = Told(rig, authority)
        message = await told.live("tin-gia", number=99)
        await told.checkpoint()
        return told.container(message), certs, authority
    finally:
        await rig.engine.stop(grace=1)
        rig.store.close()


def _listed(trust: Path, forged: tuple[bytes, Path, Authority]) -> Path:
    """The forger is a partner that the verifier knows: all of its authorities lie in its own place."""
    _, certs, authority = forged
    place = trust / "partners" / FORGER
    place.mkdir()
    for name in ("own", "trust/unit", "trust/other"):
        shutil.copy(certs / name / "ca.crt", place / f"{Path(name).name}.crt")
    (place / "tsa.crt").write_bytes((certs / "trust" / "tsa" / "ca.crt").read_bytes())
    assert authority.root.subject
    return trust


def test_a_partners_own_bus_forges_nothing(forged: tuple[bytes, Path, Authority], trust: Path) -> None:
    """Ministry, sender, receiver and time-stamps are all the forger's: `?` for each role, nothing of it established, and not good."""
    report = verify(forged[0], given.read(_listed(trust, forged)))
    assert (report.ok, broken(report), unvouched(report) >= SIGNATURES) == (False, [], True), [line.say("en") for line in report.lines]
    assert "verify-timestamp-untrusted" in keys(report, Verdict.OPEN)
    # The octets agree with each other, which proves nothing; no more than that is said.
    assert set(keys(report)) <= {"verify-container", "verify-request-carried"}
    assert report.conclusion.key == "cli-verify-unvouched"
    told = next(line for line in report.lines if not line.vouched)
    assert (MINISTRY in told.say("en"), MINISTRY in told.say("vi")) == (True, True)
    assert f"is that of partners/{FORGER}, and not of this role" in told.say("en")


def test_time_stamps_count_by_the_authority_that_lies_in_its_place(container: bytes, trust: Path) -> None:
    """An authority that is trusted as a party, or as the site, vouches for no time-stamp; nor does one for time-stamps vouch for a site."""
    (trust / "tsa" / "ca.crt").rename(trust / "site" / "tsa.crt")
    assert "verify-timestamp-untrusted" in keys(verify(container, given.read(trust)), Verdict.OPEN)
    (trust / "site" / "ca.crt").rename(trust / "tsa" / "ca.crt")
    report = verify(container, given.read(trust))
    assert (report.ok, {"The signature of the container", "The signature of a receipt"} <= unvouched(report)) == (False, True)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("site", {"The signature of the container", "The signature of a receipt", "The signature of a checkpoint"}),
        (f"partners/{UNIT}", {"The signature of the request"}),
        (f"partners/{OTHER}", {"The signature of the confirmation"}),
        ("tsa", {"Checkpoint 1 was time-stamped at"}),
    ],
)
def test_a_party_that_is_not_listed_is_left_open_and_not_good(container: bytes, trust: Path, gone: str, said: set[str]) -> None:
    """What it signed is `?`, and the evidence as a whole is not good; what others signed stands."""
    shutil.rmtree(trust / gone)
    report = verify(container, given.read(trust))
    found = {next((one for one in said if each.startswith(one)), each) for each in unvouched(report)}
    assert (found, report.ok, broken(report)) == (said, False, [])


def test_one_partners_place_does_not_serve_another(container: bytes, trust: Path) -> None:
    """Two partners' certificates in each other's places: neither request nor confirmation is anybody's, and it is said whose they are."""
    places = [trust / "partners" / code for code in (UNIT, OTHER)]
    places[0].rename(trust / "aside")
    places[1].rename(places[0])
    (trust / "aside").rename(places[1])
    report = verify(container, given.read(trust))
    assert (report.ok, unvouched(report)) == (False, {"The signature of the request", "The signature of the confirmation"})
    assert f"is that of partners/{OTHER}, and not of this role" in " ".join(line.say("en") for line in report.lines)


def test_a_place_of_another_code_does_not_serve_and_the_old_code_does(container: bytes, trust: Path) -> None:
    """The directory must be one of the organisation's codes as the evidence lists them: old and new are the same organisation."""
    (trust / "partners" / OTHER).rename(trust / "partners" / "G18")
    report = verify(container, given.read(trust))
    assert (report.ok, [line.values["target"] for line in report.lines if line.key == "verify-confirmation"]) == (True, ["G18"])
    (trust / "partners" / UNIT).rename(trust / "partners" / "000.00.02.G14")
    assert unvouched(verify(container, given.read(trust))) == {"The signature of the request"}


def _sealed(files: dict[str, bytes], signer: Signer) -> bytes:
    return b"".join(bytes(chunk) for chunk in asic.write(dict(files), signer, now()))


def test_what_a_partner_seals_is_not_the_sites(told: Told, message: str, trust: Path) -> None:
    """A partner that has genuine parts and signs the container itself: it is not the site's, and nothing rests on it."""
    report = verify(_sealed(told.files(message), told.rig.unit), given.read(trust))
    assert (report.ok, unvouched(report), "verify-accepted" in keys(report)) == (False, {"The signature of the container"}, False)


@pytest.mark.parametrize("pinned", [False, True])
def test_the_doors_key_signs_no_evidence(told: Told, message: str, certs: Path, trust: Path, *, pinned: bool) -> None:
    """The site's TLS certificate was issued for TLS: it seals nothing, under the site's authority or beside it."""
    if pinned:
        shutil.copy(certs / "own" / "tls.crt", trust / "site" / "tls.crt")
    report = verify(told.sealed(told.files(message), "own/tls"), given.read(trust))
    assert (report.ok, "verify-signed" in keys(report)) == (False, False)


def test_a_site_whose_certificate_was_revoked_before_proves_nothing(certs: Path, told: Told, container: bytes, trust: Path) -> None:
    """By the list that lies in its place, as of the time when it signed."""
    serial = told.rig.site.keyring.signer("own/bus").certificate.serial_number
    day = now().replace(hour=0, minute=0, second=0, microsecond=0)
    pki.revoke(trust / "site" / "ca.crl", pki.read_authority(certs / "development"), [serial], day)
    assert verify(container, given.read(trust)).ok is False


def test_the_lists_in_the_place_of_time_stamps_are_used(container: bytes, trust: Path, authority: Authority) -> None:
    """A time-stamp by a unit that its authority had revoked before does not hold; a list that names others takes nothing away."""
    day, root = now().replace(hour=0, minute=0, second=0, microsecond=0), pki.Authority(authority.root, authority.root_key)
    serial = authority.certificate.serial_number
    for named, holds in ((serial + 1, True), (serial, False)):
        pki.revoke(trust / "tsa" / "ca.crl", root, [named], day)
        report = verify(container, given.read(trust))
        assert (report.ok, [Path(part).suffix for part in broken(report)]) == (holds, [] if holds else [".tst"])


def test_an_evidence_of_the_first_form_is_read_and_goes_by_the_codes_of_its_rows(told: Told, message: str, trust: Path) -> None:
    """Containers of before list no parties: the codes in their rows name the places. Listing another party's codes proves no more."""
    files = told.files(message)
    said = json.loads(files["evidence.json"])
    parties = said.pop("parties")
    old = {**said, "format": "govbus-evidence/1"}
    files["evidence.json"] = json.dumps(old, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"
    assert verify(told.sealed(files), given.read(trust)).ok
    swapped = [{**one, "codes": [OTHER if one["name"] == "unit" else UNIT]} for one in parties]
    files["evidence.json"] = json.dumps({**said, "parties": swapped}, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"
    assert {"The signature of the request", "The signature of the confirmation"} <= unvouched(verify(told.sealed(files), given.read(trust)))


def test_without_trust_who_signed_is_not_established(forged: tuple[bytes, Path, Authority], container: bytes) -> None:
    """Unchanged is all that a file can show of itself: the last line says so, for the genuine one and for the forged one."""
    for octets in (container, forged[0]):
        report = verify(octets)
        assert (report.ok, report.conclusion.key) == (True, "cli-verify-unjudged")
        assert "WHO SIGNED is not established" in report.conclusion.say("en")


# --- how the directory is laid out -------------------------------------------------------------------------------------


def _flat(trust: Path) -> None:
    (trust / "site" / "ca.crt").rename(trust / "ca.crt")


def _as_before(trust: Path) -> None:
    (trust / "site").rename(trust / "ministry")


def _by_name(trust: Path) -> None:
    (trust / "partners" / UNIT).rename(trust / "partners" / "đơn vị")


def _in_no_party(trust: Path) -> None:
    (trust / "partners" / UNIT / "ca.crt").rename(trust / "partners" / "ca.crt")


def _hashed(trust: Path) -> None:
    (trust / "site" / "ca.crt").rename(trust / "0a1b2c3d.0")


def _hashed_list(trust: Path) -> None:
    (trust / "partners" / "0a1b2c3d.r0").write_bytes(b"")


def _windows(trust: Path) -> None:
    (trust / "partners" / UNIT / "ca.crt").rename(trust / "UNIT.P7B")


def _deeper(trust: Path) -> None:
    (trust / "site" / "old").mkdir()


def _link(trust: Path) -> None:
    os.symlink(trust / "site", trust / "partners" / "G99")


def _linked_file(trust: Path) -> None:
    os.symlink(trust / "site" / "ca.crt", trust / "partners" / UNIT / "more.crt")


def _file_for_a_place(trust: Path) -> None:
    shutil.rmtree(trust / "tsa")
    (trust / "tsa").write_bytes(b"")


def _empty(trust: Path) -> None:
    shutil.rmtree(trust)
    trust.mkdir()


MISPLACED = (
    *(_flat, _as_before, _by_name, _in_no_party, _hashed, _hashed_list, _windows),
    *(_deeper, _link, _linked_file, _file_for_a_place, _empty),
)


@pytest.mark.parametrize("change", MISPLACED)
def test_a_directory_that_does_not_say_who_is_who_is_refused(trust: Path, change: Callable[[Path], None]) -> None:
    """Flat as it was before, called by names, or with links that would give one role's place to another: nothing of it is believed."""
    change(trust)
    with pytest.raises(given.Misplaced) as refusal:
        given.read(trust)
    assert all("Nothing is believed" in fault.said("en") and "Chưa tin gì cả" in fault.said("vi") for fault in refusal.value.faults)


def test_notes_beside_the_places_are_passed_over(trust: Path) -> None:
    """A README of whoever laid it out is no certificate, and no mistake."""
    (trust / "README.txt").write_text("từ Bộ, ngày 1/3", encoding="utf-8")
    assert set(given.read(trust).places) == {"site", f"partners/{UNIT}", f"partners/{OTHER}", "tsa"}


def test_certificates_that_cannot_be_read_are_faults(trust: Path) -> None:
    """A place whose files are damaged is no empty place."""
    (trust / "site" / "ca.crt").write_text("no certificate")
    with pytest.raises(ConfigurationError):
        given.read(trust)


def test_nothing_in_a_container_makes_a_verification_stumble(trust: Path) -> None:
    """A file that is none is refused with trust as without."""
    assert proofs.verify(io.BytesIO(b"PK"), given.read(trust)).ok is False
