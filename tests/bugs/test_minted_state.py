"""What a partner or a stranger can mint (certificates, lists, questions, names, ids) is bounded, and pushes out nobody else's."""

import asyncio
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authority_server import AuthorityServer, Issuer, pem
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from helping import until
from soap_rig import OTHER, UNIT, build, document, fault_code
from soap_rig import ROUTES as SOAP_ROUTES

from adapters.soap import payloads
from bus import keys, metrics, revocation
from bus.answers import Answer, key_of
from bus.edxml import trace
from bus.keys import Keyring
from bus.outside import Outside
from bus.responders import Responders
from bus.revocation import Check, Failure, Link, Rules, Statuses, Unsettled
from bus.signature import reading
from bus.trust import der

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)


def answer(number: int, issuer: str = "greedy", octets: int = 1 << 20, revoked: datetime | None = None) -> Answer:
    """What an authority said of one certificate by a shard of its list, of so many octets."""
    said = NOW + timedelta(seconds=number)
    return Answer("crl", issuer, said, said + timedelta(days=1), bytes(octets), said, serial=number, revoked=revoked)


def test_shards_of_lists_are_bounded_by_octets_for_each_issuer_and_revocations_go_last() -> None:
    """An issuer that makes a certificate and a list of megabytes for each has its share; others' answers and whole lists stay."""
    statuses = Statuses()
    statuses.learn(answer(1, "modest"))
    statuses.learn(replace(answer(0), serial=None))
    statuses.learn(answer(2, revoked=NOW))
    for number in range(3, 200):
        statuses.learn(answer(number))
    held = [each for each in statuses.answers(["greedy"]) if each.serial is not None]
    assert sum(len(each.octets) for each in held) <= 32 << 20
    assert {2, 199} <= {each.serial for each in held}
    assert [each.serial for each in statuses.answers(["modest"])] == [1]
    assert None in {each.serial for each in statuses.answers(["greedy"])}


@pytest.fixture
def authorities() -> Iterator[tuple[AuthorityServer, AuthorityServer]]:
    """Two partners' authorities; the first never answers."""
    servers = tuple(AuthorityServer(Issuer(name)) for name in ("CA im lặng", "CA trả lời"))
    for server in servers:
        server.issuer.url = server.url
    silent, answering = servers
    silent.broken = "silent"
    yield silent, answering
    for server in servers:
        server.close()


def links(server: AuthorityServer, partner: str, number: int) -> list[Link]:
    """Certificates of a partner that must be asked about."""
    key = ec.generate_private_key(ec.SECP256R1())
    rules = Rules(check=Check.OCSP, outside=Outside.of(["127.0.0.1"]))
    made = [Link(partner, server.issuer.leaf(f"{partner} {each}", key), server.issuer.certificate, rules) for each in range(number)]
    server.known += [link.certificate for link in made]
    return made


async def test_questions_about_one_partners_certificates_are_bounded_and_keep_no_other_waiting(
    tmp_path: Path, authorities: tuple[AuthorityServer, AuthorityServer]
) -> None:
    """A hundred certificates whose authority is silent: 64 questions are open, the others fail at once; the neighbour is asked."""
    silent, answering = authorities
    statuses = Statuses()
    responders = Responders(tmp_path / "revocation", lambda: datetime.now(UTC), statuses, [])
    greedy, (modest,) = links(silent, "greedy", 100), links(answering, "modest", 1)
    asking = [asyncio.create_task(responders.ask(link)) for link in greedy]
    async with asyncio.timeout(3):
        await responders.ask(modest)
    assert statuses.newest(modest) is not None
    assert len(responders._asking) == 64
    refused = [statuses.failure(link) for link in greedy[64:]]
    assert all(failure is not None and "too many questions" in failure.detail for failure in refused)
    running = list(responders._asking.values())
    for task in (*asking, *running):
        task.cancel()
    await asyncio.gather(*asking, *running, return_exceptions=True)
    await until(lambda: not responders._asked.total())
    for session in responders._sessions.values():
        await session.close()


def test_failed_questions_are_remembered_for_each_partner(
    authorities: tuple[AuthorityServer, AuthorityServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One partner's many failures push out its own oldest, and never another's."""
    monkeypatch.setattr(revocation, "_MOST_EACH", 5)
    silent, answering = authorities
    statuses = Statuses()
    greedy, (modest,) = links(silent, "greedy", 20), links(answering, "modest", 1)
    for link in (modest, *greedy):
        statuses.failed(link, Failure(NOW, "silent"))
    assert statuses.failure(modest) is not None
    assert [statuses.failure(link) is not None for link in greedy] == [False] * 15 + [True] * 5


def test_identified_certificates_are_remembered_for_each_partner(
    tmp_path: Path, authorities: tuple[AuthorityServer, AuthorityServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One partner's many certificates push out its own oldest; one that is blown up is not remembered at all."""
    monkeypatch.setattr(keys, "_REMEMBERED", 4)
    for server, partner in zip(authorities, ("greedy", "modest"), strict=True):
        (tmp_path / "trust" / partner).mkdir(parents=True)
        (tmp_path / "trust" / partner / "ca.crt").write_bytes(pem(server.issuer.certificate))
    keyring = Keyring.load(tmp_path, {"greedy": "trust/greedy", "modest": "trust/modest"})
    now = datetime.now(UTC)
    greedy, (modest,) = links(authorities[0], "greedy", 9), links(authorities[1], "modest", 1)
    for link in (modest, *greedy):
        assert keyring.identify(der(link.certificate), now) == link.partner
    large = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(70_000))
    blown = authorities[0].issuer.leaf("large", None, large)
    assert keyring.identify(der(blown), now) == "greedy"
    remembered = [known.parsed for known in keyring._identified.values()]
    assert remembered == [modest.certificate, *(link.certificate for link in greedy[-4:])]


def test_what_a_stranger_blows_up_is_read_and_not_remembered(authorities: tuple[AuthorityServer, AuthorityServer]) -> None:
    """A certificate and a name of any length cost their own request, and no memory afterwards."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(20_000))
    large, small = (der(authorities[0].issuer.leaf(name, None, *more)) for name, more in (("large", [extension]), ("small", [])))
    before = reading._public_key.cache_info().currsize
    for certificate in (large, small):
        assert reading._public_key(certificate) is not None
    assert reading._public_key.cache_info().currsize == before + 1
    before = trace._names.cache_info().currsize
    assert trace._names(b"x:" + b"a" * 100_000)[1] == "a" * 100_000
    assert trace._names(b"x:minted-by-a-test")[1] == "minted-by-a-test"
    assert trace._names.cache_info().currsize == before + 1


ORDERED = SOAP_ROUTES.replace(
    "endpoints:\n",
    "endpoints:\n  agency: {soap: {url: 'http://127.0.0.1:9/nobody', partner: other, security: {sign: own/bus}}}\n"
    "  ordered: {soap: {path: /soap/ordered, security: {verify: wss-x509, sign: own/bus}}}\n",
).replace("routes:\n", "routes:\n  - {name: ordered, from: ordered, order-by: DocumentId, to: [agency], receipts: documents}\n")


async def test_a_partner_that_uses_anothers_number_and_id_holds_nothing_of_it(siege_certs: Path, tmp_path: Path) -> None:
    """B sends first, with A's DocumentId and A's MessageId; it cannot be delivered. A's own is no repetition, and is tried at once.

    What A asks about by that id is its own; B, which asks by it, sees nothing of A's.
    """
    rig = build(tmp_path, siege_certs, ORDERED)
    await rig.engine.start()
    mine = document(7, sender=UNIT)
    named = f"{UNIT},2026/03/15,7/CV-TN"
    theirs = document(7, sender=OTHER, receiver=UNIT).replace(f"{OTHER},2026/03/15,7/CV-TN".encode(), named.encode())

    def tried() -> dict[str, tuple[str, int, int]]:
        with sqlite3.connect(tmp_path / "data" / "bus.db") as connection:
            rows = connection.execute(
                "SELECT m.sender, d.state, d.attempt, d.claimable FROM deliveries d JOIN messages m ON m.id = d.message_id "
                "WHERE d.target = 'agency'"
            )
            return {row[0]: row[1:] for row in rows}

    first = await rig.post(rig.signed(payloads.send_content("same-id", theirs), signer=rig.other), "ordered")
    assert first.status == 200
    await until(lambda: tried().get("other") == ("READY", 1, 1))
    second = await rig.post(rig.signed(payloads.send_content("same-id", mine)), "ordered")
    assert second.status == 200
    await until(lambda: tried().get("unit") == ("READY", 1, 1))
    again = await rig.post(rig.signed(payloads.send_content("same-id", document(8, sender=UNIT))), "ordered")
    assert fault_code(again) == "5.6.9"
    for signer, sender in ((rig.unit, UNIT), (rig.other, OTHER)):
        told = rig.read(await rig.post(rig.signed(payloads.request("GetReceipts", MessageId="same-id"), signer=signer)))
        assert {each.text for each in told.payload.iter("{urn:govbus:receipt:v1}Sender")} == {sender}
    await rig.engine.stop(grace=1)
    rig.store.close()


async def test_an_id_that_came_in_from_one_partner_is_not_known_from_another(siege_certs: Path, tmp_path: Path) -> None:
    """A poller that asks whether it brought a document in already is told of its own partner's, whoever else came through."""
    rig = build(tmp_path, siege_certs)
    await rig.engine.start()
    assert (await rig.post(rig.signed(payloads.send_content("doc-1", document())))).status == 200
    assert await rig.engine.known("documents", "unit", "doc-1")
    assert not await rig.engine.known("documents", "other", "doc-1")
    assert not await rig.engine.known("several", "unit", "doc-1")
    await rig.engine.stop(grace=1)
    rig.store.close()


def said_of(issuer: str, serial: int | None = 1, *, octets: int = 100, revoked: datetime | None = None) -> Answer:
    """What an authority said."""
    return Answer("ocsp", issuer, NOW, NOW + timedelta(days=1), bytes(octets), NOW, serial=serial, revoked=revoked)


def test_answers_of_authorities_that_a_partner_makes_are_bounded_and_push_out_nobody_elses() -> None:
    """Two thousand authorities below its own anchor, an answer of each: 512 are kept, with the other partner's; over a reload, too."""
    statuses = Statuses()
    statuses.learn(said_of("A's authority"), "a")
    statuses.learn(said_of("revoking", revoked=NOW), "b")
    for number in range(2000):
        statuses.learn(said_of(f"minted {number}"), "b")
    later = Statuses()
    later.take_over(statuses)
    for number in range(1000):
        later.learn(said_of(f"minted again {number}"), "b")
    for known in (statuses, later):
        issuers = {one.issuer for one in known.answers()}
        assert len(issuers) == 513
        assert {"A's authority", "revoking"} <= issuers
    assert "minted again 999" in {one.issuer for one in later.answers()}


def test_large_lists_of_authorities_that_a_partner_makes_are_bounded_by_their_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and large: the newest stays, whatever its size."""
    monkeypatch.setattr(revocation, "_MOST_OCTETS_EACH", 10_000)
    statuses = Statuses()
    for number in range(50):
        statuses.learn(said_of(f"minted {number}", octets=3000), "b")
    assert sum(len(one.octets) for one in statuses.answers()) <= 10_000
    statuses.learn(said_of("larger than all", octets=20_000), "b")
    assert [one.issuer for one in statuses.answers()] == ["larger than all"]


def test_who_shows_few_certificates_keeps_them_wanted(
    authorities: tuple[AuthorityServer, AuthorityServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many partners with many certificates each: when there is no more room, who has most gives way."""
    monkeypatch.setattr(revocation, "_MOST_WANTED", 40)
    monkeypatch.setattr(revocation, "_MOST_EACH", 10)
    issuer = authorities[0].issuer
    statuses, shown, authority = Statuses(), issuer.leaf("x"), issuer.certificate

    class Minted(Link):
        """A link whose certificate is one of any number."""

        number = 0

        @property
        def key(self) -> tuple[str, int]:
            return self.partner, self.number

    def shows() -> Iterator[Link]:
        yield Link("a", shown, authority, Rules(check=Check.OCSP))
        for number in range(300):
            link = Minted(f"b{number % 9}", shown, authority, Rules(check=Check.OCSP))
            object.__setattr__(link, "number", number)
            yield link

    for link in shows():
        with pytest.raises(Unsettled):
            statuses.judge(link, NOW)
    assert len(statuses.wanted) <= 40
    assert "a" in {link.partner for link in statuses.wanted.values()}


def test_only_answers_of_authorities_in_a_directory_reach_the_disk(
    tmp_path: Path, authorities: tuple[AuthorityServer, AuthorityServer]
) -> None:
    """Of one that a partner made below its own nothing is kept there."""
    issuer = authorities[1].issuer
    authority, leaf = issuer.certificate, issuer.leaf("x")
    responders = Responders(tmp_path / "revocation", lambda: NOW, Statuses(), [authority])
    link = Link("b", leaf, authority, Rules(check=Check.OCSP))
    for number in range(30):
        responders._learned(link, said_of(f"{number:064x}"))
    assert not [*tmp_path.glob("revocation/*")]
    responders._learned(link, said_of(key_of(authority)))
    assert [path.name for path in tmp_path.glob("revocation/*")] == [f"{key_of(authority)}-1.der"]


async def test_no_label_of_a_metric_is_a_partners_word(siege_certs: Path, tmp_path: Path) -> None:
    """Requests with ever other operations, ids, users and errors add no series beyond endpoint and code."""
    rig = build(tmp_path, siege_certs)
    await rig.engine.start()

    async def shout(number: int) -> None:
        for payload in (
            f'<x{number} xmlns="urn:x{number}"/>'.encode(),
            payloads.request("GetDocument", MessageId=f"no-{number}"),
            payloads.request("GetPendingDocumentIds", OrganId=f"000.00.{number:02}.G99"),
        ):
            await rig.post(rig.signed(payload))
        await rig.post(b"<" + str(number).encode())

    await shout(0)
    before = metrics.text().count(b"\n")
    for number in range(1, 10):
        await shout(number)
    assert metrics.text().count(b"\n") == before
    await rig.engine.stop(grace=1)
    rig.store.close()
