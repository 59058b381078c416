"""The matrix: every stack, direction and algorithm, each untouched and changed in three ways; and the table that people read.

Standards: XML Signature 1.1 section 3.2 (core validation: references and signature, either of which must catch each change).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from cross_stacks import Refused, Stack, Unsupported
from cross_world import ALGORITHMS, AMOUNT, DOCUMENT, ENVELOPE, PLACE, Algorithm, World
from cross_world import BY_NAME as BY_ALGORITHM

from bus.errors import Rejected
from bus.methods import BY_NAME
from bus.signature import wss, xades, xmldsig, xmldsig_by_id
from bus.signature.policy import MODERN, SignaturePolicy
from bus.signature.security_header import Style, Token
from bus.signer import Signer, SoftKey
from bus.xmlio import parse

WE_SIGN, THEY_SIGN = "we sign", "they sign"
ACCEPTED, REFUSED = "a", "r"


def _in_content(signed: bytes) -> bytes:
    """One digit of the content."""
    assert signed.count(AMOUNT) == 1
    return signed.replace(AMOUNT, b"9" + AMOUNT[1:])


def _in_signed_info(signed: bytes) -> bytes:
    """One octet more in SignedInfo that leaves every reference as it is: only the signature's value can tell."""
    changed, count = re.subn(rb"(<(\w+:)?SignedInfo(\s[^>]*)?>)", rb"\1\n", signed)
    assert count == 1
    return changed


def _in_value(signed: bytes) -> bytes:
    """One character in the middle of SignatureValue."""
    found = re.search(rb"<(?:\w+:)?SignatureValue(?:\s[^>]*)?>([^<]+)<", signed)
    place = found.start(1) + len(found[1]) // 2
    while not signed[place : place + 1].isalnum():
        place += 1
    return signed[:place] + (b"B" if signed[place : place + 1] == b"A" else b"A") + signed[place + 1 :]


#: The columns inside a cell, in this order.
CHANGES: Mapping[str, Callable[[bytes], bytes]] = {
    "untouched": lambda signed: signed,
    "content": _in_content,
    "SignedInfo": _in_signed_info,
    "value": _in_value,
}
#: What a cell should be, and what one should be whose signature is refused as it stands.
GOOD, BAD = ACCEPTED + REFUSED * 3, REFUSED * 4
NOT_SUPPORTED, NOT_OURS = "----", "never"

#: The matrix's columns: an algorithm, under the signature policy of a partner.
_MODERN, _LEGACY = SignaturePolicy(MODERN), SignaturePolicy(MODERN, ("rsa-sha1",))
COLUMNS: Mapping[str, tuple[Algorithm, SignaturePolicy]] = {
    **{algorithm.name: (algorithm, _MODERN) for algorithm in ALGORITHMS},
    "rsa-sha1 legacy": (BY_ALGORITHM["rsa-sha1"], _LEGACY),
}


@dataclass(frozen=True)
class Row:
    """One stack in one profile and direction; ``cells`` by algorithm, ``reasons`` where the stack does not support one."""

    profile: str
    stack: str
    direction: str
    cells: Mapping[str, str]
    reasons: Mapping[str, str]


def signed_by_us(profile: str, algorithm: Algorithm, world: World, document: bytes = DOCUMENT, token: Token = "bst") -> bytes:
    """The profile's document, or another, signed by the bus; in WS-Security with the certificate given by ``token``."""
    identity = world.identities[algorithm.key]
    signer = Signer("own/test", SoftKey(identity.private), identity.certificate, BY_NAME[algorithm.name])
    if profile == "xmldsig":
        return xmldsig.sign_enveloped(document, signer)
    if profile == "by-id":
        return xmldsig_by_id.sign(document, PLACE, signer)
    if profile == "xades":
        return xades.sign(document, signer, world.now)
    return wss.sign(ENVELOPE, signer, world.now, style=Style(token))


def verified_by_us(profile: str, signed: bytes, policy: SignaturePolicy, world: World) -> None:
    """Returns if the bus accepts it from a partner with this policy. Raises Rejected."""
    keyring, now = world.keyring, world.now
    if profile == "wss":
        wss.verify(parse(signed), wss.DEFAULT, keyring.identify, now, known=keyring, policies=lambda _: policy)
        return
    by_id = partial(xmldsig_by_id.verify, place=PLACE)
    verify = {"xmldsig": xmldsig.verify_enveloped, "by-id": by_id, "xades": xades.verify}[profile]
    verify(signed, trust=lambda certificate: keyring.identify(certificate, now), policies=lambda _: policy)


def row(stack: Stack, profile: str, direction: str, world: World) -> Row:
    """Every column of one row, tried."""
    cells, reasons = {}, {}
    for name, (algorithm, policy) in COLUMNS.items():
        try:
            cells[name] = _cell(stack, profile, direction, algorithm, policy, world)
        except Unsupported as reason:
            cells[name], reasons[name] = NOT_SUPPORTED, str(reason)
    return Row(profile, stack.name, direction, cells, reasons)


def _cell(stack: Stack, profile: str, direction: str, algorithm: Algorithm, policy: SignaturePolicy, world: World) -> str:
    if direction == THEY_SIGN:
        signed = stack.sign(profile, algorithm, world)
        return _answers(lambda text: verified_by_us(profile, text, policy, world), signed)
    if BY_NAME[algorithm.name].legacy:
        return NOT_OURS
    signed = signed_by_us(profile, algorithm, world, token=getattr(stack, "token", "bst"))
    with suppress(Refused):
        # A stack that does not know the algorithm must say so of the signature as it stands.
        stack.verify(profile, algorithm, world, signed)
    return _answers(lambda text: stack.verify(profile, algorithm, world, text), signed)


def _answers(verify: Callable[[bytes], None], signed: bytes) -> str:
    return "".join(_answer(verify, change(signed)) for change in CHANGES.values())


def _answer(verify: Callable[[bytes], None], signed: bytes) -> str:
    try:
        verify(signed)
    except (Refused, Rejected, Unsupported):
        return REFUSED
    return ACCEPTED


def table(rows: Sequence[Row]) -> str:
    """The rows as people read them, fixed width, and beneath them why a stack does not support something."""
    width = max(len(one.stack) for one in rows)
    heads = [name.split()[-1] for name in COLUMNS]
    lines = [
        f"a accepted, r refused: {', '.join(CHANGES)}",
        f"{NOT_SUPPORTED} not supported by the stack, for the reason below; {NOT_OURS}: the bus does not sign with it",
        "legacy: rsa-sha1 from a partner whose policy names it",
        "",
        " ".join([f"{'profile':8} {'stack':{width}} {'direction':9}", *(f"{name:>{len(name)}}" for name in heads)]),
    ]
    for one in rows:
        cells = (f"{one.cells[name]:>{len(head)}}" for name, head in zip(COLUMNS, heads, strict=True))
        lines.append(" ".join([f"{one.profile:8} {one.stack:{width}} {one.direction:9}", *cells]))
    return "\n".join([*lines, "", *_reasons(rows)])


def _reasons(rows: Sequence[Row]) -> list[str]:
    said: dict[tuple[str, str], dict[str, None]] = {}
    for one in rows:
        for name, reason in one.reasons.items():
            program = " ".join(one.stack.split()[:2])
            said.setdefault((program, " ".join(reason.split())[:160]), {})[f"{name} ({one.direction})"] = None
    return [f"{program}: {', '.join(where)}: {reason}" for (program, reason), where in said.items()]
