"""Attacks on the UsernameToken: its password, nonce, time and name, and where it stands (UsernameToken Profile 1.1 section 3.1)."""

import base64
import hashlib
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from attacker import CONTENT_TYPES, Case, Forger

from bus import soap
from bus.octets import whole
from bus.signature.profile import USERNAME_TOKEN, WSSE, WSU
from bus.signature.times import written
from bus.soap import SOAP_11, SOAP_12, text

#: The password of the partner ``unit`` in ``soap_rig``; the partner ``other`` has none.
PASSWORD = "bí mật"
TEXT, DIGEST = f"{USERNAME_TOKEN}PasswordText", f"{USERNAME_TOKEN}PasswordDigest"
#: Not the partner's name, whoever may think so.
NAMES = (
    "",
    " ",
    "UNIT",
    "Unit",
    "un\u0456t",
    "\uff55\uff4e\uff49\uff54",
    "unit\u200b",
    "un\u00adit",
    "unit\u0301",
    "unit%",
    "_nit",
    "*",
    "unit' OR '1'='1",
    "unit'--",
    'unit" or "a"="a',
    "unit)(uid=*))(|(uid=*",
    "../unit",
    "unit/../unit",
    "unit\\",
    "env:UNIT_PASSWORD",
    "${UNIT_PASSWORD}",
    "{unit}",
    "000.00.01.G14",
    "other",
    "bus",
    "own/bus",
    "unit,other",
    "unit\nother",
    "u" * 1_000_000,
)


def digested(nonce: bytes, created: str, password: str) -> str:
    """Password_Digest = Base64(SHA-1(nonce + created + password))."""
    return base64.b64encode(hashlib.sha1(nonce + created.encode() + password.encode(), usedforsecurity=False).digest()).decode()


def token(parts: Mapping[str, str | None], more: str = "") -> str:
    """A UsernameToken with these parts, each raw XML text; None leaves one out. ``Type`` is the password's."""
    kind = "" if parts.get("Type") is None else f' Type="{parts["Type"]}"'
    written_parts = {
        "Username": "<wsse:Username>{}</wsse:Username>",
        "Password": f"<wsse:Password{kind}>{{}}</wsse:Password>",
        "Nonce": "<wsse:Nonce>{}</wsse:Nonce>",
        "Created": "<wsu:Created>{}</wsu:Created>",
    }
    inside = "".join(form.format(parts[name]) for name, form in written_parts.items() if parts.get(name) is not None)
    return f"<wsse:UsernameToken>{inside}{more}</wsse:UsernameToken>"


def security(inside: str) -> str:
    """A wsse:Security header."""
    return f'<wsse:Security xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}">{inside}</wsse:Security>'


def good(kind: str = DIGEST, password: str = PASSWORD, user: str = "unit", **offset: float) -> dict[str, str | None]:
    """The parts of a token that would be taken (with the defaults, once)."""
    nonce, created = secrets.token_bytes(16), written(datetime.now(UTC) + timedelta(**offset))
    said = digested(nonce, created, password) if kind == DIGEST else text(password)
    return {"Username": text(user), "Password": said, "Type": kind, "Nonce": base64.b64encode(nonce).decode(), "Created": created}


def _of_digest() -> Iterator[tuple[str, str]]:
    """Tokens that are wrong because of what a digest needs."""
    for name in ("Nonce", "Created"):
        yield f"a digest without {name}", token(good() | {name: None})
        yield f"a digest with an empty {name}", token(good() | {name: ""})
    yield "a digest without Nonce and Created", token(good() | {"Nonce": None, "Created": None})
    for words, password in {"another": "sai", "no": "", "the decomposed": unicodedata.normalize("NFD", PASSWORD)}.items():
        yield f"a digest of {words} password", token(good(password=password))
    yield "a digest called text", token(good() | {"Type": TEXT})
    yield "a digest without Type", token(good() | {"Type": None})
    yield "the text called a digest", token(good(TEXT) | {"Type": DIGEST})
    yield "a digest in hexadecimal", token(good() | {"Password": base64.b64decode(str(good()["Password"])).hex()})
    yield "another nonce than was digested", token(good() | {"Nonce": "QUJD"})
    yield "another time than was digested", token(good() | {"Created": written(datetime.now(UTC) + timedelta(seconds=1))})
    for words, hours in {"an hour old": -1.0, "a year old": -8760.0, "of the next hour": 1.0, "of next year": 8760.0}.items():
        yield f"a digest {words}", token(good(hours=hours))


def _of_either(kind: str) -> Iterator[tuple[str, str]]:
    """Tokens that are wrong in either form."""
    for words, nonce in {
        "of a megabyte": "QUJD" * 350_000,
        "of 1 025 octets": base64.b64encode(bytes(1025)).decode(),
        "that is not base64": "!!!",
        "that is not ASCII": "đđđđ",
        "with an element in it": "QUJD<a xmlns=''/>",
    }.items():
        yield f"a nonce {words}", token(good(kind) | {"Nonce": nonce})
    for created in ("now", "2026-13-01T00:00:00Z", "0000-00-00T00:00:00Z", "9" * 100_000, "-1", "2026-11-22", "１２"):
        yield f"created {created[:24]!r}", token(good(kind) | {"Created": created})
    for password in ("", "sai", PASSWORD.upper(), PASSWORD[:-1], f"{PASSWORD} ", f" {PASSWORD}", "x" * 1_000_000):
        yield f"the password {password[:12]!r}", token(good(kind) | {"Password": password})
    for name in NAMES:
        yield f"the name {name[:24]!r}", token(good(kind, user=name))
    for type_ in ("", "PasswordText", f"{TEXT}#PasswordDigest", f"{USERNAME_TOKEN}PasswordNone", "urn:x#PasswordDigest", TEXT.lower()):
        if type_:
            yield f"the Type {type_[-30:]!r}", token(good(kind) | {"Type": type_})
    for name in ("Username", "Password"):
        yield f"no {name}", token(good(kind) | {name: None})
        yield f"{name} with an element in it", token(good(kind) | {name: f"{good(kind)[name]}<a xmlns=''/>"})
    for name, tag in (("Username", "wsse"), ("Password", "wsse"), ("Nonce", "wsse"), ("Created", "wsu")):
        parts = good(kind)
        yield f"{name} twice", token(parts, f"<{tag}:{name}>{parts[name]}</{tag}:{name}>")
        yield f"{name} twice, then another", token(parts, f"<{tag}:{name}>x</{tag}:{name}>")


def _headers(kind: str) -> Iterator[tuple[str, str]]:
    """Whole headers: the right token, and something wrong around it."""
    right, wrong = token(good(kind)), token(good(kind, password="sai"))
    yield "two tokens, the right one first", security(right + wrong)
    yield "two tokens, the right one last", security(wrong + right)
    yield "the same token twice", security(right + right)
    yield "two Security headers", security(token(good(kind))) + security(token(good(kind)))
    yield "an empty Security header before", security("") + security(token(good(kind)))
    yield "a token outside Security", security("") + _bare(token(good(kind)))
    yield "a token within another element of Security", security(f"<wrapper>{token(good(kind))}</wrapper>")
    yield "Security within another header", f"<wrapper>{security(token(good(kind)))}</wrapper>"
    yield "no token", security("")
    yield "Security in another namespace", security(token(good(kind))).replace(WSSE, "urn:x")


def _bare(token_: str) -> str:
    return token_.replace("<wsse:UsernameToken>", f'<wsse:UsernameToken xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}">')


def usernames(forger: Forger) -> Iterator[Case]:
    """Each token, in both versions of SOAP and both forms of the password."""
    for version in (SOAP_11, SOAP_12):
        headers = [(words, security(made)) for words, made in _of_digest()]
        for kind in (DIGEST, TEXT):
            form = kind.partition("#Password")[2]
            headers += [(f"{words} ({form})", security(made)) for words, made in _of_either(kind)]
            headers += [(f"{words} ({form})", made) for words, made in _headers(kind)]
        for number, (words, header) in enumerate(headers):
            body = whole(soap.envelope(version, forger.payload(number), header.encode()))
            yield Case("username", f"{words} ({version.name})", body, CONTENT_TYPES[version], endpoint="several")
        # A right token and another partner's right signature: which of the two would it be?
        signed = forger.signed(version, "ours", 1, forger.stranger)
        both = signed.replace(b"</wsse:Security>", _bare(token(good())).encode() + b"</wsse:Security>")
        yield Case("username", f"beside a stranger's signature ({version.name})", both, CONTENT_TYPES[version], endpoint="several")
