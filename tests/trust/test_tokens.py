"""Keys in a PKCS#11 token, on SoftHSM: every method, one thread, what goes wrong at start, and a token that goes and comes back."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from authority_server import Issuer, pem
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from helping import until
from soft_token import PIN, SoftToken
from trust_hands import audited, events, govbus, letter, page, pieces, unit

from bus import pkcs11
from bus.errors import ConfigurationError, Deferred
from bus.keys import Keyring
from bus.methods import BY_NAME
from bus.pkcs11 import TokenKey, Uri
from sandbox.documents import SECURITY_AUTHORITY
from sandbox.process import BusProcess

KEYS = {
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
METHODS = [
    *(("rsa", name) for name in BY_NAME if name.startswith("rsa")),
    ("p256", "ecdsa-sha256"),
    ("p384", "ecdsa-sha384"),
    ("ed25519", "ed25519"),
]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftToken]:
    """One token for this process, with a key of each kind."""
    made = SoftToken.create(tmp_path_factory.mktemp("token"))
    for number, (label, new) in enumerate(KEYS.items(), 1):
        private = new()
        path = made.directory / f"{label}.key"
        kind = serialization.PrivateFormat.PKCS8
        path.write_bytes(private.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()))
        made.take(path, label, f"{number:02}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(made.configuration))
        yield made


def key(token: SoftToken, label: str, pin: str = PIN) -> TokenKey:
    private = serialization.load_pem_private_key((token.directory / f"{label}.key").read_bytes(), None)
    return TokenKey(f"own/{label}", Uri.parse(token.uri(label)), private.public_key(), pin)


@pytest.mark.parametrize(("label", "name"), METHODS)
def test_every_method_signs_in_the_token(token, label, name):
    """What the token makes is what the method says, verified by the public key outside."""
    mine, method = key(token, label), BY_NAME[name]
    method.verify(mine.public, mine.sign(b"van ban", method), b"van ban")
    assert PIN not in repr(mine)


def test_many_threads_use_one_session_on_one_thread(token):
    """Eight threads sign with two keys at once; SoftHSM falls when two sessions are used by two threads."""
    keys, method = [key(token, "p256"), key(token, "p384")], [BY_NAME["ecdsa-sha256"], BY_NAME["ecdsa-sha384"]]
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda n: keys[n % 2].sign(b"%d" % n, method[n % 2]), range(400)))
    for number, value in enumerate(values):
        method[number % 2].verify(keys[number % 2].public, value, b"%d" % number)


def test_a_forked_process_signs_too(token):
    """Workers are forked after the site was checked, and the library was initialised by that."""
    mine, method = key(token, "p256"), BY_NAME["ecdsa-sha256"]
    mine.prove()
    pid = os.fork()
    if not pid:
        try:
            method.verify(mine.public, mine.sign(b"x", method), b"x")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    mine.prove()


def test_a_library_that_hangs_holds_nobody_up(token, monkeypatch):
    """Whoever wants a signature waits so long and no longer; those who come meanwhile are told at once."""
    import threading
    import time

    monkeypatch.setattr("bus.pkcs11.PATIENCE", 0.2)
    mine = key(token, "p256")
    mine.prove()
    module, held = pkcs11._module(mine.uri.module), threading.Event()
    began = time.monotonic()
    with pytest.raises(Deferred, match="did not answer"):
        module.call(mine, lambda _: held.wait(20))
    with pytest.raises(Deferred, match="does not come back"):
        mine.prove()
    assert time.monotonic() - began < 5
    held.set()
    while module._running is not None and not module._running.done():
        time.sleep(0.01)
    mine.prove()


#: A URI that is none of ours -> what is said.
URIS = {
    "token=govbus": "is not a PKCS#11 URI",
    "pkcs11:object=bus?module-path=/x.so": "needs token=",
    "pkcs11:token=govbus;object=bus": "needs token=",
    "pkcs11:token=govbus?module-path=/x.so": "needs token=",
    "pkcs11:token=govbus;object=bus;slot-id=1?module-path=/x.so": "nothing else slot-id",
    f"pkcs11:token=govbus;object=bus?module-path=/x.so&pin-value={PIN}": "holds a PIN",
}


@pytest.mark.parametrize(("text", "said"), URIS.items())
def test_a_uri_that_cannot_be_used_says_why_and_not_what(text, said):
    """The fault names what is missing, and never shows a PIN."""
    with pytest.raises(ValueError, match=said) as refused:
        Uri.parse(text)
    assert PIN not in str(refused.value)


def test_a_uri_is_read_as_rfc_7512_writes_it():
    """Percent-encoding, and the key's identifier as octets (sections 2.3, 2.4)."""
    uri = Uri.parse("pkcs11:token=Bộ%20TT;id=%01%ab?module-path=/usr/lib/x%3By.so")
    assert uri == Uri("/usr/lib/x;y.so", "Bộ TT", "", b"\x01\xab")


def _own(certs: Path, token: SoftToken, label: str = "p256") -> Keyring:
    """A keyring whose own/bus is this key of the token."""
    own = certs / "own"
    own.mkdir(parents=True)
    private = serialization.load_pem_private_key((token.directory / f"{label}.key").read_bytes(), None)
    (own / "bus.crt").write_bytes(pem(Issuer("CA").leaf("bus", private)))
    (own / "bus.p11").write_text(token.uri("p256"))
    return Keyring.load(certs, {}, passwords={"own/bus": PIN})


def test_a_key_in_a_token_is_proved_to_be_the_certificates(tmp_path, token):
    """The signer signs; with the certificate of another key the site does not start."""
    ring = _own(tmp_path / "good", token)
    ring.signer("own/bus").method.verify(key(token, "p256").public, ring.signer("own/bus").sign(b"x"), b"x")
    with pytest.raises(ConfigurationError, match=r"bus\.p11.*not this key's"):
        _own(tmp_path / "bad", token, "p384")


def test_without_the_extra_the_fault_says_what_to_install(tmp_path, token, monkeypatch):
    """python-pkcs11 is an extra; a site without tokens never misses it."""
    monkeypatch.setitem(__import__("sys").modules, "pkcs11", None)
    monkeypatch.setattr(pkcs11, "_modules", {})
    with pytest.raises(ConfigurationError, match=r"pip install 'govbus\[pkcs11\]'"):
        _own(tmp_path, token)


def test_a_wrong_pin_is_shown_to_the_token_once(token, monkeypatch):
    """Ten more would lock it: after the first refusal the token is not asked again with this PIN."""
    monkeypatch.setattr(pkcs11, "_modules", {})
    monkeypatch.setattr(pkcs11, "_PAUSE", 0.0)
    wrong = key(token, "p256", pin="0000")
    module = pkcs11._module(wrong.uri.module)
    module._stale = True
    for _ in range(15):
        with pytest.raises(Deferred, match="PinIncorrect"):
            wrong.prove()
    assert module._refused == {("govbus", "0000")}
    key(token, "p256").prove()


# --- the daemon ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def moved(tmp_path: Path, site: Path) -> SoftToken:
    """The site's signing key lies in a token, and nowhere else."""
    made = SoftToken.create(tmp_path / "token")
    own = site / "certs" / "own"
    made.take(own / "bus.key", "bus")
    (own / "bus.key").rename(tmp_path / "bus.key")
    (own / "bus.p11").write_text(made.uri("bus") + "\n")
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace("  tls: own/tls\n", "  tls: own/tls\n  keys: {own/bus: {password: env:BUS_PIN}}\n")
    routes.write_text(text, encoding="utf-8")
    return made


def _environment(token: SoftToken) -> dict[str, str]:
    return {**token.environment, "BUS_PIN": PIN, "GOVBUS_LANG": "en"}


EN = "The key own/bus in the PKCS#11 token 'govbus' cannot be used: "
VI = "Không dùng được khóa own/bus trong thiết bị PKCS#11 'govbus': "


def test_fault_40_a_token_that_is_gone_at_start_is_named_by_check_and_by_run(site, moved):
    """Neither starts, both say which key, which token and what to do, in the operator's language; back in, all is well."""
    environment = _environment(moved)
    assert govbus("check", "--site", site, **environment).code == 0
    moved.away()
    for language, said, cure in (("en", EN, "Check the token"), ("vi", VI, "Hãy kiểm tra thiết bị, mã PIN và trình điều khiển.")):
        for command in ("check", "run"):
            done = govbus(command, "--site", site, **{**environment, "GOVBUS_LANG": language})
            assert done.code == 1
            assert f"certs/own/bus.p11:1:1: {said}" in done.said
            assert cure in done.said
            assert PIN not in done.said
    moved.back()
    assert govbus("check", "--site", site, **environment).code == 0
    rows = json.loads(govbus("keys", "--site", site, "--json", **environment).said.splitlines()[-1])
    assert {row["name"]: row["detail"] for row in rows if row["kind"] == "own"} == {"own/bus": "PKCS#11 token 'govbus'", "own/tls": ""}


async def test_fault_40_a_token_that_goes_in_mid_run_stops_nothing_but_signing_and_comes_back_by_itself(
    site: Path, moved: SoftToken, start: Callable[..., BusProcess]
) -> None:
    """While it is away nothing is acknowledged, /readyz names it, an alarm is raised; put back, the same daemon goes on."""
    bus = start(site, environment=_environment(moved))
    async with unit(bus) as sender:
        await sender.send(letter(1), "first")
        moved.away()
        with pytest.raises(Deferred) as deferred:
            await sender.send(letter(2), "second")
        assert "4.3.5" in str(deferred.value)
        status, said = page(bus, "/readyz")
        assert status == 503
        assert json.loads(said)["parts"]["own/bus"].startswith(EN)
        assert 'govbus_token_up{name="own/bus"} 0.0' in page(bus, "/metrics")[1]
        assert page(bus, "/healthz")[0] == 200
        moved.back()
        await until(lambda: page(bus, "/readyz")[0] == 200)
        assert (await sender.send(letter(2), "second")).status == "ACCEPTED"
    [alarm] = events(bus, "alarm.token-unavailable")
    assert str(alarm["en"]).startswith(EN)
    assert str(alarm["vi"]).startswith(VI)
    async with unit(bus, SECURITY_AUTHORITY.code) as reader:
        found: list[str] = []
        while len(found) < 2:
            found = [entry.message_id for entry in await reader.pending()]
    assert bus.stop() == 0
    assert audited(site, **_environment(moved))["accepted"] == 2
    _nothing_is_shown(site, moved.directory.parent / "bus.key")


async def test_workers_each_open_the_token_for_themselves(site: Path, moved: SoftToken, start: Callable[..., BusProcess]) -> None:
    """Two processes over one token, forked after the site was checked with it."""
    bus = start(site, workers=2, environment=_environment(moved))
    async with unit(bus) as sender:
        for number in range(8):
            assert (await sender.send(letter(number), f"m{number}")).status == "ACCEPTED"
    assert bus.stop() == 0


def _nothing_is_shown(site: Path, key: Path) -> None:
    """No output of the run holds the PIN, or a piece of the key in any of its forms."""
    outputs = [path for path in (site / "bus.log", *(site / "data").rglob("*")) if path.is_file()]
    assert len(outputs) > 2
    assert [(path.name, secret) for path in outputs for secret in (PIN.encode(), *pieces(key)) if secret in path.read_bytes()] == []


def test_a_token_cannot_be_the_https_doors(site, moved):
    """OpenSSL wants the door's key itself: said by check, not at the first handshake."""
    own = site / "certs" / "own"
    (own / "tls.key").unlink()
    moved.take(moved.directory.parent / "bus.key", "tls", "02")
    (own / "tls.p11").write_text(moved.uri("tls"))
    shutil.copy(own / "bus.crt", own / "tls.crt")
    routes = site / "routes.yaml"
    text = routes.read_text(encoding="utf-8").replace("keys: {", "keys: {own/tls: {password: env:BUS_PIN}, ")
    routes.write_text(text, encoding="utf-8")
    done = govbus("check", "--site", site, **_environment(moved))
    assert done.code == 1
    assert "the HTTPS door's key must be a PEM file" in done.said
