"""WS-Security UsernameToken: a name with its password in text, or digested with a nonce and a time. For use over TLS only.

Digest: Base64(SHA-1(nonce + created + password)). SHA-1 is the profile's own here, as a hash of a secret and not as a signature.
With a digest, Nonce and Created are demanded; with text they are checked where they are sent: a thief of the text could make new ones.
``write`` sends both in either case, and promises a token that is its own canonical form, so that a signature may cover it.

Raises Rejected: ``security-missing``, ``credentials-invalid``, ``timestamp-stale``, ``message-replayed``; ``Deferred`` ``bus-busy`` when
more nonces are in their window than can be remembered.

Standard: WS-Security UsernameToken Profile 1.1 section 3.1.
"""

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from xml.sax.saxutils import escape

from lxml import etree

from bus import lexical
from bus.errors import Deferred, Rejected
from bus.signature.profile import BASE64_BINARY, USERNAME_TOKEN, WSSE, WSU
from bus.signature.security_header import Login
from bus.signature.times import in_milliseconds
from bus.signature.wss import DEFAULT, Parts, Policy, check_fresh

_TOKEN = (
    f'<wsse:UsernameToken xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" wsu:Id="UT-{{id}}"><wsse:Username>{{user}}</wsse:Username>'
    '<wsse:Password Type="{kind}">{password}</wsse:Password>'
    f'<wsse:Nonce EncodingType="{BASE64_BINARY}">{{nonce}}</wsse:Nonce><wsu:Created>{{created}}</wsu:Created></wsse:UsernameToken>'
)
_MOST_NONCES = 100_000
_NONCE_BYTES = 1024


class NonceCache:
    """The nonces seen within their window, by user: of this process only, so a replay to another worker is left to the idempotency key.

    Bounded: when full it refuses new ones rather than forget one in its window.
    """

    def __init__(self, window: timedelta = timedelta(minutes=30), most: int = _MOST_NONCES) -> None:
        """``window``: at least the policy's age and twice its skew."""
        self._window = window
        self._most = most
        self._seen: OrderedDict[tuple[str, bytes], datetime] = OrderedDict()
        self._lock = Lock()

    def use(self, user: str, nonce: bytes, now: datetime) -> None:
        """Remember ``nonce``; Rejected when it was used within the window, Deferred when there is no room."""
        key = (user, hashlib.sha256(nonce).digest())
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < now - self._window:
                self._seen.popitem(last=False)
            if key in self._seen:
                raise Rejected("message-replayed", check="the Nonce was used before")
            if len(self._seen) >= self._most:
                raise Deferred("bus-busy")
            self._seen[key] = now


@dataclass(frozen=True, slots=True)
class Account:
    """What we are known by to a partner; ``digested``: the password is never sent itself."""

    user: str
    password: str = field(repr=False)
    digested: bool = True


def write(account: Account, nonce: bytes, now: datetime) -> Callable[[str], Login]:
    """What writes the token, once it is told what makes its Id its own. ``nonce``: at least 16 random octets, never used before."""
    token = _Token(account.user, account.password, account.digested, nonce, in_milliseconds(now))
    password, kind = (_digest(token, account.password), "Digest") if account.digested else (account.password, "Text")

    def login(identifier: str) -> Login:
        text = _TOKEN.format(
            id=identifier,
            user=_escaped(account.user),
            kind=f"{USERNAME_TOKEN}Password{kind}",
            password=_escaped(password),
            nonce=base64.b64encode(nonce).decode(),
            created=token.created,
        )
        return Login(f"UT-{identifier}", text)

    return login


def _escaped(value: str) -> str:
    return escape(value, {"\r": "&#xD;"})


@dataclass(frozen=True, slots=True)
class _Token:
    user: str
    password: str
    digested: bool
    nonce: bytes
    created: str


def verify(
    root: etree._Element,
    secrets: Callable[[str], str | None],
    now: datetime,
    nonces: NonceCache,
    policy: Policy = DEFAULT,
) -> str:
    """The user whose password the envelope's UsernameToken proves. ``secrets`` gives a user's password, or None for nobody's name."""
    token = _read(Parts.of(root).required_security())
    secret = secrets(token.user)
    # A stranger costs the same time as a wrong password, and gets the same answer.
    expected = _digest(token, secret or "") if token.digested else (secret or "")
    same = hmac.compare_digest(expected.encode(), token.password.encode())
    if not secret or not same:
        raise Rejected("credentials-invalid", check="user name or password")
    if token.created:
        check_fresh(_created(token), None, policy, now)
    if token.nonce:
        nonces.use(token.user, token.nonce, now)
    return token.user


def _read(security: etree._Element) -> _Token:
    found = security.findall(f"{{{WSSE}}}UsernameToken")
    if not found:
        raise Rejected("security-missing", check="the Security header has no wsse:UsernameToken")
    if len(found) > 1:
        raise Rejected("credentials-invalid", check="there is more than one UsernameToken")
    user, _ = _one(found[0], f"{{{WSSE}}}Username")
    password, kind = _one(found[0], f"{{{WSSE}}}Password")
    nonce, _ = _one(found[0], f"{{{WSSE}}}Nonce")
    created, _ = _one(found[0], f"{{{WSU}}}Created")
    if kind not in ("", f"{USERNAME_TOKEN}PasswordText", f"{USERNAME_TOKEN}PasswordDigest"):
        raise Rejected("credentials-invalid", check="the password's Type is not known")
    digested = kind.endswith("#PasswordDigest")
    if not user or not password or (digested and not (nonce and created)):
        raise Rejected("security-missing", check="UsernameToken needs Username and Password, and with a digest Nonce and Created")
    clean = lexical.trimmed
    return _Token(clean(user), clean(password) if digested else password, digested, _octets(nonce), clean(created))


def _one(token: etree._Element, tag: str) -> tuple[str, str]:
    """Text and Type of the token's child; empty where there is none."""
    found = token.findall(tag)
    if len(found) > 1 or any(len(child) for child in found):
        raise Rejected("credentials-invalid", check=f"{etree.QName(tag).localname} is not there exactly once")
    return (found[0].text or "", found[0].get("Type", "")) if found else ("", "")


def _octets(nonce: str) -> bytes:
    try:
        octets = base64.b64decode("".join(lexical.words(nonce)).encode(), validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("credentials-invalid", check="Nonce is not base64") from None
    if len(octets) > _NONCE_BYTES:
        raise Rejected("credentials-invalid", check="Nonce is too long")
    return octets


def _digest(token: _Token, secret: str) -> str:
    return base64.b64encode(hashlib.sha1(token.nonce + token.created.encode() + secret.encode(), usedforsecurity=False).digest()).decode()


def _created(token: _Token) -> datetime:
    try:
        return lexical.instant(token.created)
    except ValueError:
        # What stands there may be a password in the wrong place: it is not said again.
        raise Rejected("timestamp-stale", check="Created is not an xs:dateTime") from None
