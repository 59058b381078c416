"""Distinguished names as stacks write them, compared.

``same_name`` tells whether a text is a certificate's issuer in any of the forms that are usual: RFC 4514, 2253 and 1779, Java's and .NET's,
OpenSSL's line with slashes and its line with commas. They differ in order, spaces, escapes and in what attribute types are called; and
the value of a type that a stack has no word for is ``#`` and the hex of its DER. Within one name the order counts, whole or reversed:
the same attributes in another order are another name. A text that may be read in two ways is the name if one of them gives it; that
suffices, for the text only helps to find a certificate, which must then be trusted and whose key must verify the signature.

Standards: RFC 4514 sections 2 and 3; RFC 1779 section 2.3; RFC 5280 section 7.1 (comparison: compatible characters, case and white space
do not count).
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from asn1crypto import parser
from cryptography import x509

#: A name longer than this is nobody's.
_LONGEST = 2000
_EMAIL = "1.2.840.113549.1.9.1"
#: Object identifier -> what stacks call it, in lower case. ``sn`` is a surname for OpenSSL, a serial number for others.
_WORDS: Mapping[str, str] = {
    "2.5.4.3": "cn commonname",
    "2.5.4.4": "sn surname",
    "2.5.4.5": "serialnumber sn",
    "2.5.4.6": "c countryname",
    "2.5.4.7": "l localityname locality",
    "2.5.4.8": "st s sp stateorprovincename state",
    "2.5.4.9": "street streetaddress",
    "2.5.4.10": "o organizationname",
    "2.5.4.11": "ou organizationalunitname",
    "2.5.4.12": "t title",
    "2.5.4.13": "description",
    "2.5.4.15": "businesscategory",
    "2.5.4.16": "postaladdress",
    "2.5.4.17": "postalcode pc",
    "2.5.4.18": "postofficebox pobox",
    "2.5.4.20": "telephonenumber phone",
    "2.5.4.41": "name",
    "2.5.4.42": "givenname gn g",
    "2.5.4.43": "initials i",
    "2.5.4.44": "generationqualifier generation",
    "2.5.4.45": "x500uniqueidentifier uniqueidentifier",
    "2.5.4.46": "dnqualifier dnq dn",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationidentifier",
    "0.9.2342.19200300.100.1.1": "uid userid",
    "0.9.2342.19200300.100.1.3": "mail rfc822mailbox",
    "0.9.2342.19200300.100.1.25": "dc domaincomponent",
    _EMAIL: "emailaddress email e mail",
    "1.2.840.113549.1.9.2": "unstructuredname",
    "1.2.840.113549.1.9.8": "unstructuredaddress",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionlocalityname jurisdictionl",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionstateorprovincename jurisdictionst",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictioncountryname jurisdictionc",
}
_TYPES: Mapping[str, frozenset[str]] = {
    word: frozenset(oid for oid, words in _WORDS.items() if word in words.split()) for words in _WORDS.values() for word in words.split()
}
_DOTTED = re.compile(r"(?:oid\.)?([0-2](?:\.\d+)+)")
#: A backslash and the hex of an octet (RFC 4514), OpenSSL's x and hex, U or W and a code point, or an escaped character. With slashes
#: OpenSSL escapes but two characters, and a backslash before others is itself.
_ESCAPED = re.compile(r"((?:\\x?[0-9A-Fa-f]{2})+)|\\U([0-9A-Fa-f]{4})|\\W([0-9A-Fa-f]{8})|\\(.)", re.DOTALL)
_ESCAPED_SLASHES = re.compile(r"((?:\\x[0-9A-Fa-f]{2})+)|\\U([0-9A-Fa-f]{4})|\\W([0-9A-Fa-f]{8})|\\([/+])")
#: One attribute in the form with commas: quoted (a quote inside is escaped, or twice), or up to what separates it from the next.
_ATTRIBUTE = re.compile(r'([^=,;+"#\\]*)=(\s*"(?:[^"\\]|\\.|"")*"\s*|(?:[^",;+\\]|\\.)*)([,;+]|$)', re.DOTALL)
#: Where the next attribute begins in the form with slashes, and in OpenSSL's older form with commas before the long types.
_SLASH = re.compile(r"(?<!\\)/(?=[A-Za-z0-9.]+=)")
_SLASH_LONG = re.compile(r"/(?=(?:emailAddress|Email)=)")
#: Universal tag of a DER string -> how its characters are encoded.
_STRINGS = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1A: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}

#: Types that an attribute may be of, and its value as it is compared.
_Attribute = tuple[frozenset[str], str]
_Name = Sequence[Sequence[_Attribute]]


def same_name(text: str, name: x509.Name) -> bool:
    """Whether ``text`` is ``name`` in one of the forms in which stacks write a distinguished name."""
    if len(text) > _LONGEST or not name.rdns:
        return False
    known = _known(name)
    return any(_same(read, known) or _same(read[::-1], known) for read in _readings(text.strip()))


def equal(one: x509.Name, other: x509.Name) -> bool:
    """Whether two names in certificates or lists are the same (RFC 5280 section 7.1), whatever strings they are made of."""
    return one == other or _same(_known(one), _known(other))


def _same(one: _Name, other: _Name) -> bool:
    return len(one) == len(other) and all(_same_set(*pair) for pair in zip(one, other, strict=True))


def _same_set(one: Sequence[_Attribute], other: Sequence[_Attribute]) -> bool:
    """Within one RDN the order does not count (RFC 4514 section 2.2)."""
    left = list(other)
    for kinds, value in one:
        found = next((each for each in left if each[1] == value and each[0] & kinds), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _known(name: x509.Name) -> _Name:
    return [[(frozenset({each.oid.dotted_string}), _value(each)) for each in rdn] for rdn in name.rdns]


def _value(attribute: x509.NameAttribute[str | bytes]) -> str:
    return attribute.value.hex() if isinstance(attribute.value, bytes) else _folded(attribute.value)


def _folded(value: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold()).split())


def _readings(text: str) -> Iterator[_Name]:
    """What the text may mean; nothing where it is no name."""
    if text.startswith("/"):
        parts = (part.partition("=") for part in _SLASH.split(text)[1:])
        read = [_attribute(kind, value, _ESCAPED_SLASHES) for kind, _, value in parts]
        if read and None not in read:
            yield [[one] for one in read if one]
        return
    for with_commas in dict.fromkeys((text, _SLASH_LONG.sub(",", text))):
        found = _with_commas(with_commas)
        if found:
            yield found


def _with_commas(text: str) -> _Name:
    """The RDNs of a name whose attributes are separated by commas or semicolons; none where any part of it cannot be read."""
    rdns: list[list[_Attribute]] = [[]]
    place, end = 0, ","
    while end:
        found = _ATTRIBUTE.match(text, place)
        attribute = _attribute(found[1], found[2]) if found else None
        if found is None or attribute is None:
            return []
        rdns[-1].append(attribute)
        place, end = found.end(), found[3]
        if end in {",", ";"}:
            rdns.append([])
    return rdns if place == len(text) else []


def _attribute(kind: str, value: str, escaped: re.Pattern[str] = _ESCAPED) -> _Attribute | None:
    """None for a type that has no meaning here, and for a value that is none."""
    word, value = kind.strip().casefold(), value.strip()
    dotted = _DOTTED.fullmatch(word)
    kinds = frozenset({dotted[1]}) if dotted else _TYPES.get(word.replace(" ", ""))
    if kinds is None:
        return None
    if value.startswith("#"):
        text = _decoded(value[1:])
        return None if text is None else (kinds, text)
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1].replace('""', '"')
    return kinds, _folded(escaped.sub(_unescaped, value))


def _decoded(digits: str) -> str | None:
    """The value whose BER is written in hex (RFC 4514 section 2.4): a string as it is compared, anything else as its content's hex."""
    try:
        kind, _, tag, _, contents, _ = parser.parse(bytes.fromhex(digits), strict=True)
        encoding = _STRINGS.get(tag) if kind == 0 else None
        return _folded(contents.decode(encoding)) if encoding else contents.hex()
    except (ValueError, RecursionError):
        return None


def _unescaped(found: re.Match[str]) -> str:
    octets, short, long, character = found.groups()
    if octets:
        return bytes.fromhex(re.sub(r"\\x?", "", octets)).decode("utf-8", "replace")
    if short or long:
        return int(short or long, 16).to_bytes(4).decode("utf-32-be", "replace")
    return str(character)
