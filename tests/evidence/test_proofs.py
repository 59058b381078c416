"""What a verification establishes, what it leaves open, and what it finds: every insider's forgery is signed by the site itself."""

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from evidence_rig import Told, broken, keys, now, verify
from soap_rig import UNIT, document

from adapters.soap import payloads
from bus import mime, pki, soap
from bus.message import CREDENTIAL
from bus.octets import whole
from bus.proofs import Verdict, given
from bus.signature import username, wss
from bus.signature.profile import WSSE, WSU
from bus.soap import SOAP_11

WHOLE = [
    "verify-container",
    "verify-signed",
    "verify-accepted",
    "verify-content",
    "verify-request",
    "verify-request-carried",
    *["verify-receipt"] * 3,
    "verify-delivery",
    "verify-confirmation",
    "verify-rows-proved",
    "verify-timestamp",
    *["verify-used"] * 3,
]


def test_a_whole_life_is_established_line_by_line(container: bytes, trust: Path) -> None:
    """With the verifier's own trust everything is established, and nothing is left open."""
    report = verify(container, given.read(trust))
    assert (keys(report), keys(report, Verdict.OPEN), report.ok) == (WHOLE, [], True)


def test_without_trust_it_says_whose_fingerprints_to_compare(container: bytes, told: Told) -> None:
    """The same, but nobody is trusted: site, sender and time-stamp authority are named, in Vietnamese and in English."""
    report = verify(container)
    named = [line for line in report.lines if line.key == "verify-named"]
    assert (keys(report), report.ok) == (WHOLE, True)
    assert [line.values["who"] for line in named] == ["000.00.00.G14", "unit", "other", "TSA"]
    fingerprint = sha256(told.rig.unit.certificate_der).hexdigest()
    assert f"unit is only named: compare SHA-256 {fingerprint}" in named[1].say("en")
    assert f"unit chỉ được nêu tên: hãy so SHA-256 {fingerprint}" in named[1].say("vi")


@pytest.mark.parametrize(("ago", "holds"), [(timedelta(hours=1), False), (timedelta(hours=-1), True)])
def test_a_sender_revoked_before_it_sent_proves_nothing(
    container: bytes, certs: Path, told: Told, trust: Path, ago: timedelta, holds: bool
) -> None:
    """A revocation counts from its own date: one after the message takes nothing away."""
    authority = pki.read_authority(certs / "development" / "unit")
    pki.revoke(trust / "partners" / UNIT / "ca.crl", authority, [told.rig.unit.certificate.serial_number], now() - ago)
    report = verify(container, given.read(trust))
    assert report.ok is holds
    if not holds:
        [line] = [line for line in report.lines if line.verdict is Verdict.BROKEN]
        assert (line.part, "revoked" in line.say("en"), "thu hồi" in line.say("vi")) == ("message/request.xml", True, True), line.say("en")


def _replace(name: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        found = next(each for each in files if name in each)
        assert old in files[found]
        files[found] = files[found].replace(old, new, 1)

    return change


def _remove(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        del files[next(each for each in files if name in each)]

    return change


def _told(change: Callable[[dict[str, object]], object]) -> Callable[[dict[str, bytes]], None]:
    def changed(files: dict[str, bytes]) -> None:
        said = json.loads(files["evidence.json"])
        change(said)
        files["evidence.json"] = json.dumps(said, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"

    return changed


def _first(said: dict[str, object], **values: object) -> None:
    said["rows"][0]["proof"].update(values)  # type: ignore[index]


INSIDER: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "a journal row's time": (_replace("-accepted.json", b'"at":"20', b'"at":"19'), "journal/0001-accepted.json"),
    "a journal row's detail": (_replace("-confirmed.json", b"DONE", b"DEAD"), "journal/0005-confirmed.json"),
    "the message's row": (_replace("message/row.json", b'"subject":"V', b'"subject":"W'), "message/row.json"),
    "the content": (_replace("message/content.xml", b"Nguy", b"nguy"), ""),
    "the request": (_replace("message/request.xml", b"<x:MessageId>tin-1", b"<x:MessageId>tin-2"), ""),
    "a receipt": (_replace("-CONFIRMED.xml", b"CONFIRMED", b"DELIVERED"), "journal/0005-confirmed.json"),
    "the receiver's word": (_replace("-CONFIRMED-reply.bin", b">done<", b">fail<"), ""),
    "a receipt left out": (_remove("-FETCHED.xml"), "journal/0004-fetched.json"),
    "a delivery left out": (_remove("deliveries/03.json"), "delivery"),
    "a delivery's receiver": (_replace("deliveries/03.json", b'"owner":"other"', b'"owner":"unit"'), "delivery"),
    "a checkpoint": (_replace("00000001.xml", b"<Number>1<", b"<Number>2<"), "checkpoints/00000001.xml"),
    "a checkpoint left out": (_remove("checkpoints/00000001.xml"), "checkpoints/00000001.xml"),
    "a time-stamp": (lambda files: files.update({"checkpoints/00000001.tst": files["checkpoints/00000001.tst"][:-1] + b"\0"}), ".tst"),
    "the route": (_replace("-route.json", b"documents", b"documentz"), "used/01-route.json"),
    "a stylesheet": (lambda files: files.update({"used/03-transform.xsl": b"<x/>"}), "used/03-transform.xsl"),
    "a certificate left out": (_remove("certificates/01.cer"), "certificates/01.cer"),
    "a row left out of the list": (_told(lambda said: said["rows"].pop(0)), "evidence.json"),  # type: ignore[attr-defined]
    "another index": (_told(lambda said: _first(said, index=1)), "journal/0001-accepted.json"),
    "another path": (_told(lambda said: _first(said, path=["00" * 32])), "journal/0001-accepted.json"),
    "no path": (_told(lambda said: _first(said, path=[])), "journal/0001-accepted.json"),
    "another span": (_told(lambda said: _first(said, last=3)), "journal/0001-accepted.json"),
    "a path of words": (_told(lambda said: _first(said, path=["zz"])), "journal/0001-accepted.json"),
    "a path of numbers": (_told(lambda said: _first(said, path=[7])), "proved"),
    "another organisation": (_told(lambda said: said.update(organisation="000.00.00.G99")), "checkpoints/00000001.xml"),
    "another message": (_told(lambda said: said.update(message="x")), "journal/0001-accepted.json"),
    "a manifest of another kind": (_told(lambda said: said.update(format="x/1")), "evidence.json"),
    "a manifest that says more": (_told(lambda said: said.update(more=1)), "evidence.json"),
    "a manifest in another spelling": (lambda files: files.update({"evidence.json": files["evidence.json"] + b" "}), "evidence.json"),
    "a manifest ten thousand deep": (lambda files: files.update({"evidence.json": b"[" * 10_000}), "evidence.json"),
    "no manifest": (_remove("evidence.json"), "evidence.json"),
    "a certificate of nonsense": (lambda files: files.update({"certificates/01.cer": b"0\x82"}), "certificates"),
    "a token of nonsense": (lambda files: files.update({"checkpoints/00000001.tst": b"0\x82\xff\xff"}), ".tst"),
    "a token of five megabytes": (lambda files: files.update({"checkpoints/00000001.tst": b"0" * (5 << 20)}), ".tst"),
    "a row that is no row": (lambda files: files.update({"journal/0002-claimed.json": b"[]"}), "journal/0002-claimed.json"),
}


@pytest.mark.parametrize("what", INSIDER)
def test_what_the_site_itself_signs_must_still_agree(told: Told, message: str, what: str) -> None:
    """The site's key signs the container, and cannot make the journal, its checkpoints and the partner's signature say anything else."""
    change, part = INSIDER[what]
    files = told.files(message)
    change(files)
    report = verify(told.sealed(files))
    named = broken(report)
    if part:
        assert not report.ok
        assert any(part in each or (part == "delivery" and "-" in each) for each in named), named
    else:
        # Octets that nothing names any more: what was to be proved by them is not.
        assert {"verify-content", "verify-request", "verify-confirmation"} - set(keys(report))


def test_rows_in_no_checkpoint_and_checkpoints_without_time_stamp_are_left_open(told: Told, message: str) -> None:
    """Before the minute is over a row's time is the site's word, and it is said so."""
    files = told.files(message)
    _told(lambda said: [row.update(proof=None) for row in said["rows"][3:]])(files)  # type: ignore[index]
    _told(lambda said: said["checkpoints"][0].update(token=""))(files)  # type: ignore[index]
    report = verify(told.sealed(files))
    assert {"verify-rows-unproved", "verify-no-timestamp"} <= set(keys(report, Verdict.OPEN))
    assert report.ok


async def test_a_later_time_stamp_covers_a_checkpoint_through_those_between(told: Told, trust: Path) -> None:
    """Three checkpoints, and only the last is stamped: it names the one before by digest, and that one the first. All must be there."""
    message = await told.live("tin-muon", number=3)
    for number in range(3):
        await told.rig.store.note("looked", {"by": "kiểm thử"})
        last = await told.checkpoint(stamped=number == 2)
    files = told.files(message)
    assert [name for name in files if name.endswith(".tst")] == [f"checkpoints/{last.number:08}.tst"]
    assert "verify-timestamp" in keys(verify(told.sealed(files), given.read(trust)))
    middle = json.loads(files["evidence.json"])["checkpoints"][1]
    other = told.files(message)
    _told(lambda said: said["checkpoints"].pop(1))(other)  # type: ignore[attr-defined]
    del other[middle["file"]]
    assert "verify-no-timestamp" in keys(verify(told.sealed(other), given.read(trust)), Verdict.OPEN)


async def test_a_sender_without_a_signature_is_said_to_have_none(told: Told) -> None:
    """A password proves the sender to the bus and to nobody else: no request is kept, and what there was is named."""
    login = username.write(username.Account("unit", "bí mật"), b"n" * 16, now())("1").text
    header = f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}">{login}</wsse:Security>'.encode()
    answer = await told.rig.post(whole(soap.envelope(SOAP_11, payloads.send_content("tin-mat-khau", document(5)), header)), "passwords")
    assert answer.status == 200
    [story] = told.rig.store.show("tin-mat-khau")
    assert (story.message["headers"][CREDENTIAL], story.message["request"]) == ("wss-username", "")
    octets = told.container(story.message["id"])
    line = next(line for line in verify(octets).lines if line.key == "verify-no-request")
    assert "wss-username" in line.say("en")
    assert "bí mật".encode() not in octets


async def test_a_request_with_its_document_beside_the_envelope_proves_its_sender_too(told: Told) -> None:
    """SOAP with Attachments: the kept package holds the part and the signature over it, and both are verified again."""
    place = b'<x:SendDocument xmlns:x="urn:govbus:exchange:v1"><x:MessageId>tin-kem</x:MessageId><x:Content href="cid:f"/></x:SendDocument>'
    parts = {"f": document(8)}
    signed = wss.sign(soap.envelope(SOAP_11, place), told.rig.unit, now(), attachments=parts)
    content_type, package = mime.package(signed, "text/xml; charset=utf-8", "text/xml", parts)
    answer = await told.rig.post(whole(package), "plain", content_type=content_type.replace("application/xop+xml", "text/xml"))
    assert answer.status == 200
    [story] = told.rig.store.show("tin-kem")
    assert {"verify-request", "verify-request-carried"} <= set(keys(verify(told.container(story.message["id"]))))


async def test_nothing_of_another_message_and_no_secret_is_in_it(told: Told, certs: Path) -> None:
    """Another document of the same day, another partner's words, our keys and passwords: none of their octets."""
    mine = await told.live("tin-cua-toi", number=6)
    await told.live("tin-cua-nguoi", number=7)
    await told.checkpoint()
    octets = told.container(mine)
    [other] = told.rig.store.show("tin-cua-nguoi")
    secrets = [path.read_bytes().split(b"\n")[1] for path in sorted(certs.rglob("*.key"))]
    strangers = [b"tin-cua-nguoi", other.message["id"].encode(), other.message["digest"].encode(), b"7/CV-TN", "bí mật".encode()]
    assert [each for each in (*strangers, *secrets) if each in octets] == []


async def test_what_the_site_no_longer_has_is_known_by_its_digest(told: Told, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stylesheet that was changed since is not shown; content that is lost is said to be, and receipts still prove what was there."""
    files = told.files(message)
    digest = sha256(files["message/content.xml"]).hexdigest()
    gone = {name: octets for name, octets in files.items() if name not in {"message/content.xml", "used/03-transform.xsl"}}
    _told(lambda said: (said["lost"].append(digest), said["used"][2].update(file="")))(gone)  # type: ignore[attr-defined,index]
    report = verify(told.sealed(gone))
    assert {"verify-content-lost", "verify-used-gone"} <= set(keys(report, Verdict.OPEN))
    assert (report.ok, keys(report).count("verify-receipt")) == (True, 3)


def test_openssl_verifies_the_time_stamp(told: Told, message: str, tmp_path: Path) -> None:
    """The token and the checkpoint that it is about, by ``openssl ts``; a changed checkpoint is refused."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    told.authority.write(tmp_path)
    for name, octets in told.files(message).items():
        if name.startswith("checkpoints/"):
            (tmp_path / Path(name).name).write_bytes(octets)
    checkpoint = tmp_path / "00000001.xml"
    command = [openssl, "ts", "-verify", "-token_in", "-in", "00000001.tst", "-data", checkpoint.name, "-CAfile", "ca.crt"]
    results = [subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=30, check=False).returncode]
    checkpoint.write_bytes(checkpoint.read_bytes() + b" ")
    results.append(subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=30, check=False).returncode)
    assert (results[0] == 0, results[1] == 0) == (True, False)
