"""A partner's name is not its identity: mail, ids and history belong to the organisation behind the codes, whatever it is called."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from helping import Done, govbus

from bus import continuity, daemon, scaffold
from bus.errors import ConfigurationError, Fault, Rejected
from bus.message import DOCUMENT_ID, ENDPOINT, FROM, KIND, RECEIVERS, SENDER, SENDER_MESSAGE_ID, Message
from bus.octets import whole
from bus.store import Owed, Store
from bus.store.tables import LATER
from sandbox import documents
from sandbox.documents import SECURITY_AUTHORITY, TELECOM_AUTHORITY, Party
from sandbox.process import BusProcess
from sandbox.unit import Unit

OLD, NEW = "digital-agency", "cyber-agency"
KEYS = {TELECOM_AUTHORITY.code: "telecom-authority", SECURITY_AUTHORITY.code: OLD}


@pytest.fixture(scope="session")
def keys_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh site: its keys take a second to make."""
    directory = tmp_path_factory.mktemp("names") / "site"
    scaffold.create(directory, datetime.now(UTC), {"AGENCY_URL": "https://127.0.0.1:1/soap/documents", "VXP_URL": "http://127.0.0.1:1/vxp"})
    return directory


@pytest.fixture
def site(tmp_path: Path, keys_made_once: Path) -> Path:
    """A site of the test's own."""
    return shutil.copytree(keys_made_once, tmp_path / "site")


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Either kind of store."""
    if request.param == "sqlite":
        return {}
    server = request.getfixturevalue("postgres")
    name = f"names_{os.getpid()}_{abs(hash(request.node.name)) % 10**8}"
    engine = sa.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return {"GOVBUS_STORE": server.url(name)}


def edited(site: Path, *changes: tuple[str, str]) -> None:
    """routes.yaml with some texts replaced, each of which must be there."""
    path = site / "routes.yaml"
    text = path.read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")


def renamed(site: Path) -> None:
    """OLD is called NEW: the same codes, the same certificates."""
    edited(site, (f"\n  {OLD}:", f"\n  {NEW}:"))


def checked(site: Path, environment: Mapping[str, str] | None = None) -> list[Fault]:
    given = environment or {}
    return continuity.check(site, given, daemon.store_url(site, given), daemon.utc_now)


async def begun(site: Path, environment: Mapping[str, str], *, mail: int = 1, sent: int = 0, code: str = "000.00.02.G14") -> None:
    """A generation was taken, OLD has sent so much, and so much waits in its mailbox."""
    with daemon.opened(site, environment, "main") as (loaded, store):
        await store.take(loaded.site.codes())
        for number in range(mail):
            await accepted(store, "telecom-authority", f"to-{number}", owner=OLD, code=code)
        for number in range(sent):
            await accepted(store, OLD, f"from-{number}", owner="telecom-authority")


async def accepted(store: Store, sender: str, name: str, owner: str, code: str = "") -> bool:
    """Hand a document in for somebody's mailbox; whether it was known already."""
    headers = {SENDER: sender, SENDER_MESSAGE_ID: name, FROM: "000.00.02.G14", KIND: "document", DOCUMENT_ID: name, RECEIVERS: code}
    message = Message(f"{sender}-{name}-{os.urandom(4).hex()}", {**headers, ENDPOINT: "unit-documents"}, f"<d>{name}</d>".encode())
    owed = Owed("unit-documents", "unit-inbox", message, expires=daemon.utc_now() + timedelta(days=5), owner=owner)
    return (await store.accept(message, owed, receipts_to="unit-inbox")).duplicate


def wrong(faults: list[Fault]) -> list[str]:
    return [fault.text for fault in faults if not fault.warning]


async def rename(site: Path, environment: Mapping[str, str], old: str = OLD, new: str = NEW) -> None:
    with daemon.opened(site, environment, "operator") as (loaded, store):
        await store.rename(old, new, loaded.site.partners[new].codes, "nguyen.a", "đổi tên")


async def typed(*words: object) -> Done:
    """A command in a process of its own, while the test goes on."""
    environ = {**os.environ, "GOVBUS_LANG": "en", "GOVBUS_STORE": ""}
    pipe, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bus", *map(str, words), stdout=pipe, stderr=both, env=environ)
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    return Done(process.returncode or 0, said.decode())


@asynccontextmanager
async def unit(bus: BusProcess, party: Party) -> AsyncIterator[Unit]:
    keys, trust = bus.site / "certs" / "development" / KEYS[party.code], bus.site / "certs" / "own"
    async with Unit.connect(bus.url, party.code, keys=keys, trust=trust) as connected:
        yield connected


def letter(number: int, sender: Party, receiver: Party) -> bytes:
    return documents.make(size=5_000, seed=number, sender=sender, receivers=(receiver,), number=number)


async def test_a_renamed_partner_keeps_its_mail_its_ids_and_its_history(site: Path, start: Callable[..., BusProcess]) -> None:
    """The whole way: refused by check and reload, moved beside the running daemon, taken up; the same key opens the same mailbox."""
    bus = start(site)
    there, back = letter(1, TELECOM_AUTHORITY, SECURITY_AUTHORITY), letter(2, SECURITY_AUTHORITY, TELECOM_AUTHORITY)
    async with unit(bus, TELECOM_AUTHORITY) as sender, unit(bus, SECURITY_AUTHORITY) as owner:
        await sender.send(there, "there")
        first = await owner.send(back, "back")
        renamed(site)
        for command in ("check", "reload"):
            refused = await typed(command, "--site", site)
            assert refused.code == 1
            assert f"govbus partner rename {OLD} {NEW} --reason" in refused.said
        # The generation of before runs on.
        assert "there" in [entry.message_id for entry in await owner.pending()]
        moved = await typed("partner", "rename", OLD, NEW, "--reason", "đổi tên", "--site", site, "--json")
        assert (moved.code, moved.json["documents"], moved.json["sent"]) == (0, 1, 1)
        assert "there" in [entry.message_id for entry in await owner.pending()]
        reloaded = await typed("reload", "--site", site)
        assert reloaded.code == 0, reloaded.said
    async with unit(bus, SECURITY_AUTHORITY) as owner:
        assert "there" in [entry.message_id for entry in await owner.pending()]
        assert whole((await owner.fetch("there")).body)
        await owner.confirm("there")
        assert (await owner.send(back, "back")).id == first.id
        with pytest.raises(Rejected) as other:
            await owner.send(letter(3, SECURITY_AUTHORITY, TELECOM_AUTHORITY), "back")
        assert "5.6.9" in str(other.value)
        assert first.id in [receipt.id for receipt in await owner.receipts("back")]
        await owner.send(letter(4, SECURITY_AUTHORITY, TELECOM_AUTHORITY), "after")
    for name in (OLD, NEW):
        assert len(govbus("messages", "--partner", name, "--site", site, "--json").json) == 2
    assert govbus("show", "back", "--partner", NEW, "--site", site).code == 0
    assert govbus("audit", "--site", site).code == 0
    again = govbus("partner", "rename", OLD, NEW, "--reason", "again", "--site", site)
    assert (again.code, "nothing to move" in again.said) == (1, True)
    assert govbus("check", "--site", site).code == 0
    proof = site / "back.asice"
    assert govbus("evidence", "back", "-o", proof, "--site", site).code == 0
    assert govbus("verify", proof).code == 0
    for place, directory in (("site", "own"), (f"partners/{SECURITY_AUTHORITY.code}", f"trust/{OLD}")):
        (site / "given" / place).mkdir(parents=True)
        shutil.copy(site / "certs" / directory / "ca.crt", site / "given" / place)
    judged = govbus("verify", proof, "--trust", site / "given")
    assert judged.code == 0, judged.said


async def test_a_start_on_a_renamed_partner_is_refused_with_the_cure(site: Path) -> None:
    """Nothing is bound or locked; after the renaming the daemon starts."""
    await begun(site, {})
    renamed(site)
    done = govbus("run", "--site", site, "--port", "0")
    assert done.code == 1
    assert f"govbus partner rename {OLD} {NEW}" in done.said
    await rename(site, {})
    assert wrong(checked(site)) == []


@pytest.mark.parametrize(("mail", "sent"), [(1, 0), (0, 1)], ids=["mail", "ids-only"])
async def test_check_names_what_hangs_on_the_old_name(site: Path, environment: Mapping[str, str], mail: int, sent: int) -> None:
    """Mail that waits, or nothing but the ids of what was sent: at the place of the new name, in both languages, with the counts."""
    await begun(site, environment, mail=mail, sent=sent)
    assert checked(site, environment) == []
    renamed(site)
    [fault] = checked(site, environment)
    line = (site / "routes.yaml").read_text(encoding="utf-8").splitlines()[fault.line - 1]
    assert (fault.file, fault.warning, line.strip().startswith(NEW)) == ("routes.yaml", False, True)
    assert f"govbus partner rename {OLD} {NEW}" in fault.text
    assert f"{mail} documents" in fault.text
    assert f"{sent} messages" in fault.text
    assert "govbus partner rename" in fault.vi
    await rename(site, environment)
    assert checked(site, environment) == []


async def test_after_a_renaming_all_is_the_new_names(site: Path, environment: Mapping[str, str]) -> None:
    """Mailbox, ids, receipts and search, on both stores; and the journal says who, why and how much. The audit is clean."""
    await begun(site, environment, mail=2, sent=1)
    renamed(site)
    await rename(site, environment)
    with daemon.opened(site, environment, "main") as (_, store):
        assert sorted(entry.message_id for entry in await store.pending(NEW, 10, ("document",))) == ["to-0", "to-1"]
        assert await accepted(store, NEW, "from-0", owner="telecom-authority")
        assert not await accepted(store, NEW, "from-1", owner="telecom-authority")
        assert len(await store.receipts(NEW, "from-0")) == 1
        assert {found.public_id for found in store.search(partner=NEW)} == {"from-0", "from-1"}
        assert (await store.fetch(NEW, "to-1")).body == b"<d>to-1</d>"
        first = await store.confirm(NEW, "to-1", True)
        assert (await store.confirm(NEW, "to-1", True)).xml == first.xml
        with store.snapshot() as snapshot:
            [told] = [json.loads(row.detail) for row in snapshot.told("renamed")]
    assert (told["old"], told["new"], told["by"], told["documents"], told["sent"]) == (OLD, NEW, "nguyen.a", 2, 1)
    report = govbus("audit", "--site", site, "--json", **environment)
    assert report.code == 0, report.said


async def test_a_node_that_has_not_reloaded_goes_on_under_the_old_name(site: Path, environment: Mapping[str, str]) -> None:
    """What it still accepts and shows under the old name is the same partner's, and is found under the new one."""
    await begun(site, environment)
    with daemon.opened(site, environment, "main") as (_, behind):
        renamed(site)
        await rename(site, environment)
        assert len(await behind.pending(OLD, 10, ("document",))) == 1
        await accepted(behind, "telecom-authority", "late", owner=OLD)
    with daemon.opened(site, environment, "main") as (_, store):
        assert sorted(entry.message_id for entry in await store.pending(NEW, 10, ("document",))) == ["late", "to-0"]


async def test_there_and_back_again(site: Path, environment: Mapping[str, str]) -> None:
    """A partner may have its old name back; twice round, nothing is lost and the audit stays clean."""
    await begun(site, environment, mail=1, sent=1)
    for _ in range(2):
        renamed(site)
        await rename(site, environment)
        edited(site, (f"\n  {NEW}:", f"\n  {OLD}:"))
        assert f"govbus partner rename {NEW} {OLD}" in " ".join(wrong(checked(site, environment)))
        await rename(site, environment, NEW, OLD)
        assert wrong(checked(site, environment)) == []
    with daemon.opened(site, environment, "main") as (_, store):
        assert len(await store.pending(OLD, 10, ("document",))) == 1
        assert await accepted(store, OLD, "from-0", owner="telecom-authority")
    assert govbus("audit", "--site", site, **environment).code == 0


async def test_two_partners_that_swap_their_names_are_refused(site: Path) -> None:
    """Each would open the other's mailbox: refused for both, with the cure of names that were never used; no renaming helps."""
    await begun(site, {}, mail=1, sent=1)
    edited(site, (f"\n  {OLD}:", "\n  held:"), ("\n  telecom-authority:", f"\n  {OLD}:"), ("\n  held:", "\n  telecom-authority:"))
    texts = wrong(checked(site))
    assert len(texts) == 2
    assert all("never used" in text for text in texts)
    done = govbus("partner", "rename", OLD, "telecom-authority", "--reason", "why", "--site", site)
    assert (done.code, "still a partner" in done.said) == (1, True)


async def test_a_former_name_is_no_newcomers(site: Path) -> None:
    """What lies under it belongs to the partner that had it."""
    await begun(site, {})
    renamed(site)
    await rename(site, {})
    edited(site, (f"\n  {NEW}:", f"\n  {OLD}: {{codes: [X99]}}\n  {NEW}:"))
    [text] = wrong(checked(site))
    assert f"former name of '{NEW}'" in text
    # Nor when the partner that had it is gone itself.
    with daemon.opened(site, {}, "main") as (_, store):
        await store.confirm(NEW, "to-0", True)
    edited(site, (f"\n  {NEW}: ", "\n  #"))
    assert f"former name of '{NEW}'" in " ".join(wrong(checked(site)))


async def test_a_code_that_goes_to_another_partner_is_not_silent(site: Path) -> None:
    """Refused while documents for it wait; when they are gone, a warning about what was sent in its name."""
    edited(site, ("codes: [000.00.02.G14]", "codes: [000.00.02.G14, S2]"))
    await begun(site, {}, mail=1, sent=1, code="S2")
    edited(site, ("codes: [000.00.02.G14, S2]", "codes: [000.00.02.G14]"), ("codes: [000.00.01.G14]", "codes: [000.00.01.G14, S2]"))
    [text] = wrong(checked(site))
    assert "code S2 goes from" in text
    with daemon.opened(site, {}, "operator") as (_, store):
        waiting = text.partition("govbus cancel ")[2].split()[0]
        assert await store.cancel([waiting], "nguyen.a", "moved")
    assert wrong(checked(site)) == []
    with daemon.opened(site, {}, "main") as (_, store):
        headers = {SENDER: OLD, SENDER_MESSAGE_ID: "s2", FROM: "S2", KIND: "document", ENDPOINT: "unit-documents"}
        message = Message("s2", headers, b"<s2/>")
        await store.accept(message, Owed("unit-documents", "unit-inbox", message, expires=daemon.utc_now(), owner="telecom-authority"))
    [warned] = checked(site)
    assert (warned.warning, "code S2" in warned.text) == (True, True)


async def test_a_partner_removed_with_mail_waiting_is_refused_until_it_is_cancelled(site: Path) -> None:
    """The text has the ids to cancel; done as it says, the partner goes, and its codes coming back under another name are recognised."""
    await begun(site, {}, mail=2, sent=1)
    gone = f"  {OLD}:    {{codes: [000.00.02.G14], trust: trust/{OLD}}}"
    text = (site / "routes.yaml").read_text(encoding="utf-8")
    assert gone in text
    edited(site, (gone, "  #removed"))
    [said] = wrong(checked(site))
    assert "2 documents" in said
    ids = said.partition("govbus cancel ")[2].partition(" --reason")[0].split()
    assert govbus("cancel", *ids, "--reason", "removed", "--site", site).code == 0
    assert checked(site) == []
    edited(site, ("  #removed", f"  {NEW}: {{codes: [000.00.02.G14], trust: trust/{OLD}}}  #"))
    assert f"govbus partner rename {OLD} {NEW}" in " ".join(wrong(checked(site)))


async def test_what_waits_for_a_route_or_an_endpoint_that_is_gone_is_a_warning(site: Path) -> None:
    """It waits, visibly: check says so with the number, and refuses nothing."""
    with daemon.opened(site, {}, "main") as (loaded, store):
        await store.take(loaded.site.codes())
        for target in ("route:gone", "no-endpoint"):
            message = Message(target, {SENDER: OLD, ENDPOINT: "unit-documents"}, target.encode())
            await store.accept(message, Owed("unit-documents", target, message, expires=daemon.utc_now() + timedelta(days=1)))
    found = checked(site)
    assert [fault.warning for fault in found] == [True, True]
    assert "the endpoint 'no-endpoint'" in found[0].text + found[1].text
    assert "the route 'gone'" in found[0].text + found[1].text


async def test_a_store_of_before_is_refused_only_for_mail_that_waits(site: Path) -> None:
    """Its names were never written down: mail of nobody is refused, mere history is said once; and the upgrade audits clean."""
    await begun(site, {}, mail=1, sent=1)
    engine = sa.create_engine(daemon.store_url(site, {}))
    with engine.begin() as connection:
        for table in ("partners", "nonces", "mailboxes"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        for column in sorted(LATER["receipts"]):
            connection.exec_driver_sql(f"ALTER TABLE receipts DROP COLUMN {column}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0006'")
    engine.dispose()
    assert checked(site) == []
    renamed(site)
    [said] = wrong(checked(site))
    assert f"govbus partner rename {OLD} NEW" in said
    await rename(site, {})
    assert wrong(checked(site)) == []
    assert govbus("audit", "--site", site).code == 0


def test_a_check_creates_no_store_and_says_when_one_cannot_be_read(site: Path) -> None:
    """Never started: nothing is said and nothing made. Damaged, or out of reach: a warning, exit code 0."""
    assert checked(site) == []
    assert not (site / "data" / "bus.db").exists()
    (site / "data" / "bus.db").write_bytes(b"no database at all, but a file of some length" * 40)
    [warned] = checked(site)
    assert (warned.warning, "cannot be read" in warned.text) == (True, True)
    assert govbus("check", "--site", site).code == 0


async def test_a_renaming_is_refused_where_it_would_be_wrong(site: Path) -> None:
    """A name that routes.yaml lacks, one that it still has, one that nothing hangs on, none at all for a reason."""
    await begun(site, {}, mail=1)
    words = ("--reason", "why", "--site", site)
    for old, new, said in ((OLD, "nobody", "not a partner"), (OLD, "telecom-authority", "still a partner")):
        done = govbus("partner", "rename", old, new, *words)
        assert (done.code, said in done.said) == (1, True)
    assert govbus("partner", "rename", "never-was", OLD, *words).code == 1
    assert govbus("partner", "rename", OLD, NEW, "--reason", " ", "--site", site).code == 2
    renamed(site)
    with daemon.opened(site, {}, "main") as (_, store):
        assert (await store.pending(OLD, 10, ("document",))) != []


async def test_ids_that_would_mean_two_things_keep_two_partners_apart(site: Path, environment: Mapping[str, str]) -> None:
    """Both have sent a different document under one id, or hold one id in their mailboxes: nothing is moved."""
    await begun(site, environment, mail=1, sent=1)
    renamed(site)
    with daemon.opened(site, environment, "main") as (_, store):
        message = Message("other", {SENDER: NEW, SENDER_MESSAGE_ID: "from-0", ENDPOINT: "unit-documents"}, b"<another/>")
        await store.accept(message, Owed("unit-documents", "agency-service", message, expires=daemon.utc_now()))
    with pytest.raises(Rejected, match="from-0"):
        await rename(site, environment)
    with daemon.opened(site, environment, "main") as (_, store):
        assert len(await store.pending(OLD, 10, ("document",))) == 1


async def test_a_former_name_that_is_changed_by_hand_is_found_by_the_audit(site: Path) -> None:
    """Who could give a mailbox away behind the journal's back is told on."""
    await begun(site, {})
    renamed(site)
    await rename(site, {})
    engine = sa.create_engine(daemon.store_url(site, {}))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE partners SET became = 'telecom-authority' WHERE name = '{OLD}'")
    engine.dispose()
    done = govbus("audit", "--site", site)
    assert done.code == 1
    assert f"partner {OLD}" in done.said


def test_an_unreadable_store_refuses_a_reload_and_not_a_check(site: Path) -> None:
    """Whether something would be lost is not known: what runs goes on."""
    (site / "data" / "bus.db").write_bytes(b"no database at all, but a file of some length" * 40)
    with pytest.raises(ConfigurationError):
        continuity.take_up(site, {}, daemon.store_url(site, {}), daemon.utc_now)
