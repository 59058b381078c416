"""The step pdf-signatures in a bus: what it reports where, and whom it refuses."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from signed_pdfs import People, sign, unsigned, updated
from soap_rig import MINISTRY, OTHER, UNIT, Rig, fault_code, now

from adapters.soap import payloads
from bus import edxml
from bus.edxml.model import Attachment
from bus.errors import ConfigurationError, Rejected
from bus.exchange import Exchange
from bus.message import KIND, KIND_DOCUMENT, Message
from bus.octets import whole
from bus.steps import pdf_signatures
from bus.store.readers import Story
from sandbox import documents
from sandbox.documents import Kind, Party

MakeRig = Callable[..., Awaitable[Rig]]
SENDER = Party(UNIT, "Cục Viễn thông (giả định)", "Bộ", "CVT", "VP")
RECEIVER = Party(OTHER, "Bộ Y tế", "Bộ", "BYT", "VP")


def routes(options: str = "{trust: trust/signers}", place: str = "gate") -> str:
    return f"""\
site: {{organisation: {MINISTRY}, name: Bộ Thông tin và Truyền thông}}
partners:
  unit: {{codes: [{UNIT}], trust: trust/unit}}
  other: {{codes: [{OTHER}, G18], trust: trust/other}}
endpoints:
  documents: {{soap: {{path: /soap/documents, security: {{verify: wss-x509, sign: own/bus}}}}}}
routes:
  - {{name: documents, from: documents, {place}: [pdf-signatures: {options}], to: [{{documents: To/OrganId}}], receipts: documents}}
"""


def letter(*files: tuple[str, bytes], kind: Kind = Kind.NEW) -> bytes:
    """A document from the unit to the other ministry, with these files."""
    made = documents.document(kind, sender=SENDER, receivers=(RECEIVER,))
    attached = tuple(Attachment(name, data, f"{number}@unit") for number, (name, data) in enumerate(files))
    return edxml.write_document(replace(made, attachments=attached))


async def handed_in(rig: Rig, body: bytes) -> str:
    """What becomes of a document at the door: "" or the code of the refusal."""
    response = await rig.post(rig.signed(payloads.send_content("m-1", body)))
    return "" if response.status == 200 else fault_code(response)


def told(rig: Rig) -> Story:
    (story,) = rig.store.show("m-1")
    return story


def found(story: Story) -> dict[str, Any]:
    """What the journal says about each file."""
    (taps,) = (row["detail"]["taps"] for row in story.journal if "pdf-signatures" in row["detail"].get("taps", {}))
    return {file["name"]: file for file in taps["pdf-signatures"]}


async def test_the_record_of_a_message_says_who_signed_its_files(make_rig: MakeRig, officials: People) -> None:
    """A route without steps: what the gate found stands in the journal's row of the acceptance, and changes nothing else."""
    rig = await make_rig(routes())
    annexes = (("phụ lục.pdf", unsigned()), ("số liệu.xlsx", b"PK, a sheet"), ("quét.dat", sign(unsigned(9000), officials.ec)))
    assert await handed_in(rig, letter(("công văn.signed.pdf", sign(unsigned(), officials.rsa)), *annexes)) == ""
    said = found(told(rig))
    assert {name: file["state"] for name, file in said.items()} == {
        "công văn.signed.pdf": "signed",
        "phụ lục.pdf": "unsigned",
        "số liệu.xlsx": "other",
        "quét.dat": "signed",
    }
    (signature,) = said["công văn.signed.pdf"]["signatures"]
    assert (signature["trusted"], signature["certificate"]) == (True, officials.rsa.signing_cert.sha256.hex())
    (accepted,) = (row for row in told(rig).journal if row["event"] == "accepted")
    assert "pdf-signatures 4 files, 2 signed" in accepted["detail"]["history"]


async def test_in_the_steps_it_reports_after_acceptance(make_rig: MakeRig, officials: People) -> None:
    """The same in the row that says how the message was routed."""
    rig = await make_rig(routes(place="steps"))
    assert await handed_in(rig, letter(("công văn.pdf", sign(unsigned(), officials.rsa)))) == ""
    async with asyncio.timeout(20):
        while not any(row["event"] == "routed" for row in told(rig).journal):
            await asyncio.sleep(0.02)
    assert found(told(rig))["công văn.pdf"]["signatures"][0]["trusted"]


async def test_a_large_message_is_inspected_file_by_file(make_rig: MakeRig, officials: People) -> None:
    """Above 1 MiB the files stand outside the tree; they are the same files."""
    rig = await make_rig(routes())
    pdf = sign(unsigned(3_000_000), officials.rsa)
    assert await handed_in(rig, letter(("công văn.pdf", pdf), ("rỗng.pdf", unsigned(1_500_000)))) == ""
    said = found(told(rig))
    assert (said["công văn.pdf"]["size"], said["công văn.pdf"]["signatures"][0]["trusted"]) == (len(pdf), True)
    assert said["rỗng.pdf"]["state"] == "unsigned"


async def test_a_packed_pdf_is_unpacked_first(make_rig: MakeRig, officials: People) -> None:
    """In a zip with one entry, as the exchange's library (and our writer) packs what it does not know; a bomb in one is unreadable."""
    rig = await make_rig(routes())
    assert await handed_in(rig, letter(("công văn.dat", sign(unsigned(), officials.rsa)), ("bom.txt", bytes(80_000_000)))) == ""
    said = found(told(rig))
    assert said["công văn.dat"]["signatures"][0]["trusted"]
    assert (said["bom.txt"]["state"], said["bom.txt"]["detail"][:16]) == ("unreadable", "the zip unpacks ")


TRUSTED = "{demand: trusted, trust: trust/signers}"
CASES: Mapping[str, tuple[str, Callable[[People, People], list[tuple[str, bytes]]], str]] = {
    "signed as demanded": (TRUSTED, lambda us, _: [("a.pdf", sign(unsigned(), us.rsa))], ""),
    "signed twice": (TRUSTED, lambda us, _: [("a.pdf", sign(sign(unsigned(), us.rsa), us.ec, "b"))], ""),
    "no files at all": (TRUSTED, lambda _us, _: [], ""),
    "unsigned": (TRUSTED, lambda _us, _: [("a.pdf", unsigned())], "5.7.0"),
    "no PDF": (TRUSTED, lambda _us, _: [("a.docx", b"PK\x03\x04 a text")], "5.7.0"),
    "an annex unsigned": (TRUSTED, lambda us, _: [("a.pdf", sign(unsigned(), us.rsa)), ("b.pdf", unsigned())], "5.7.0"),
    "an annex unsigned, any will do": (
        "{demand: trusted, trust: trust/signers, of: any}",
        lambda us, _: [("a.pdf", sign(unsigned(), us.rsa)), ("b.pdf", unsigned())],
        "",
    ),
    "by a stranger": (TRUSTED, lambda _us, them: [("a.pdf", sign(unsigned(), them.rsa))], "5.7.7"),
    "by a stranger, valid will do": ("{demand: valid}", lambda _us, them: [("a.pdf", sign(unsigned(), them.rsa))], ""),
    "by a stranger as well": (TRUSTED, lambda us, them: [("a.pdf", sign(sign(unsigned(), us.rsa), them.ec, "b"))], "5.7.7"),
    "changed afterwards": ("{demand: valid}", lambda us, _: [("a.pdf", updated(sign(unsigned(), us.rsa)))], "5.7.7"),
    "damaged": ("{demand: valid}", lambda us, _: [("a.pdf", sign(unsigned(), us.rsa)[:-40])], "5.7.7"),
    "more files than are looked at": (
        "{demand: valid, of: each}",
        lambda us, _: [*((f"{number}.pdf", sign(unsigned(100), us.ec)) for number in range(1)), *((f"{n}.txt", b"-") for n in range(50))],
        "5.7.7",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_gate_refuses_what_is_not_signed_as_demanded(make_rig: MakeRig, officials: People, strangers: People, name: str) -> None:
    """5.7.0 for what is not signed, 5.7.7 for what is signed otherwise; refused at the door, and nothing of it is kept."""
    options, files, code = CASES[name]
    rig = await make_rig(routes(options))
    assert await handed_in(rig, letter(*files(officials, strangers))) == code
    assert bool(rig.store.show("m-1")) is not bool(code)


async def test_the_refusal_names_file_and_reason_in_both_languages(make_rig: MakeRig, officials: People) -> None:
    """An official reads which file is not signed, in Vietnamese and in English."""
    rig = await make_rig(routes(TRUSTED))
    response = await rig.post(rig.signed(payloads.send_content("m-1", letter(("tờ trình.pdf", unsigned())))))
    text = whole(response.body).decode()
    assert "Văn bản chưa được ký số: không có chữ ký trong tệp PDF (tờ trình.pdf)." in text
    assert "The document is not signed: there is no PDF signature (tờ trình.pdf)." in text


async def test_a_status_and_a_recall_pass(make_rig: MakeRig) -> None:
    """A status has no files; a recall has none to be signed."""
    rig = await make_rig(routes(TRUSTED))
    assert await handed_in(rig, letter(kind=Kind.RECALL)) == ""


async def test_what_is_edxml_no_more_is_passed_over_unless_signatures_are_demanded(make_rig: MakeRig) -> None:
    """After a transformation into somebody's own XML there is nothing to report; where a signature is demanded that is not enough."""
    site = (await make_rig(routes())).site
    sent = Message("m", {KIND: KIND_DOCUMENT}, b"<their-own/>")
    exchange = Exchange(sent, sent, "r", now())
    build = pdf_signatures.build
    assert build(pdf_signatures.Options(), site)(exchange) == exchange
    with pytest.raises(Rejected, match=r"5\.6\."):
        build(pdf_signatures.Options(demand="valid"), site)(exchange)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("{trust: trust/nobody}", "certs/trust/nobody does not exist"),
        ("{demand: trusted}", "needs 'trust'"),
        ("{demand: perhaps}", "demand"),
    ],
)
async def test_a_mistake_in_its_options_is_a_fault_of_the_site(make_rig: MakeRig, options: str, fault: str) -> None:
    """Found when the site is checked, at its line."""
    with pytest.raises(ConfigurationError, match=fault):
        await make_rig(routes(options))


@pytest.mark.parametrize(("language", "words"), [("vi", "hợp lệ, tin cậy"), ("en", "valid, trusted")])
async def test_show_tells_an_operator(make_rig: MakeRig, officials: People, language: str, words: str) -> None:
    """`govbus show` lists each file with its signatures, and the JSON has all that was found."""
    rig = await make_rig(routes())
    assert await handed_in(rig, letter(("[/công văn].pdf", sign(unsigned(), officials.rsa)), ("b.pdf", unsigned()))) == ""
    shown = await asyncio.to_thread(_show, rig.site.root, language)
    assert "[/công văn].pdf" in shown
    assert words in shown
    assert {"vi": "chưa ký số", "en": "unsigned"}[language] in shown
    if language == "vi":
        (story,) = orjson.loads(await asyncio.to_thread(_show, rig.site.root, language, "--json"))
        (taps,) = (row["detail"]["taps"]["pdf-signatures"] for row in story["journal"] if row["detail"].get("taps"))
        assert taps[0]["signatures"][0]["signer"].startswith("CN=chanh-van-phong")


def _show(site: Path, language: str, *more: str) -> str:
    command = [sys.executable, "-m", "bus", "show", "m-1", "--site", str(site), *more]
    environment = {**os.environ, "GOVBUS_LANG": language, "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


async def test_the_event_loop_goes_on_while_a_pdf_is_read(make_rig: MakeRig, officials: People) -> None:
    """A PDF that takes a second to give up on holds up its own message and nothing else; one without signatures is not read at all."""
    rig = await make_rig(routes("{within: 1s}"))
    body = letter(("chậm.pdf", b"%PDF-1.7 /ByteRange\n" + b"1 0 obj\n[" + b"4 0 R " * 100_000 + b"]\nendobj\n%%EOF"))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    assert await handed_in(rig, body) == ""
    ticking.cancel()
    assert ticks > 50
