"""What stacks enforce of the WS-I Basic Security Profile 1.1, WSS4J 2 among them, which Debian does not have."""

import re
from datetime import UTC, datetime

from cross_world import ENVELOPE, SOAP11, World

from bus.signature import username, wss
from bus.signer import Signer, SoftKey

#: R3220, R3229: at most three digits to the right of the decimal point.
_TIME = re.compile(rb"<wsu:(Created|Expires)>2026-01-31T08:0[05]:59\.123Z</wsu:\1>")


def test_times_are_no_finer_than_milliseconds(world: World) -> None:
    """A clock that tells microseconds does not make WSS4J 2 refuse our Timestamp, or our UsernameToken."""
    now, identity = datetime(2026, 1, 31, 8, 0, 59, 123999, tzinfo=UTC), world.identities["p256"]
    signed = wss.sign(ENVELOPE, Signer("own/test", SoftKey(identity.private), identity.certificate), now)
    login = username.write(username.Account("user", "secret"), bytes(16), now)
    enclosed = wss.enclose(SOAP11, b"<a></a>", None, now, login=login)
    assert len(_TIME.findall(signed)) == 2
    assert len(re.findall(rb"<wsu:(?:Created|Expires)", enclosed)) == len(_TIME.findall(enclosed)) > 0
