"""UsernameToken between the bus, WSS4J and zeep: a password proved by text or digest on either side, and used once.

Standard: WS-Security UsernameToken Profile 1.1 section 3.
"""

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from cross_stacks import Refused
from cross_world import ENVELOPE, SOAP11
from lxml import etree
from zeep.wsse.username import UsernameToken

from bus.errors import Rejected
from bus.signature import username, wss
from bus.xmlio import parse

USER, PASSWORD = "Đơn vị 1", "mật khẩu <&> 'đ'"
KINDS = ("digest", "text")


def proved(envelope: bytes, nonces: username.NonceCache, password: str = PASSWORD) -> str:
    """Whom the bus takes the sender for."""
    return username.verify(parse(envelope), {USER: password}.get, datetime.now(UTC), nonces).user


def by_zeep(kind: str) -> bytes:
    """The envelope with zeep's token. Its time is given to it: left alone it writes the time without a zone."""
    token = UsernameToken(USER, PASSWORD, use_digest=kind == "digest", created=datetime.now(UTC))
    return etree.tostring(token.apply(etree.fromstring(ENVELOPE), {})[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stack_name", ["wss4j bst", "zeep"])
def test_a_foreign_token_proves_its_user_once(stack, stack_name, kind):
    """Vietnamese and markup in name and password are what they are; a second use and another password are refused."""
    envelope = by_zeep(kind) if stack_name == "zeep" else stack(stack_name).log_in(USER, PASSWORD, kind)
    nonces = username.NonceCache()
    with pytest.raises(Rejected) as wrong:
        proved(envelope, nonces, PASSWORD + " ")
    assert wrong.value.key == "credentials-invalid"
    assert proved(envelope, nonces) == USER
    # A text without a nonce is as good the second time: that is why it is for TLS only.
    if b"Nonce" in envelope:
        with pytest.raises(Rejected) as again:
            proved(envelope, nonces)
        assert again.value.key == "message-replayed"


@pytest.mark.parametrize("kind", KINDS)
def test_wss4j_knows_us_by_our_token(stack, kind):
    """What the bus logs in with, WSS4J takes for our name, and refuses with any other password."""
    now = datetime.now(UTC) - timedelta(seconds=1)
    login = username.write(username.Account(USER, PASSWORD, digested=kind == "digest"), secrets.token_bytes(16), now)
    envelope = wss.enclose(SOAP11, b"<a></a>", None, now, login=login)
    assert stack("wss4j bst").logged_in(PASSWORD, envelope) == USER
    with pytest.raises(Refused):
        stack("wss4j bst").logged_in(PASSWORD + " ", envelope)
