"""Hollow documents: what comes of the small one, filled, is octet for octet what would have come of the whole."""

import hashlib
from datetime import UTC, datetime
from functools import partial

import pybase64
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from bus import octets, xmlio
from bus.errors import Rejected
from bus.hollow import KEPT, SHORTEST, Hollow, canonical_form
from bus.octets import Encoded, Octets
from bus.signature import xades, xmldsig
from sandbox.sites import Sites
from sandbox.unit import read_signer

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)

#: What a writer may put between the characters of base64, and around it.
SPACES = st.sampled_from(["", "\n", "\r\n", "\r", " ", "\t"])
#: What may stand where a file is expected; some of it is no plain base64 and must stay.
FILES = st.builds(
    lambda count, line, end, odd: end.join("QUJD" * line for _ in range(count // line + 1)) + odd,
    st.integers(SHORTEST // 8, SHORTEST),
    st.integers(1, 20_000),
    SPACES,
    st.sampled_from(["", "=", "&#61;", "&amp;", "é", "<b/>", "<!-- x -->", "<![CDATA[QUJD]]>", "<?x y?>"]),
)
NAMES = st.sampled_from(["Content", "q:Content", "ContentTransferEncoded", "ContentType", "Other"])


def element(name: str, attribute: str, text: str) -> str:
    return f"<{name} a='{attribute}'>{text}</{name}>"


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Well-formed XML with files in it, hidden in CDATA and comments too."""
    parts = [
        element(draw(NAMES), draw(st.sampled_from(["", ">", "/", "&lt;Content&gt;"])), draw(FILES)) for _ in range(draw(st.integers(1, 3)))
    ]
    hidden = draw(st.sampled_from(["", "<![CDATA[<Content>{}</Content>]]>", "<!-- <Content>{}</Content> -->"])).format("QUJD" * SHORTEST)
    return f"<r xmlns:q='urn:q' z='1' b='2'>{''.join(parts)}{hidden}</r>".encode()


@settings(max_examples=60, deadline=None)
@given(documents())
def test_the_filled_outline_is_the_whole_document(data: bytes) -> None:
    """Octets put back as they came; canonical form and texts as those of the document parsed whole."""
    hollow = Hollow()
    emptied = hollow.emptied(data)
    outline, tree = xmlio.parse(emptied), xmlio.parse(data)
    assert octets.whole(hollow.filled(emptied)) == data
    assert octets.whole(hollow.canonical(outline)) == xmlio.canonicalize(tree)
    assert octets.whole(hollow.parsed(etree.tostring(outline, encoding="UTF-8"))) == etree.tostring(tree, encoding="UTF-8")
    for small, large in zip(outline.iter(), tree.iter(), strict=True):
        assert octets.whole(hollow.text(small)) == (large.text or "").encode()


def test_what_is_large_is_not_in_the_outline() -> None:
    """Megabytes of base64 become a few hundred octets more than the beginning that stays."""
    hollow = Hollow()
    data = b"<r><Content>" + b"QUJD" * 1_000_000 + b"</Content></r>"
    emptied = hollow.emptied(data)
    assert len(emptied) < KEPT + 200
    assert len(hollow.filled(emptied)) == len(data)


def test_an_outline_of_an_outline_finds_the_same_runs_without_looking() -> None:
    """What a step has put together from pieces is not joined, and not searched again."""
    first = Hollow()
    data = b"<r><Content>" + b"QUJD" * 1_000_000 + b"</Content></r>"
    body = first.filled(first.emptied(data).replace(b"<r>", b"<r><x/>"))
    assert isinstance(body, Octets)
    second = Hollow()
    assert len(second.emptied(body)) < KEPT + 200
    assert octets.whole(second.filled(second.emptied(body))) == data.replace(b"<r>", b"<r><x/>")


def test_canonical_form_of_pieces_keeps_the_part_that_may_travel_beside() -> None:
    """An Encoded piece stays one, so that it can still be taken out of the envelope."""
    part = b"\x00\xff" * 700_000
    form = canonical_form(Octets(b"<r  a='1'><Content>", Encoded(part), b"</Content></r >"))
    assert isinstance(form, Octets)
    assert octets.whole(form) == b'<r a="1"><Content>' + pybase64.b64encode(part) + b"</Content></r>"
    assert octets.whole(form.with_encoded(b"<i/>")) == b'<r a="1"><Content><i/></Content></r>'


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(1, 7))
def test_pieces_are_read_as_one(parts: list[bytes], size: int) -> None:
    """Length, chunks, digest, base64 and regrouping agree with the octets put together."""
    body, joined = Octets(*parts), b"".join(parts)
    assert (len(body), octets.whole(body), b"".join(body.chunks())) == (len(joined), joined, joined)
    assert octets.digest(body) == hashlib.sha256(joined).digest()
    assert b"".join(Encoded(body).chunks()) == pybase64.b64encode(joined)
    assert len(Encoded(body)) == len(pybase64.b64encode(joined))
    assert b"".join(octets.decoded(Octets(Encoded(body)))) == joined
    assert [len(part) for part in octets.regrouped(body, size)][:-1] == [size] * ((len(joined) - 1) // size if joined else 0)


@pytest.mark.parametrize("text", [b"QUI", b"QUI=QUJD", b"QU*D", b"Q" * (octets.CHUNK + 1), b"QUI=" + b"\n" * octets.CHUNK + b"QUJD"])
def test_what_is_no_base64_is_told_from_what_is(text: bytes) -> None:
    """Cut short, padded in the middle (of a chunk, or at its end), or with other characters in it."""
    with pytest.raises(ValueError, match=r"."):
        octets.collected(octets.decoded(text))


@pytest.mark.parametrize("profile", ["xades", "xmldsig"])
def test_a_large_document_is_signed_and_verified_as_the_whole_that_it_is(profile: str, places: Sites) -> None:
    """The signature made over an outline is, octet for octet, the one made over the whole; and so is what verifying it proves."""
    own = read_signer(places.key("telecom-authority"))
    data = b"<r a='1'><Content>" + b"QUJD" * 500_000 + b"</Content></r>"
    if profile == "xades":
        sign, verify = partial(xades.sign, signer=own, at=NOW), xades.verify
    else:
        sign, verify = partial(xmldsig.sign_enveloped, signer=own), xmldsig.verify_enveloped
    signing, verifying, wary = Hollow(), Hollow(), Hollow()
    signed = octets.whole(signing.parsed(sign(signing.emptied(data), hollow=signing)))
    assert signed == sign(data)
    proved = verify(verifying.emptied(signed), bytes, verifying).octets
    assert octets.whole(verifying.parsed(proved)) == xmlio.canonicalize(xmlio.parse(data))
    with pytest.raises(Rejected, match="digest"):
        verify(wary.emptied(signed[:1_000_000] + b"X" + signed[1_000_001:]), bytes, wary)
