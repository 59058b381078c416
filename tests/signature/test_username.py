"""UsernameToken: text and digest, nonces used once, times fresh, and one answer for strangers and wrong passwords."""

import copy
from datetime import timedelta

import pytest
from lxml import etree
from zeep.wsse.username import UsernameToken

from bus.errors import Rejected
from bus.signature import username
from bus.signature.profile import USERNAME_TOKEN
from bus.xmlio import parse

SECRETS = {"partner-agency": "bí mật"}
ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header/><s:Body><a/></s:Body></s:Envelope>'
PLAIN = {"use_digest": False}
DIGEST = {"use_digest": True}


def signed(world, options, user="partner-agency", password="bí mật", nonce="one", **more) -> bytes:
    """An envelope with zeep's token; the plain one carries Nonce and Created only where given."""
    root = etree.fromstring(ENVELOPE)
    if options["use_digest"]:
        more = {"nonce": nonce, "created": world.now, **more}
    UsernameToken(user, password, **options, **more).apply(root, {})
    return etree.tostring(root)


def verify(world, data, nonces=None, later=timedelta(0)) -> str:
    return username.verify(parse(data), SECRETS.get, world.now + later, nonces or username.NonceCache()).user


@pytest.mark.parametrize("options", [PLAIN, DIGEST])
def test_the_right_password_is_the_partner(world, options):
    """zeep's token, in text or digested, names the partner."""
    assert verify(world, signed(world, options)) == "partner-agency"


@pytest.mark.parametrize("options", [PLAIN, DIGEST])
@pytest.mark.parametrize("who", [{"password": "sai"}, {"user": "stranger"}, {"user": "stranger", "password": ""}])
def test_a_wrong_password_and_a_stranger_are_told_the_same(world, options, who):
    """Nobody learns from the fault whether the user exists."""
    with pytest.raises(Rejected, match=r"5\.7\.(8 .*user name or password|0)"):
        verify(world, signed(world, options, **who))


def test_a_nonce_serves_once(world):
    """The same token a second time is a replay; after the window the time is stale instead."""
    nonces, data = username.NonceCache(), signed(world, DIGEST)
    verify(world, data, nonces)
    with pytest.raises(Rejected, match=r"5\.7\.9 .*Nonce"):
        verify(world, data, nonces, later=timedelta(minutes=19))
    with pytest.raises(Rejected, match=r"5\.7\.9 .*too old"):
        verify(world, data, nonces, later=timedelta(minutes=31))


def test_a_wrong_password_does_not_burn_a_nonce(world):
    """A stranger who guesses nonces cannot lock the partner out."""
    nonces = username.NonceCache()
    with pytest.raises(Rejected):
        verify(world, signed(world, DIGEST, password="sai"), nonces)
    assert verify(world, signed(world, DIGEST), nonces) == "partner-agency"


def test_the_cache_is_bounded_by_user_and_locks_nobody_out(world):
    """A user with nonces without end makes room for them out of its own: the store knows them all, and nobody else's are forgotten."""
    nonces = username.NonceCache(window=timedelta(minutes=30), most=2)
    other = nonces.use("other", b"one", world.now)
    for number in range(100):
        verify(world, signed(world, DIGEST, nonce=str(number)), nonces)
    assert len(nonces._seen["partner-agency"]) <= 3
    with pytest.raises(Rejected, match=r"5\.7\.9"):
        nonces.use("other", b"one", world.now)
    assert other.until == world.now + timedelta(minutes=30)


@pytest.mark.parametrize("later", [timedelta(minutes=-6), timedelta(minutes=21)])
def test_stale_and_future_tokens_are_refused(world, later):
    """Created must be of now, within the skew."""
    with pytest.raises(Rejected, match=r"5\.7\.9"):
        verify(world, signed(world, DIGEST), later=later)


def _without(tag):
    return lambda token: token.remove(token.find(f"{{*}}{tag}"))


def _twice(tag):
    return lambda token: token.append(copy.deepcopy(token.find(f"{{*}}{tag}")))


def _text(tag, text):
    return lambda token: setattr(token.find(f"{{*}}{tag}"), "text", text)


def _type(ending):
    return lambda token: token.find("{*}Password").set("Type", USERNAME_TOKEN + ending)


CHANGES = {
    **{f"no {tag}": _without(tag) for tag in ("Username", "Password", "Nonce", "Created")},
    **{f"two of {tag}": _twice(tag) for tag in ("Username", "Password", "Nonce", "Created")},
    "nonce that is not base64": _text("Nonce", "!"),
    "nonce changed": _text("Nonce", "bm9uY2Ut"),
    "created changed": _text("Created", "2026-11-22T08:00:01Z"),
    "empty user": _text("Username", ""),
    "unknown type": _type("PasswordOther"),
    "digest passed off as text": _type("PasswordText"),
    "two tokens": lambda token: token.addnext(copy.deepcopy(token)),
    "no token": lambda token: token.getparent().remove(token),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tokens_out_of_shape_are_refused(world, change):
    """Anything missing, doubled, changed or of an unknown type is refused as a security fault."""
    root = etree.fromstring(signed(world, DIGEST))
    CHANGES[change](root.find(".//{*}UsernameToken"))
    with pytest.raises(Rejected, match=r"5\.7\."):
        verify(world, etree.tostring(root))
