"""Attacks on the VXP door: wrong secrets, JSON that explodes, ids that are paths, files that are not what was signed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from soap_rig import OTHER, UNIT, document, now

from bus import vxp

SECRET: Final = "hub-secret-c2d4e6f8a1b3"
LETTER: Final = document(1)

#: Not a JSON object of distinct texts, whoever signs it.
_JSON = {
    "a list": "[]",
    "a text": '"x"',
    "a number": "1",
    "null": "null",
    "nothing": "",
    "white space": " ",
    "cut off": '{"XroadVnpt-systemid":',
    "depth 100,000": "[" * 100_000 + "]" * 100_000,
    "depth 100,000 in an object": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a number of 100,000 digits": '{"XroadVnpt-systemid":' + "9" * 100_000 + "}",
    "NaN": '{"XroadVnpt-systemid":NaN}',
    "Infinity": '{"XroadVnpt-systemid":-Infinity}',
    "1e999999": '{"XroadVnpt-systemid":1e999999}',
    "a lone surrogate": '{"XroadVnpt-systemid":"\\ud800"}',
    "a NUL": '{"XroadVnpt-systemid":"\\u0000"}',
    "text behind": '{"XroadVnpt-systemid":"x"}{}',
    "a comment": '{/**/"XroadVnpt-systemid":"x"}',
}
#: Ids that are something else to somebody else.
_IDS = (
    "../../site.env",
    "/etc/hostname",
    "..%2f..%2fsite.env",
    "file:///etc/hostname",
    "' OR '1'='1",
    "'; DROP TABLE messages;--",
    "1 UNION SELECT xml FROM receipts",
    "%",
    "*",
    "//message[1]",
    "$where",
    "{{7*7}}",
    "${jndi:ldap://127.0.0.1:9/x}",
    "x" * 60_000,
    "-1",
    "0",
)
#: Receivers that are no list of codes.
_RECEIVERS = (
    "[",
    "{}",
    '"G18"',
    "[1]",
    "[null]",
    '["G18",["G18"]]',
    '["../G18"]',
    "[\"G18' OR '1\"]",
    "[" * 50_000,
    json.dumps(["000.00.00.G18"] * 10_001),
    '["' + "G" * 50_000 + '"]',
    '["000.00.00.G19"]',
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the hub that must fail. ``headers`` by lower-case name, as the edge hands them over."""

    name: str
    operation: str
    headers: dict[str, str]
    body: bytes = b"{}"
    method: str = "POST"


def signed(secret: str = SECRET, at: str = "", kind: str = vxp.JSON, **parameters: str) -> dict[str, str]:
    """The headers of a rightly signed request. ``_`` in a name stands for ``-``."""
    named = {name.replace("_", "-"): value for name, value in parameters.items()}
    every = {"systemid": UNIT, **named, "timestamp": at or vxp.timestamp(now()), "Content-Type": kind}
    return {name.lower(): value for name, value in vxp.signed_headers(every, secret).items()}


def forged(text: str, secret: str = SECRET, **more: str) -> dict[str, str]:
    """Headers whose sign-header is ``text``, with the right HMAC over it: an insider's."""
    return {
        **signed(),
        vxp.SIGN_HEADER.lower(): text,
        vxp.SIGN_HEADER_KEY.lower(): ";".join(more) or "systemid",
        vxp.HASH_HEADER.lower(): vxp.signature(text, secret),
        **more,
    }


def outsiders() -> Iterator[Ask]:
    """Requests whose signature is wrong, missing, another system's, stale, or covers something else than what is sent."""
    right = signed(docId="x")
    for name in (vxp.SIGN_HEADER, vxp.SIGN_HEADER_KEY, vxp.HASH_HEADER, f"{vxp.PREFIX}systemid", f"{vxp.PREFIX}timestamp"):
        lower = name.lower()
        yield Ask(f"no {name}", "getEdoc", {key: value for key, value in right.items() if key != lower})
        for words, value in {
            "an empty": "",
            "a wrong": "x",
            "a huge": "x" * 500_000,
            "a non-ASCII": "đ".encode().decode("latin-1"),
        }.items():
            yield Ask(f"{words} {name}", "getEdoc", right | {lower: value})
        yield Ask(f"{name} twice", "getEdoc", right | {lower: f"{right.get(lower, '')}, {right.get(lower, '')}"})
    for words, secret in {
        "no": "",
        "a wrong": "x",
        "another system's": f"{SECRET}-other",
        "a longer": f"{SECRET}x",
        "a huge": "x" * 99_999,
    }.items():
        yield Ask(f"{words} secret", "getEdoc", signed(secret, docId="x"))
    for system in ("", OTHER, "000.00.00.G19", "nobody", f"{UNIT} ", UNIT.lower(), "*", "../x", "x" * 99_999, f"{UNIT}' OR '1'='1"):
        yield Ask(f"systemid {system[:20]!r}", "getEdoc", signed(systemid=system, docId="x"))
    for at in ("", "now", "01012020T000000", "22112099T000000", "99999999T999999", "1" * 9_999, "-1", "22112026T140706+99999"):
        if at:
            yield Ask(f"timestamp {at[:20]!r}", "getEdoc", signed(at=at, docId="x"))
    for lower, value in (
        ("xroadvnpt-docid", "another"),
        ("content-type", "text/plain"),
        ("xroadvnpt-timestamp", vxp.timestamp(now()) + "0"),
    ):
        yield Ask(f"{lower} changed after signing", "getEdoc", right | {lower: value})
    yield Ask(
        "a hash in upper case with a blank", "getEdoc", right | {vxp.HASH_HEADER.lower(): f" {right[vxp.HASH_HEADER.lower()]}".upper()}
    )


def insiders() -> Iterator[Ask]:
    """What a system signs rightly and must not get: JSON that is no flat object, ids that are paths, receivers and files that lie."""
    for words, text in _JSON.items():
        yield Ask(f"a sign-header that is {words}", "getEdoc", forged(text))
    right = json.loads(signed(docId="x")[vxp.SIGN_HEADER.lower()])
    twice = json.dumps(right)[:-1] + f', "{vxp.PREFIX}docId": "y"}}'
    yield Ask("a sign-header with a name twice", "getEdoc", forged(twice, docid="x"))
    yield Ask("a sign-header with a name in two cases", "getEdoc", forged(twice.replace('docId": "y', 'DOCID": "y'), docid="x"))
    yield Ask("a sign-header with a foreign name", "getEdoc", forged(json.dumps(right | {"Host": "x"})))
    for number in _IDS:
        for method, operation in (("POST", "getEdoc"), ("GET", "downloadEdoc"), ("POST", "updateStatus")):
            yield Ask(f"{operation} of {number[:20]!r}", operation, signed(docId=number, status="done"), method=method)
    for status in ("", "Done", "DONE", "deleted", "done ", "x" * 9_999):
        yield Ask(f"status {status[:10]!r}", "updateStatus", signed(docId="x", status=status))
    for day in ("now", "32/13/2026 00:00:00", "01/01/0000 00:00:00", "9" * 9_999, "01/01/2026"):
        yield Ask(f"fromDate {day[:10]!r}", "getReceivedEdocList", signed(messagetype="edoc", fromDate=day))
    for kind in ("", "EDOC", "receipt", "../x", "x" * 9_999):
        if kind:
            yield Ask(f"messagetype {kind[:10]!r}", "getReceivedEdocList", signed(messagetype=kind))
    yield from _files()
    for operation in (
        "registerAgency",
        "deleteAgency",
        "getEdoc/x",
        "../getEdoc",
        "GETEDOC",
        "nothing",
        "",
        "x" * 60_000,
        "__class__",
        "%2e",
    ):
        yield Ask(f"operation {operation[:20]!r}", operation, signed(docId="x", data="{}"))


def _files() -> Iterator[Ask]:
    right = {"messagetype": "edoc", "from": UNIT, "hash-file": vxp.file_hash(LETTER)}

    def send(name: str, body: bytes = LETTER, **changed: str) -> Ask:
        every = {"systemid": UNIT, **right, **{key.replace("_", "-"): value for key, value in changed.items()}}
        every |= {"timestamp": vxp.timestamp(now()), "Content-Type": vxp.FILE}
        headers = {key.lower(): value for key, value in vxp.signed_headers(every, SECRET).items()}
        return Ask(f"a file {name}", "sendEdoc", headers, body)

    yield send("that was changed", LETTER.replace(b"2026", b"2027"))
    yield send("cut off", LETTER[:-10])
    yield send("with more behind", LETTER + b"\n")
    yield send("that is empty", b"")
    for digest in ("", "x", "0" * 64, "0" * 9_999, vxp.file_hash(LETTER)[:-1]):
        yield send(f"with the digest {digest[:8]!r}", hash_file=digest)
    for words, body in {
        "that is no XML": b"PK\x03\x04" * 100,
        "with a DOCTYPE": b"<!DOCTYPE a>" + LETTER,
        "that explodes": b'<!DOCTYPE a [<!ENTITY e "' + b"x" * 9_999 + b'">]><a>' + b"&e;" * 9_999 + b"</a>",
        "of depth 100,000": b"<a>" * 100_000 + b"</a>" * 100_000,
        "that is another document": b"<a/>",
        "in UTF-7": b'<?xml version="1.0" encoding="UTF-7"?>' + LETTER.decode().encode("utf-7"),
        "that is a receipt": b'<Receipt xmlns="urn:govbus:receipt:v1"/>',
    }.items():
        yield send(words, body, hash_file=vxp.file_hash(body))
    for number, sender in enumerate((OTHER, "G18", "000.00.00.G19", "nobody", "000.00.00.G14", "*")):
        yield send(f"from {sender} ({number})", **{"from": sender})
        letter = document(2, sender=sender)
        yield send(f"by {sender} ({number})", letter, hash_file=vxp.file_hash(letter))
    for receivers in _RECEIVERS:
        yield send(f"to {receivers[:20]!r}", to=receivers)
    for kind in ("status", "receipt", "x"):
        yield send(f"as {kind}", messagetype=kind)


#: Cases, at least.
LEAST = {"outsider": 50, "insider": 130}
KINDS = {"outsider": outsiders, "insider": insiders}


def plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers as the edge reads them: octets, in Latin-1."""
    return {name: value.encode().decode("latin-1") if not value.isascii() else value for name, value in headers.items()}
