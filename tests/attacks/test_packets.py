"""The files of a document: false ones are refused at the gate, exploding ones cost nobody anything, and what passes passes unchanged."""

import base64
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path

import attacked_site
import packets
import pytest
import pytest_asyncio
from attacker import Forger
from soap_rig import Rig, build, fault_code, until

from bus.edxml import files
from bus.octets import whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_SECONDS, MOST_GROWTH_MB, LEAST = 2.0, 400, 55
_GATE = "gate: [authorize: {sender: From/OrganId}, validate: {schema: edxml/v1/received.xsd, files: true}]"
#: As which a file claims to come; some kinds are packages themselves and are never opened.
KINDS = ("a.pdf", "a.docx", "a.zip")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> AsyncIterator[Rig]:
    """A bus whose gate looks at the files."""
    routes = attacked_site.ROUTES.replace("gate: [authorize: {sender: From/OrganId}]", _GATE).replace("TLS", "none")
    rig = build(tmp_path_factory.mktemp("strict"), certs, routes, attacked_site.ENVIRONMENT)
    await rig.engine.start()
    yield rig
    await rig.engine.stop(grace=1)
    rig.store.close()


async def test_a_false_file_is_refused_at_the_gate(strict: Rig, forger: Forger) -> None:
    """5.6.3 for each, in time; nothing but the refusal is kept."""
    wrong, names = [], set()
    for case in packets.packets(forger):
        names.add(case.name)
        began = time.process_time()
        response = await strict.post(case.body, content_type=case.content_type)
        spent = time.process_time() - began
        code = fault_code(response) if response.status != 200 else "accepted"
        if not code.startswith("5.6") or spent > MOST_SECONDS or len(whole(response.body)) > 64 * 1024:
            wrong.append(f"{case.name}: {code}, {spent:.1f} s")
    assert "\n".join(wrong) == ""
    assert len(names) >= LEAST
    assert {row["event"] for row in await strict.journal()} <= {"refused", "checkpoint"}


@pytest.mark.parametrize("name", KINDS)
async def test_opening_a_hostile_zip_is_bounded(name: str) -> None:
    """Whatever it says of itself, at most 64 MB come out, in time; or it stays closed, or it is that file's error."""
    for words, make in packets.ZIPS.items():
        data = make()
        began, size = time.process_time(), _resident_mb()
        try:
            opened = files.unpack(name, data)
        except ValueError as error:
            opened = str(error).encode()
        assert len(opened) <= max(files.MOST_UNPACKED, len(data)), words
        assert time.process_time() - began < MOST_SECONDS, words
        assert _resident_mb() - size < MOST_GROWTH_MB, words


async def test_a_package_passes_unopened(strict: Rig) -> None:
    """A zip that lies is its receiver's to judge, as any file is: the bus carries its octets, and writes none of them under their names."""
    before = {path for path in strict.site.root.rglob("*") if path.is_file()}
    held = {
        words: make()
        for words, make in packets.ZIPS.items()
        if words in {"a symbolic link", "an entry named as a path", "a wrong checksum"}
    }
    files_ = "".join(packets.attachment("a.zip", base64.b64encode(data).decode(), f"cid:{n}") for n, data in enumerate(held.values()))
    sent = packets.letter(77, files_)
    await strict.send(sent, "packages")

    async def waiting() -> object:
        return await strict.engine.pending("other", 1)

    (entry,) = await until(waiting)  # type: ignore[misc]
    fetched = await strict.engine.fetch("other", entry.message_id)
    assert whole(fetched.body) == sent
    new = {path.name for path in strict.site.root.rglob("*") if path.is_file()} - {path.name for path in before}
    assert not {"link", "x", "passwd"} & new


def _resident_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
