"""Secrets stay where they are kept: in no log, no answer, not in the store, no file; and the open pages tell of no content."""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import attacked_site
import pytest
from attacker import CONTENT_TYPES
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from soap_rig import OTHER, UNIT, document, now
from usernames import DIGEST, TEXT, good, security, token

from adapters.soap import payloads
from bus import soap, vxp
from bus.octets import whole
from bus.soap import SOAP_11, Version
from sandbox.process import BusProcess

SUBJECT, MESSAGE = "Nội dung mật 8c41", "only-the-partners-know-this-id"
OPEN_PAGES = ("/healthz", "/readyz", "/soap/named?wsdl", "/vxp/exchange")
OPERATORS_PAGES = ("/metrics", "/readyz")
#: Says a password that is nearly right: what was typed wrongly is as telling as what was typed rightly.
NEARLY = f"{attacked_site.PASSWORD}x"


@dataclass
class Traffic:
    """A daemon, and every octet that it has answered."""

    bus: BusProcess
    answers: list[bytes] = field(default_factory=list)
    pages: dict[str, bytes] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
        """One request over TLS, without a client certificate; its status."""
        address = urlsplit(self.bus.url)
        context = ssl.create_default_context(cafile=str(self.bus.site / "certs" / "own" / "ca.crt"))
        context.check_hostname = False
        channel = http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=20)
        channel.request(method, path, body, headers or {})
        response = channel.getresponse()
        self.answers += [str(response.headers).encode(), response.read()]
        channel.close()
        return response.status

    def named(self, header: str, number: int, version: Version = SOAP_11) -> int:
        """A document with a wsse:Security header."""
        letter = payloads.send_content(f"{MESSAGE}-{number}", document(number, receiver=OTHER, subject=SUBJECT))
        body = whole(soap.envelope(version, letter, header.encode()))
        return self.ask("POST", "/soap/named", body, {"Content-Type": CONTENT_TYPES[version]})

    def hub(self, operation: str, secret: str, **parameters: str) -> int:
        """A request to the hub, signed with ``secret``."""
        signed = {"systemid": UNIT, **parameters, "timestamp": vxp.timestamp(now()), "Content-Type": vxp.JSON}
        return self.ask("POST", f"/vxp/exchange/{operation}", b"{}", vxp.signed_headers(signed, secret))


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's keys, its partners' and a stranger's."""
    return attacked_site.certificates(tmp_path_factory.mktemp("pki") / "certs")


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory, certs: Path) -> Iterator[Traffic]:
    """A daemon after good and bad traffic with every secret in it; it has ended, and all it would write is written."""
    site = attacked_site.write(tmp_path_factory.mktemp("secrets") / "site", certs, tls=True)
    secret = attacked_site.HUB_SECRET
    with BusProcess(site, environment=attacked_site.ENVIRONMENT) as bus:
        seen = Traffic(bus)
        assert seen.named(security(token(good(TEXT, attacked_site.PASSWORD))), 1) == 200
        assert seen.named(security(token(good(DIGEST, attacked_site.PASSWORD))), 2) == 200
        for number, wrong in enumerate(
            (
                good(TEXT, NEARLY),
                good(DIGEST, NEARLY),
                good(TEXT, attacked_site.PASSWORD) | {"Type": f"urn:{attacked_site.PASSWORD}"},
                good(TEXT, attacked_site.PASSWORD) | {"Username": attacked_site.PASSWORD},
                good(TEXT, attacked_site.PASSWORD) | {"Created": attacked_site.PASSWORD},
                good(TEXT, attacked_site.PASSWORD) | {"Nonce": attacked_site.PASSWORD},
            ),
            10,
        ):
            assert seen.named(security(token(wrong)), number) == 500
        assert seen.named(f"<{security(token(good(TEXT, attacked_site.PASSWORD)))}", 20) == 500
        assert seen.hub("getReceivedEdocList", secret, messagetype="edoc") == 200
        assert seen.hub("getEdoc", secret, docId="nobody") == 200
        assert seen.hub("getEdoc", f"{secret}x", docId=f"{MESSAGE}-1") == 200
        for page in (*OPEN_PAGES, "/soap/named?xsd=1", "/soap/named", "/", "/certs/own/bus.key"):
            seen.ask("GET", page)
            seen.pages[page] = b"".join(seen.answers[-2:])
        for page in OPERATORS_PAGES:
            seen.pages[f"operators{page}"] = bus.page(page)[1].encode()
        seen.answers += seen.pages.values()
        forger = attacked_site.forger(certs)
        for signer in (forger.partner, forger.stranger):
            signed = forger.signed(SOAP_11, "ours", 30, signer)
            seen.ask("POST", "/soap/documents", signed, {"Content-Type": CONTENT_TYPES[SOAP_11]})
            seen.ask("POST", "/soap/documents", signed.replace(b"attack-30", b"attack-31"), {"Content-Type": CONTENT_TYPES[SOAP_11]})
    yield seen


def spellings(secret: str) -> Iterator[bytes]:
    """A secret as it might get written."""
    for octets in (secret.encode(), secret.encode("utf-16-le"), secret.encode("latin-1", "ignore")):
        yield octets
        yield octets.hex().encode()
        # The two ends of base64 depend on what is around; the middle does not.
        for shift in range(3):
            yield base64.b64encode(bytes(shift) + octets)[4:-4]
    yield json.dumps(secret)[1:-1].encode()


def key_spellings(pem: bytes) -> Iterator[bytes]:
    """A private key as it might get written: lines of its PEM, its DER and its secret number in several ways."""
    key = load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    numbers = key.private_numbers()
    secret = numbers.d if isinstance(numbers, rsa.RSAPrivateNumbers) else numbers.private_value
    octets = secret.to_bytes((secret.bit_length() + 7) // 8, "big")
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # The modulus stands in the key file as well, and everybody may have it.
    yield from (line for line in pem.splitlines()[1:-1] if len(line) > 40 and base64.b64decode(line) not in public)
    yield key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    yield from (octets, octets.hex().encode(), str(secret).encode(), base64.b64encode(octets)[:-4])
    yield b"PRIVATE KEY"


def written(site: Path) -> Iterator[tuple[str, bytes]]:
    """Every file that the daemon wrote; where the keys themselves lie, it writes nothing."""
    for path in site.rglob("*"):
        if path.is_file() and not {"certs", "schemas"} & set(path.relative_to(site).parts[:1]):
            yield str(path.relative_to(site)), path.read_bytes()


def test_no_secret_is_written_or_answered(traffic: Traffic) -> None:
    """Passwords, hub secrets, PEM, DER and numbers of every private key: searched for in all that was logged, stored and answered."""
    site = traffic.bus.site
    needles = {octets for name in attacked_site.ENVIRONMENT.values() for octets in spellings(name)}
    needles |= {octets for path in (site / "certs").rglob("*.key") for octets in key_spellings(path.read_bytes())}
    places = [*written(site), *(("an answer", answer) for answer in traffic.answers)]
    assert len(places) > 40
    assert len(needles) > 150
    assert any(name.endswith("bus.log") and b"5.7.8" in octets for name, octets in places)
    assert [(name, needle[:40]) for name, octets in places for needle in needles if needle and needle in octets] == []


def test_what_was_typed_wrongly_is_not_written_either(traffic: Traffic) -> None:
    """A password with a slip in it is half a password: the fault and the log say that it was wrong, not what it was."""
    places = [*written(traffic.bus.site), *(("an answer", answer) for answer in traffic.answers)]
    assert [name for name, octets in places if NEARLY.encode() in octets] == []


def test_the_search_would_find_what_it_searches_for(traffic: Traffic) -> None:
    """The needles are real: in the key files and in the configuration they stand as they are searched for."""
    for path in (traffic.bus.site / "certs").rglob("*.key"):
        assert any(needle in path.read_bytes() for needle in key_spellings(path.read_bytes()))
    assert any(needle in json.dumps(attacked_site.ENVIRONMENT).encode() for needle in spellings(attacked_site.PASSWORD))


@pytest.mark.parametrize("page", [*OPEN_PAGES, *(f"operators{page}" for page in OPERATORS_PAGES)])
def test_an_open_page_tells_of_names_and_numbers_and_nothing_else(traffic: Traffic, page: str) -> None:
    """By design whoever reaches the port, or the operators' own, may read them: names from routes.yaml, counts, dates; nothing else."""
    for private in (MESSAGE, SUBJECT, f"{UNIT},2026/03/15", "Nguyễn Văn A", "/tmp/", "routes.yaml", "env:", "Traceback"):
        assert private.encode() not in traffic.pages[page]
