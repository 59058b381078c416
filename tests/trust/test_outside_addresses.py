"""What a certificate says is no address book: its authority's word leads only where routes.yaml allows, by name and by address."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from authority_server import HOUR, AuthorityServer, Issuer, pem
from cryptography import x509
from test_revocation import UNKNOWN, Desk, Hand, clock, desk
from trust_hands import govbus

from bus import resolver
from bus.offload import acting_for, owner
from bus.outside import Forbidden, Outside
from bus.revocation import Check, Rules, Unsettled

__all__ = ["clock", "desk"]

NOWHERE = Outside()
PRIVATE = Outside.of(["ocsp.example", "10.1.0.0/16", "2001:db8::/32"])


class Listener:
    """A socket on loopback that counts who comes, and answers nobody."""

    def __init__(self) -> None:
        self.came = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.came += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Who must see nobody."""
    opened = Listener()
    yield opened
    opened.close()


@pytest.mark.parametrize("check", ["ocsp", "crl", "either"])
@pytest.mark.parametrize("hosts", [[], ["ocsp.example"], ["localhost.example", "10.0.0.0/8"], ["127.0.0.2"], ["localhost"]], ids=str)
async def test_an_address_that_a_certificate_names_is_not_called_unless_the_site_allows_it(listener, certs, clock, check, hosts):
    """Neither where nothing is allowed, nor where something else is; a name is allowed as it is written, and loopback by its own word."""
    named = ["127.0.0.1", "localhost"] if "localhost" not in hosts else ["127.1", "2130706433", "0x7f.1"]
    for host in named:
        issuer = Issuer("CA Thử nghiệm", url=f"http://{host}:{listener.port}")
        (certs / "trust" / "agency" / "ca.crt").write_bytes(pem(issuer.certificate))
        at = Desk(certs, clock, _rules(check, hosts))
        assert await at.refusal(issuer.leaf("x")) == UNKNOWN
    assert listener.came == 0


async def test_a_name_that_leads_into_our_own_network_is_not_called(listener, certs, clock, monkeypatch):
    """The name is allowed and public to look at; what it leads to, when it is called, is not. Allowed as a network, it is called."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", listener.port))]
    monkeypatch.setattr(resolver.socket, "getaddrinfo", lambda *_: found)
    issuer = Issuer("CA Thử nghiệm", url=f"http://ocsp.example:{listener.port}")
    (certs / "trust" / "agency" / "ca.crt").write_bytes(pem(issuer.certificate))
    assert await Desk(certs, clock, _rules("ocsp", ["ocsp.example"])).refusal(issuer.leaf("x")) == UNKNOWN
    assert listener.came == 0
    assert await Desk(certs, clock, _rules("ocsp", ["ocsp.example", "127.0.0.0/8"])).refusal(issuer.leaf("x")) == UNKNOWN
    assert listener.came >= 1


async def test_what_a_probe_found_is_not_told_to_whoever_had_it_made(listener, certs, clock):
    """Open, closed or forbidden: a sender reads the same words; the site's log has the difference."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    told = set()
    for place, hosts in ((listener.port, ["127.0.0.1"]), (port, ["127.0.0.1"]), (listener.port, [])):
        issuer = Issuer("CA Thử nghiệm", url=f"http://127.0.0.1:{place}")
        (certs / "trust" / "agency" / "ca.crt").write_bytes(pem(issuer.certificate))
        with pytest.raises(Unsettled) as refused:
            await Desk(certs, clock, _rules("ocsp", hosts)).identify(issuer.leaf("x"))
        told |= {refused.value.reason(language) for language in ("vi", "en")}
    assert len(told) == 2
    assert not any("127.0.0.1" in each for each in told)


async def test_an_address_that_does_not_answer_is_asked_less_and_less_often(authority: AuthorityServer, desk, clock: Hand):
    """The pause doubles up to a minute; an answer ends it."""
    certificate = authority.issuer.leaf("x")
    authority.known.append(certificate)
    authority.broken = "status"
    at = desk("ocsp")
    for _ in range(600):
        await at.responders.ask(next(iter(at.ring.statuses.wanted.values()))) if at.ring.statuses.wanted else await at.refusal(certificate)
        clock.at += timedelta(seconds=3)
    assert 20 <= authority.asked["/ocsp"] <= 40, "600 times in half an hour"
    authority.broken = ""
    clock.at += HOUR
    assert await at.identify(certificate) == "agency"


async def test_of_a_certificate_with_a_hundred_addresses_a_few_are_asked(authority: AuthorityServer, certs, clock):
    """Its issuer may write as many as it likes."""
    many = Issuer("CA Thử nghiệm")
    names = [x509.UniformResourceIdentifier(f"{authority.url}/{number}.crl") for number in range(100)]
    leaf = many.leaf("x", None, x509.CRLDistributionPoints([x509.DistributionPoint([one], None, None, None) for one in names]))
    (certs / "trust" / "agency" / "ca.crt").write_bytes(pem(many.certificate))
    assert await Desk(certs, clock, _rules("crl", ["127.0.0.1"])).refusal(leaf) == UNKNOWN
    assert len(authority.asked) == 4


@pytest.mark.parametrize(
    "address",
    [
        "http://10.1.2.3/", "http://[2001:db8::1]/", "http://ocsp.example/", "https://OCSP.example.:8443/a?b", "http://ocsp.example/%41",
    ],
)  # fmt: skip
def test_what_the_site_allows_may_be_called(address: str) -> None:
    """A host by its name, an address in a network that is named."""
    PRIVATE.check(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://10.2.0.1/", "http://127.0.0.1/", "http://169.254.169.254/latest/", "http://0.0.0.0/", "http://224.0.0.1/", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fe80::1]/",
        "http://[fd00::1]/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://localhost/",
        "http://ocsp.example@127.0.0.1/", "http://user:word@ocsp.example/", "http://127.0.0.1#@ocsp.example/", "http://ocsp.example\\@127.0.0.1/",
        "http://ocsp.example.evil.example/", "http://evil.example/ocsp.example", "http://ocsp.example:port/", "http://ocsp.example /",
        "http://ocsp.example\n/", "http://ocsp。example/", "http://ocsp.examp\u200ble/", "ftp://ocsp.example/", "file:///etc/passwd",
        "ldap://ocsp.example/", "gopher://ocsp.example/", "//ocsp.example/", "ocsp.example", "", "http://", "http:///a", "http://[::1", "HTTP://10.1.2.3.4/",
    ],
)  # fmt: skip
def test_what_the_site_does_not_allow_is_not_called_however_it_is_written(address: str) -> None:
    """Forms of one address, hosts that look like ours, schemes, what readers differ about."""
    for outside in (PRIVATE, NOWHERE):
        with pytest.raises(Forbidden):
            outside.check(address)


@pytest.mark.parametrize("entry", ["http://ocsp.example/", "a b", "10.1.0.0/33", "user@host", "0x7f.1", "127.1", "", "10.1.2.3/16"])
def test_an_entry_that_means_nothing_is_a_fault(entry: str) -> None:
    """With the value in it."""
    with pytest.raises(ValueError, match=r".+"):
        Outside.of([entry])


def test_check_says_when_nobody_can_be_asked_and_what_to_write(site) -> None:
    """Sites of before asked whomever a certificate named: they hear of it before the first message is deferred."""
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8")
    for words, warned in (
        ("check: either", True),
        ("check: either, hosts: [ocsp.example]", False),
        ("check: either, ocsp: 'http://ocsp.example/'", False),
    ):
        routes.write_text(text.replace("trust/telecom-authority}", f"trust/telecom-authority, revocation: {{{words}}}}}"), encoding="utf-8")
        done = govbus("check", "--site", site)
        assert (done.code, "can ask nobody" in done.said) == (0, warned)
    routes.write_text(
        text.replace("trust/telecom-authority}", "trust/telecom-authority, revocation: {check: ocsp, hosts: ['127.1']}}"), encoding="utf-8"
    )
    done = govbus("check", "--site", site)
    assert (done.code, "is neither a host's name" in done.said) == (1, True)


async def test_a_task_that_lives_on_is_its_own_again_after_it_worked_for_a_partner() -> None:
    """A poller's own look-ups are not counted among its last sender's."""
    before = owner()
    with acting_for("unit"):
        assert owner().name == "unit"
        assert await asyncio.create_task(_named()) == "unit"
    assert owner() == before


async def _named() -> str:
    return owner().name


def _rules(check: str, hosts: list[str]) -> Rules:
    return Rules(Check(check), outside=Outside.of(hosts))
