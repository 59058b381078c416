"""Revocation: lists and responders asked over a real socket, answers that count and answers that do not, and what happens without one."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authority_server import HOUR, AuthorityServer, Issuer, pem
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp as asn1_ocsp

from bus import conditions, ocsp
from bus.answers import read_crl, read_ocsp
from bus.errors import Deferred, Rejected
from bus.keys import Keyring
from bus.ocsp import Unanswered
from bus.outside import Outside
from bus.responders import Responders
from bus.revocation import Check, Rules, Unsettled, settled
from bus.trust import Demands, der


class Hand:
    """A clock that stands until it is moved; the authority's and ours."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.at


class Desk:
    """One partner's certificates judged as the door does: identify, ask where that is needed, identify again."""

    def __init__(self, certs: Path, clock: Hand, rules: Rules) -> None:
        self.clock = clock
        self.certs = certs
        self.rules = rules
        self.restart()

    def restart(self) -> None:
        self.ring = Keyring.load(self.certs, {"agency": "trust/agency"}, {"agency": Demands(revocation=self.rules)})
        self.responders = Responders(self.certs.parent / "revocation", self.clock, self.ring.statuses, self.ring.authorities())

    async def identify(self, certificate: x509.Certificate) -> str:
        async def attempt() -> str:
            return self.ring.identify(der(certificate), self.clock())

        return await settled(self.ring.statuses, attempt)

    async def refusal(self, certificate: x509.Certificate) -> str:
        with pytest.raises((Rejected, Deferred)) as refused:
            await self.identify(certificate)
        return f"{refused.value.code} {refused.value.key}"


@pytest.fixture
def clock(authority: AuthorityServer) -> Hand:
    hand = Hand()
    authority.issuer.now = hand
    return hand


@pytest.fixture
def desk(certs: Path, clock: Hand) -> Callable[..., Desk]:
    return lambda check, **rules: Desk(certs, clock, Rules(Check(check), **{"outside": Outside.of(["127.0.0.1"]), **rules}))


UNKNOWN = "4.7.5 revocation-unknown"
REVOKED = "5.7.5 certificate-revoked"


@pytest.mark.parametrize("check", ["crl", "ocsp", "either"])
async def test_fault_37_a_revoked_certificate_is_refused_and_its_neighbour_is_not(authority, desk, check):
    """Asked of the address that the certificate names, whose issuer is our anchor; asked once, however often it is used."""
    good, bad = authority.issuer.leaf("tốt"), authority.issuer.leaf("bị thu hồi")
    authority.known += [good, bad]
    authority.issuer.revoke(bad)
    at = desk(check)
    assert [await at.identify(good) for _ in range(5)] == ["agency"] * 5
    assert await at.refusal(bad) == REVOKED
    assert authority.asked == ({"/ca.crl": 1} if check == "crl" else {"/ocsp": 2})


async def test_nothing_is_asked_unless_the_partners_entry_says_so(authority, desk):
    """``directory``, the default, is what it always was: no list in the directory, no question."""
    authority.issuer.revoke(certificate := authority.issuer.leaf("x"))
    assert [await desk(check).identify(certificate) for check in ("directory", "none")] == ["agency"] * 2
    assert authority.asked == {}


async def test_a_stranger_makes_us_ask_nobody(authority, desk):
    """Only a certificate on a path to our anchor is asked about: no address of a stranger's choice is ever called."""
    stranger = Issuer("CA lạ", url=authority.url)
    forged = Issuer("CA Thử nghiệm", url=authority.url)
    at = desk("either")
    assert await at.refusal(stranger.leaf("x")) == "5.7.8 certificate-unknown"
    assert await at.refusal(forged.leaf("x")) == "5.7.8 certificate-unknown"
    assert authority.asked == {}


async def test_configured_addresses_go_before_the_certificates(authority, desk):
    """``ocsp:`` and ``crl:`` are asked, and what the certificate names is not."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    await desk("ocsp", ocsp=f"{authority.url}/configured").refusal(certificate)
    await desk("crl", crl=(f"{authority.url}/list",)).identify(certificate)
    assert authority.asked == {"/configured": 1, "/list": 1}, "the answer to /configured is a list, and no response"


async def test_an_answer_counts_until_it_runs_out_and_is_asked_for_ahead_of_time(authority, desk, clock):
    """Three quarters through an answer's life it is asked for again in the background; requests do not wait for that."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    at = desk("ocsp")
    await at.identify(certificate)
    clock.at += timedelta(minutes=40)
    await at.responders._round()
    assert authority.asked == {"/ocsp": 1}
    clock.at += timedelta(minutes=6)
    await at.responders._round()
    assert authority.asked == {"/ocsp": 2}
    authority.close()
    clock.at += timedelta(minutes=59)
    assert await at.identify(certificate) == "agency"
    clock.at += timedelta(minutes=2)
    assert await at.refusal(certificate) == UNKNOWN


async def test_a_revocation_is_noticed_by_the_next_answer_although_the_certificate_was_identified_before(authority, desk, clock):
    """What was remembered of an identification does not outlive a new answer."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    at = desk("ocsp")
    assert await at.identify(certificate) == "agency"
    authority.issuer.revoke(certificate)
    clock.at += timedelta(minutes=50)
    await at.responders._round()
    assert await at.refusal(certificate) == REVOKED


async def test_answers_outlive_a_restart_and_are_verified_when_they_are_read(authority, desk, certs):
    """A restart asks nobody again; a file that somebody changed is as if it were not there."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    for check in ("ocsp", "crl"):
        await desk(check).identify(certificate)
    authority.close()
    for check in ("ocsp", "crl"):
        assert await desk(check).identify(certificate) == "agency"
    for path in (certs.parent / "revocation").glob("*.der"):
        octets = bytearray(path.read_bytes())
        octets[-1] ^= 1
        path.write_bytes(octets)
    for check in ("ocsp", "crl"):
        assert await desk(check).refusal(certificate) == UNKNOWN


async def test_a_reload_knows_what_was_known(authority, desk):
    """Another generation of the site takes over the answers."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    at = desk("either")
    await at.identify(certificate)
    authority.close()
    at.ring = Keyring.load(at.certs, {"agency": "trust/agency"}, {"agency": Demands(revocation=at.rules)})
    at.responders.adopt(at.ring.statuses, at.ring.authorities())
    assert await at.identify(certificate) == "agency"


@pytest.mark.parametrize("broken", ["status", "garbage", "huge", "redirect"])
@pytest.mark.parametrize("check", ["crl", "ocsp"])
async def test_fault_38_what_is_no_answer_is_none(authority, desk, check, broken):
    """An error, a web page, more octets than anybody needs, a redirection: refused for now, and nothing is followed."""
    authority.broken = broken
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    assert await desk(check).refusal(certificate) == UNKNOWN
    assert "/elsewhere" not in authority.asked


async def test_fault_38_a_responder_that_is_down_defers_and_is_not_asked_at_every_request(authority, desk, clock):
    """4.7.5 with Retry-After, in both languages; it is asked again in the background; once it is back, all is well."""
    authority.broken = "status"
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    at = desk("ocsp")
    for _ in range(3):
        with pytest.raises(Unsettled) as refused:
            await at.identify(certificate)
    assert authority.asked == {"/ocsp": 1}
    assert refused.value.retry_after == 60
    assert (
        refused.value.reason("en")
        == "The revocation status of the certificate 'CN=x,C=VN' is not known (its authority does not answer); try again later."
    )
    assert refused.value.reason("vi").startswith("Chưa xác định được tình trạng thu hồi của chứng thư 'CN=x,C=VN'")
    authority.broken = ""
    clock.at += timedelta(seconds=3)
    with pytest.raises(Unsettled):
        await at.identify(certificate)
    await at.responders._round()
    assert await at.identify(certificate) == "agency"
    assert authority.asked == {"/ocsp": 2}


async def test_fault_38_a_responder_that_says_nothing_holds_nobody_up(authority, desk, monkeypatch):
    """The wait is bounded; those who come meanwhile wait for the same question."""
    monkeypatch.setattr("bus.responders.PATIENCE", 0.3)
    authority.broken = "silent"
    certificate = authority.issuer.leaf("x")
    at = desk("ocsp")
    began = time.monotonic()
    assert set(await asyncio.gather(*(at.refusal(certificate) for _ in range(20)))) == {UNKNOWN}
    assert time.monotonic() - began < 3
    assert authority.asked == {"/ocsp": 1}


async def test_fault_38_by_policy_the_unknown_is_accepted_within_its_grace_and_every_use_is_told(authority, desk, clock):
    """``when-unknown: accept``: until the newest answer of that authority has been out for ``grace``, and no longer."""
    first, second = authority.issuer.leaf("một"), authority.issuer.leaf("hai")
    authority.known += [first, second]
    at = desk("ocsp", accept_unknown=True, grace=2 * HOUR)
    await at.identify(first)
    told = []
    at.ring.statuses.accepted = told.append
    authority.broken = "status"
    clock.at += 2 * HOUR
    assert [await at.identify(one) for one in (first, second, first)] == ["agency"] * 3
    assert len(told) == 3
    clock.at += HOUR + timedelta(seconds=1)
    assert await at.refusal(first) == UNKNOWN


async def test_fault_38_a_restart_neither_ends_nor_lengthens_the_grace(authority, desk, clock):
    """It is counted from the newest answer, which lies on the disk."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    at = desk("ocsp", accept_unknown=True, grace=2 * HOUR)
    await at.identify(certificate)
    authority.close()
    for later, outcome in ((2 * HOUR, "agency"), (HOUR + timedelta(seconds=1), UNKNOWN)):
        clock.at += later
        at.restart()
        assert await (at.identify(certificate) if outcome == "agency" else at.refusal(certificate)) == outcome


async def test_workers_of_a_node_ask_once_between_them(authority, desk, clock):
    """What one has asked the other finds on the disk, when it first needs it and when it is due again."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    one, other = desk("ocsp"), desk("ocsp")
    for at in (one, other):
        await at.identify(certificate)
    clock.at += timedelta(minutes=50)
    for at in (one, other):
        await at.responders._round()
    assert authority.asked == {"/ocsp": 2}
    clock.at += timedelta(minutes=40)
    assert await other.identify(certificate) == "agency"


async def test_fault_38_an_authority_that_never_answered_has_no_grace(authority, desk):
    """From a first start with the responder down nobody is let in on credit."""
    authority.close()
    assert await desk("either", accept_unknown=True).refusal(authority.issuer.leaf("x")) == UNKNOWN


async def test_a_certificate_that_the_responder_does_not_know_has_no_grace(authority, desk):
    """Status "unknown" (RFC 6960 section 2.2) is an answer, and no good one."""
    known, other = authority.issuer.leaf("biết"), authority.issuer.leaf("không biết")
    authority.known.append(known)
    at = desk("ocsp", accept_unknown=True)
    await at.identify(known)
    authority.issuer.answer = lambda certificate, **options: Issuer.answer(  # type: ignore[method-assign]
        authority.issuer, certificate, status=asn1_ocsp.OCSPCertStatus.UNKNOWN, **options
    )
    authority.known.append(other)
    assert await at.refusal(other) == UNKNOWN


async def test_either_asks_for_the_list_when_the_responder_is_down(authority, desk):
    """``either``: OCSP first, then the list."""
    certificate = authority.issuer.leaf("x")
    assert await desk("either").identify(certificate) == "agency"
    assert authority.asked == {"/ocsp": 1, "/ca.crl": 1}


async def test_an_intermediate_is_asked_about_as_well(authority, desk, certs):
    """Every certificate below the anchor must be known good: a revoked authority vouches for nobody."""
    root = authority.issuer
    points = root.leaf("x").extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    middle = Issuer("CA cấp dưới", root.now, parent=root, url=authority.url, extensions=[(points, False)])
    (certs / "trust/agency/middle.crt").write_bytes(pem(middle.certificate))
    lists = {"/ca.crl": root, "/middle.crl": middle}
    authority._answer = lambda path, _: lists[path].crl()  # type: ignore[method-assign]
    place = x509.UniformResourceIdentifier(f"{authority.url}/middle.crl")
    point = x509.CRLDistributionPoints([x509.DistributionPoint([place], None, None, None)])
    middle.url = ""
    certificate = middle.leaf("x", None, point)
    assert await desk("crl").identify(certificate) == "agency"
    assert authority.asked == {"/ca.crl": 1, "/middle.crl": 1}
    root.revoke(middle.certificate)
    (certs.parent / "revocation").rename(certs.parent / "before")
    assert await desk("crl").refusal(certificate) == REVOKED


async def test_revocation_data_is_what_an_independent_validator_needs(authority, desk):
    """pyhanko-certvalidator, told to fail hard, is content with the octets that we hand out for evidence."""
    from asn1crypto import x509 as asn1
    from pyhanko_certvalidator import CertificateValidator, ValidationContext
    from pyhanko_certvalidator.errors import PathValidationError

    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    at = desk("either")
    await at.identify(certificate)
    data = at.ring.revocation_data("agency")
    assert (len(data.crls), len(data.ocsps)) == (0, 1)
    root, leaf = (asn1.Certificate.load(der(one)) for one in (authority.issuer.certificate, certificate))
    for ocsps, good in ((data.ocsps, True), ((), False)):
        context = ValidationContext([root], ocsps=list(ocsps), moment=at.clock() + timedelta(seconds=1), revocation_mode="require")
        validation = CertificateValidator(leaf, validation_context=context).async_validate_path()
        if good:
            await validation
        else:
            with pytest.raises(PathValidationError):
                await validation


# --- answers that do not count ----------------------------------------------------------------------------------------

NONCE = bytes(range(32))


def _responses(issuer: Issuer, certificate: x509.Certificate) -> dict[str, bytes]:
    """Responses that must not count, by what is wrong with them."""
    other = issuer.leaf("khác")
    stranger = Issuer(issuer.common_name, issuer.now)
    now = issuer.now()
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    leaf = issuer.leaf("người ký", leaf_key)
    return {
        "another serial number": issuer.answer(other),
        "another issuer of the same name": stranger.answer(certificate),
        "another issuer in the CertID": issuer.answer(certificate, issuer=stranger.certificate),
        "a signature of something else": issuer.answer(certificate)[:-1] + b"\x00",
        "another's nonce": issuer.answer(certificate, nonce=bytes(32)),
        "run out": issuer.answer(certificate, at=now - 2 * HOUR),
        "of the future": issuer.answer(certificate, at=now + HOUR),
        "status unknown": issuer.answer(certificate, status=asn1_ocsp.OCSPCertStatus.UNKNOWN),
        "a delegate of a stranger": issuer.answer(certificate, by=stranger.delegate()),
        "a delegate without OCSPSigning": issuer.answer(certificate, by=issuer.delegate(signing=False)),
        "a delegate without nocheck": issuer.answer(certificate, by=issuer.delegate(no_check=False)),
        "a delegate that ran out": issuer.answer(certificate, by=issuer.delegate(life=-HOUR)),
        "one of its leaves": issuer.answer(certificate, by=(leaf_key, leaf)),
        "cut": issuer.answer(certificate)[:-10],
    }


def test_ocsp_responses_that_do_not_count(authority, clock):
    """RFC 6960 section 3.2, point by point; the same response, with nothing wrong, counts."""
    issuer, certificate = authority.issuer, authority.issuer.leaf("x")
    for good in (
        issuer.answer(certificate, nonce=NONCE),
        issuer.answer(certificate),
        issuer.answer(certificate, nonce=NONCE, by=issuer.delegate()),
    ):
        assert read_ocsp(good, certificate.serial_number, issuer.certificate, clock(), NONCE).revoked is None
    counted = []
    for wrong, octets in _responses(issuer, certificate).items():
        try:
            ocsp.read(octets, certificate.serial_number, issuer.certificate, clock(), NONCE)
        except Unanswered:
            continue
        counted.append(wrong)
    assert counted == []


def test_no_octet_of_an_ocsp_response_may_change(authority, clock):
    """Whatever single bit of a response is flipped, it does not turn a revoked certificate into a good one."""
    issuer, certificate = authority.issuer, authority.issuer.leaf("x")
    issuer.revoke(certificate)
    octets = issuer.answer(certificate)
    for index in range(len(octets)):
        changed = octets[:index] + bytes([octets[index] ^ (1 << index % 8)]) + octets[index + 1 :]
        try:
            single = ocsp.read(changed, certificate.serial_number, issuer.certificate, clock())
        except Unanswered:
            continue
        assert single.revoked_at is not None, index


def test_no_octet_of_a_list_may_change(authority, clock):
    """The same for a revocation list: it is refused, or the certificate stays revoked."""
    issuer, certificate = authority.issuer, authority.issuer.leaf("x")
    issuer.revoke(certificate)
    octets = issuer.crl()
    for index in range(len(octets)):
        changed = octets[:index] + bytes([octets[index] ^ (1 << index % 8)]) + octets[index + 1 :]
        try:
            answer = read_crl(changed, certificate, issuer.certificate, clock())
        except Unanswered:
            continue
        assert answer.revoked_at(certificate.serial_number) is not None, index


async def test_threads_judge_while_answers_come_in(authority, desk, clock):
    """Large requests are judged in threads: what arrives meanwhile disturbs none of them."""
    leaves = [authority.issuer.leaf(f"x{number}") for number in range(12)]
    at = desk("either", accept_unknown=True)
    at.ring.statuses.learn(read_crl(authority.issuer.crl(), None, authority.issuer.certificate, clock()))

    def judged() -> set[str]:
        return {at.ring.identify(der(leaf), clock()) for _ in range(3) for leaf in leaves}

    judging = [asyncio.create_task(asyncio.to_thread(judged)) for _ in range(4)]
    while not all(task.done() for task in judging):
        for leaf in leaves:
            octets = authority.issuer.answer(leaf)
            at.ring.statuses.learn(read_ocsp(octets, leaf.serial_number, authority.issuer.certificate, clock()))
            await asyncio.sleep(0)
        at.ring.statuses.forget(clock() + HOUR)
    assert await asyncio.gather(*judging) == [{"agency"}] * 4


def test_lists_that_do_not_count(authority, clock):
    """RFC 5280 section 6.3.3: another signer, a delta, indirect or partial list, one of the past or the future."""
    issuer, certificate = authority.issuer, authority.issuer.leaf("x")
    stranger = Issuer(issuer.common_name, issuer.now)

    def scope(**said: object) -> tuple[x509.ExtensionType, bool]:
        given = {"full_name": None, "relative_name": None, "only_some_reasons": None, **said}
        flags = ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs")
        return x509.IssuingDistributionPoint(**{**dict.fromkeys(flags, False), **given}), True

    elsewhere = [x509.UniformResourceIdentifier(f"{authority.url}/other.crl")]
    here = [x509.UniformResourceIdentifier(f"{authority.url}/ca.crl")]
    lists = {
        "another signer": stranger.crl(),
        "run out": issuer.crl(at=clock() - 2 * HOUR),
        "of the future": issuer.crl(at=clock() + HOUR),
        "delta": issuer.crl((x509.DeltaCRLIndicator(1), True)),
        "of another shard": issuer.crl(scope(full_name=elsewhere)),
        "indirect": issuer.crl(scope(full_name=here, indirect_crl=True)),
        "of authorities": issuer.crl(scope(full_name=here, only_contains_ca_certs=True)),
        "unknown critical": issuer.crl((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)),
        "cut": issuer.crl()[:-10],
    }
    counted = []
    for wrong, octets in lists.items():
        try:
            read_crl(octets, certificate, issuer.certificate, clock())
        except Unanswered:
            continue
        counted.append(wrong)
    assert counted == []
    assert read_crl(issuer.crl(), certificate, issuer.certificate, clock()).serial is None
    assert read_crl(issuer.crl(scope(full_name=here)), certificate, issuer.certificate, clock()).serial == certificate.serial_number


async def test_a_certificate_that_nobody_shows_any_more_is_forgotten(authority, desk, clock):
    """A replaced certificate, which its responder knows no more, is neither asked about nor complained of for ever."""
    authority.broken = "status"
    at = desk("ocsp")
    await at.refusal(authority.issuer.leaf("đã thay"))
    assert conditions.about(conditions.REVOCATION) == ["agency"]
    clock.at += 4 * HOUR
    await at.responders._round()
    assert (authority.asked, conditions.about(conditions.REVOCATION)) == ({"/ocsp": 1}, [])


async def test_a_certificate_that_breaks_the_question_is_one_of_unknown_status(authority, desk, monkeypatch):
    """Whatever goes wrong in asking, whoever waits gets 4.7.5, and no traceback."""
    monkeypatch.setattr("bus.ocsp.request", lambda *_: 1 / 0)
    assert await desk("ocsp").refusal(authority.issuer.leaf("x")) == UNKNOWN


def test_an_older_list_does_not_replace_a_newer_one(authority, clock, desk):
    """Whoever replays a list from before a revocation gains nothing."""
    issuer, certificate = authority.issuer, authority.issuer.leaf("x")
    before = read_crl(issuer.crl(), None, issuer.certificate, clock())
    clock.at += timedelta(minutes=5)
    issuer.revoke(certificate)
    statuses = desk("crl").ring.statuses
    statuses.learn(read_crl(issuer.crl(), None, issuer.certificate, clock()))
    statuses.learn(before)
    assert statuses.answers()[0].revoked_at(certificate.serial_number) is not None
