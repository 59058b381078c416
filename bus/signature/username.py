"""WS-Security UsernameToken: a name with its password in text, or digested with a nonce and a time. For use over TLS only.

Digest: Base64(SHA-1(nonce + created + password)). SHA-1 is the profile's own here, as a hash of a secret and not as a signature.
With a digest, Nonce and Created are demanded; with text they are checked where they are sent: a thief of the text could make new ones.
``write`` sends both in either case, and promises a token that is its own canonical form, so that a signature may cover it.

Raises Rejected: ``security-missing``, ``credentials-invalid``, ``timestamp-stale``, ``message-replayed``.

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
from bus.errors import Rejected
from bus.signature.profile import BASE64_BINARY, USERNAME_TOKEN, WSSE, WSU
from bus.signature.security_header import Login
from bus.signature.times import in_milliseconds
from bus.signature.wss import DEFAULT, Parts, Policy, check_fresh

_TOKEN = (
    f'<wsse:UsernameToken xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" wsu:Id="UT-{{id}}"><wsse:Username>{{user}}</wsse:Username>'
    '<wsse:Password Type="{kind}">{password}</wsse:Password>'
    f'<wsse:Nonce EncodingType="{BASE64_BINARY}">{{nonce}}</wsse:Nonce><wsu:Created>{{created}}</wsu:Created></wsse:UsernameToken>'
)
#: Nonces of one user that a process remembers.
_MOST_NONCES = 10_000
_NONCE_BYTES = 1024


class NonceCache:
    """The nonces that this process has seen within their window, by user: what spares the store, which knows those of the whole site.

    Bounded for each user, whose oldest is forgotten first: no user's nonces concern another's, and the store remembers all.
    """

    def __init__(self, window: timedelta = timedelta(minutes=30), most: int = _MOST_NONCES) -> None:
        """``window``: at least the policy's age and twice its skew."""
        self._window = window
        self._most = most
        self._seen: dict[str, OrderedDict[str, datetime]] = {}
        self._lock = Lock()

    def use(self, user: str, nonce: bytes, now: datetime) -> "Used":
        """Remember ``nonce``, and say what the store is to remember. Rejected when it was used within the window."""
        digest = hashlib.sha256(nonce).hexdigest()
        with self._lock:
            seen = self._seen.setdefault(user, OrderedDict())
            while seen and (next(iter(seen.values())) < now - self._window or len(seen) > self._most):
                seen.popitem(last=False)
            if digest in seen:
                raise Rejected("message-replayed", check="the Nonce was used before")
            seen[digest] = now
        return Used(digest, now + self._window)


@dataclass(frozen=True, slots=True)
class Used:
    """A nonce that was used, by its SHA-256, and until when it would count again."""

    digest: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Proved:
    """Whose password it was; ``used``: the nonce beside it, where there was one."""

    user: str
    used: Used | None = None


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
) -> Proved:
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
    return Proved(token.user, nonces.use(token.user, token.nonce, now) if token.nonce else None)


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
