"""``govbus evidence`` and ``govbus verify`` as they are typed, beside a bus that is running; and messages with lives of other kinds."""

import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from evidence_rig import ROUTES, Told, keys, now, verify
from helping import become
from soap_rig import UNIT, Rig, build, document, until
from tsa_server import Authority

from adapters.soap import payloads
from bus import soap
from bus.evidence import Evidence
from bus.octets import digest, whole
from bus.proofs import Verdict
from bus.receipt import Receipt, Status
from bus.signature import wss
from bus.store import archive
from bus.store.archive import Order


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    said: str


@pytest.fixture
def govbus(told: Told) -> Callable[..., Done]:
    """Types a command, in a process of its own."""

    def typed(*words: object, language: str = "en") -> Done:
        with tempfile.TemporaryFile() as said:
            pid = os.fork()
            if not pid:
                where = {"GOVBUS_SITE": str(told.rig.site.root), "GOVBUS_STORE": "", "UNIT_PASSWORD": "bí mật", "GOVBUS_LANG": language}
                become(["govbus", *map(str, words)], where, said.fileno(), said.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said.seek(0)
            return Done(code, said.read().decode())

    return typed


def test_evidence_is_written_once_and_holds(govbus, message: str, trust: Path, tmp_path: Path) -> None:
    """By any id; it replaces nothing unasked, leaves nothing half-written, is for its owner's eyes, and verifies."""
    file = tmp_path / "tin-1.asice"
    done = govbus("evidence", "tin-1", "-o", file)
    assert (done.code, f"The evidence of message {message} was written to {file}" in done.said) == (0, True)
    assert (file.stat().st_mode & 0o777, [path.name for path in tmp_path.iterdir()]) == (0o600, ["tin-1.asice"])
    again = govbus("evidence", message, "-o", file, language="vi")
    assert (again.code, "đã tồn tại; dùng --force" in again.said) == (1, True)
    told = json.loads(govbus("evidence", message, "-o", file, "--force", "--json").said)
    assert (told["message"], told["unproved"], told["lost"]) == (message, 0, [])
    checked = govbus("verify", file, "--trust", trust, language="vi")
    assert (checked.code, "Chứng cứ đứng vững" in checked.said) == (0, True)
    assert "+ Gói nguyên vẹn" in checked.said


@pytest.mark.parametrize(("at", "part"), [(60, "mimetype"), (0.5, "/"), (-1, "end of the central directory")])
def test_a_changed_container_ends_the_command_with_1_and_the_part(govbus, container: bytes, tmp_path: Path, at: float, part: str) -> None:
    """Near its beginning, in its middle, at its end."""
    changed = bytearray(container)
    changed[int(at * len(container)) if 0 < at < 1 else int(at)] ^= 4
    (tmp_path / "changed.asice").write_bytes(changed)
    done = govbus("verify", tmp_path / "changed.asice")
    assert (done.code, part in done.said, "NOT PROVED" in done.said) == (1, True, True)


def test_wrong_usage_ends_with_2_and_nonsense_with_1(govbus, tmp_path: Path) -> None:
    """A file that is not there, a trust directory that is none, a message that nobody knows, a file that is no container."""
    nonsense = tmp_path / "x.asice"
    nonsense.write_bytes(b"")
    codes = [
        govbus("verify", tmp_path / "none.asice").code,
        govbus("verify", nonsense, "--trust", tmp_path / "none").code,
        govbus("evidence", "nobody", "-o", tmp_path / "y.asice").code,
        govbus("verify", nonsense).code,
    ]
    (tmp_path / "broken" / "site").mkdir(parents=True)
    (tmp_path / "broken" / "site" / "a.crt").write_text("no certificate")
    codes.append(govbus("verify", nonsense, "--trust", tmp_path / "broken").code)
    assert (codes, (tmp_path / "y.asice").exists()) == ([2, 2, 1, 1, 1], False)


def test_whom_nobody_vouches_for_ends_the_command_with_1_and_a_flat_directory_with_2(govbus, container: bytes, trust: Path) -> None:
    """A `?` and exit 1 for a party that is not listed; without --trust exit 0, and the last line says what is not established."""
    file = trust.parent / "roles.asice"
    file.write_bytes(container)
    alone = govbus("verify", file)
    assert (alone.code, "WHO SIGNED is not established" in alone.said.splitlines()[-1]) == (0, True)
    (trust / "partners" / UNIT).rename(trust / "aside")
    assert (govbus("verify", file, "--trust", trust).code, file.unlink()) == (2, None)
    (trust / "aside").rename(trust / "partners" / "G99")
    file.write_bytes(container)
    done = govbus("verify", file, "--trust", trust, "--json")
    told = json.loads(done.said)
    assert (done.code, told["ok"], told["signers_established"]) == (1, False, False)
    assert [line["verdict"] for line in told["lines"] if not line["vouched"]] == ["open"]
    (trust / "site" / "ca.crt").rename(trust / "ca.crt")
    flat = govbus("verify", file, "--trust", trust, language="vi")
    assert (flat.code, "Chưa tin gì cả" in flat.said, "site/" in flat.said) == (2, True, True)


def test_the_verifier_needs_neither_the_site_nor_its_store(govbus, container: bytes, tmp_path: Path) -> None:
    """In an empty directory, with no site named: the file is enough. As JSON each line has its words in both languages."""
    file = tmp_path / "alone.asice"
    file.write_bytes(container)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        done = govbus("verify", file, "--json")
    finally:
        os.chdir(before)
    told = json.loads(done.said)
    assert (done.code, told["ok"], {line["verdict"] for line in told["lines"]}) == (0, True, {"established", "open"})
    assert all(set(line["text"]) == {"vi", "en"} for line in told["lines"])


async def test_what_no_checkpoint_covers_yet_gets_one_first(govbus, told: Told, tmp_path: Path) -> None:
    """A message of this minute: the command states the journal itself, and its rows are proved."""
    message = await told.live("tin-moi", number=11, confirm=False)
    done = json.loads(govbus("evidence", message, "-o", tmp_path / "new.asice", "--json").said)
    assert (done["unproved"], done["checkpoints"]) == (0, 1)
    report = verify((tmp_path / "new.asice").read_bytes())
    assert {"verify-delivery", "verify-rows-proved"} <= set(keys(report))
    assert "verify-no-timestamp" in keys(report, Verdict.OPEN)


async def test_a_pruned_message_is_proved_from_its_archive(govbus, told: Told, tmp_path: Path) -> None:
    """The store has it no more; the archive has its rows and octets, and the store still its checkpoints."""
    message = await told.live("tin-cu", number=12)
    await told.checkpoint()
    parcel = tmp_path / "archive.tar"
    with told.rig.store.snapshot() as snapshot:
        order = Order(now() + timedelta(minutes=1), "kiểm thử", "", None, {})
        archive.write(snapshot, archive.segment(snapshot, "9999"), order, parcel)
    done = govbus("evidence", message, "-o", tmp_path / "old.asice", "--archive", parcel, "--json")
    assert (done.code, json.loads(done.said)["unproved"]) == (0, 0)
    report = verify((tmp_path / "old.asice").read_bytes())
    assert (report.ok, {"verify-request-carried", "verify-timestamp"} <= set(keys(report))) == (True, True)


async def test_a_body_over_a_mebibyte_is_proved_in_pieces(told: Told) -> None:
    """The request and the document lie in files, and the container holds them once each."""
    large = document(13).replace(b"</edXML:edXMLBody>", b"<!--" + b"x" * (2 << 20) + b"--></edXML:edXMLBody>")
    answer = await told.rig.post(told.rig.signed(payloads.send_content("tin-lon", large)), "plain")
    assert answer.status == 200
    await told.checkpoint()
    [story] = told.rig.store.show("tin-lon")
    octets = told.container(story.message["id"])
    report = verify(octets)
    assert (report.ok, {"verify-content", "verify-request-carried"} <= set(keys(report))) == (True, True)
    assert len(octets) < 2 * len(large) * 4 / 3


# --- delivery to a partner's own service -------------------------------------------------------------------------------

PUSHING = ROUTES.replace(
    "endpoints:\n", "endpoints:\n  agency: {soap: {url: URL, partner: other, security: {verify: wss-x509, sign: own/bus}}}\n"
).replace("  - {name: plain, from: plain, to: [{documents: To/OrganId}]}", "  - {name: plain, from: plain, to: [agency]}")


def _agency(rigs: list[Rig]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The partner's service: it takes each document, and signs a receipt about the octets that it was sent."""

    async def answer(request: web.Request) -> web.StreamResponse:
        rig = rigs[0]
        sealing = Evidence(rig.other, lambda _: True, now)
        envelope = soap.read(await request.read(), request.headers["Content-Type"])
        named = {name: envelope.payload.find(f"{{urn:govbus:exchange:v1}}{name}") for name in ("MessageId", "Document")}
        octets = envelope.hollow.canonical(named["Document"][0])
        receipt = Receipt(
            id="r-1",
            message_id=named["MessageId"].text,
            document_id="",
            sender="000.00.00.G14",
            recipient="000.00.00.G18",
            status=Status.ACCEPTED,
            code="2.0.0",
            reasons={"vi": "Đã nhận.", "en": "Taken."},
            at=now(),
            digest=digest(octets).hex(),
            previous="0" * 64,
        )
        payload = payloads.receipts_reply("SendDocument", [sealing.seal(receipt)])
        reply = whole(wss.enclose(envelope.version.namespace, payload, rig.other, now()))
        return web.Response(body=reply, content_type="text/xml", charset="utf-8")

    return answer


async def test_a_push_is_proved_by_the_partners_own_receipt(tmp_path: Path, certs: Path, authority: Authority) -> None:
    """What left, in which form, the partner's reply, and in it the partner's signature over the digest of what it was sent."""
    application = web.Application()
    runner = web.AppRunner(application)
    rigs: list[Rig] = []
    application.router.add_post("/", _agency(rigs))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    root = tmp_path / "pushing"
    root.mkdir()
    rigs.append(build(root, certs, PUSHING.replace("URL", f"http://127.0.0.1:{runner.addresses[0][1]}/")))
    rig, told = rigs[0], Told(rigs[0], authority)
    await rig.engine.start()
    try:
        await rig.post(rig.signed(payloads.send_content("tin-day", b'<?xml version="1.0"?>\n' + document(14))), "plain")
        await until(lambda: _delivered(rig))
        await told.checkpoint()
        [story] = rig.store.show("tin-day")
        report = verify(told.container(story.message["id"]))
    finally:
        await rig.engine.stop(grace=1)
        rig.store.close()
        await runner.cleanup()
    assert report.ok
    assert {"verify-sent-canonical", "verify-reply", "verify-partner-receipt"} <= set(keys(report))
    assert [line.values["who"] for line in report.lines if line.key == "verify-named" and line.values["who"] == "other"] == ["other"]


async def _delivered(rig: Rig) -> bool:
    [story] = rig.store.show("tin-day")
    return any(receipt["status"] == "DELIVERED" for receipt in story.receipts)
