"""What carries large files on the wire: the same octets whichever way they are read or written, small or large."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import arriving, message, mime, soap, vxp, xmlio
from bus.errors import BusError, Rejected
from bus.message import bounded
from bus.octets import SMALL, Encoded, Octets, whole

SIZES = st.sampled_from([1, 2, 3, 1000, SMALL - 1, SMALL, SMALL + 1, 2 * SMALL + 2])


@settings(max_examples=30, deadline=None)
@given(SIZES, st.booleans(), st.sampled_from(["", "\r\n", "\n", "\\n", "\\/"]))
def test_a_hubs_file_is_read_as_a_json_parser_would(size: int, line_end: bool, odd: str) -> None:
    """Taken out of the reply beforehand or not: with line breaks, with escapes, with the protocol's CR LF behind it."""
    data = (b"\xff" * size) + (vxp.LINE_END if line_end else b"")
    text = base64.b64encode(data).decode()
    written = text.replace("/", "\\/") if odd == "\\/" else text[:4] + (odd if odd.startswith("\\") else "") + text[4:]
    reply = f'{{"status":"OK","ErrorCode":"0","data" : "{written}","more":"x"}}'.encode()
    assert whole(vxp.document(reply, "hub")) == b"\xff" * size


@pytest.mark.parametrize(
    ("reply", "key"),
    [
        (b'{"status":"FAIL","ErrorCode":"21","ErrorDesc":"no","data":""}', "partner-refused"),
        (b'{"status":"OK","ErrorCode":"0","data":null}', "partner-error"),
        (b'{"status":"OK","ErrorCode":"0","data":""}', "partner-error"),
        (b'{"status":"OK","ErrorCode":"0","data":"QU*D"}', "partner-error"),
        (b'{"status":"OK","ErrorCode":"0","data":"QUJD', "partner-error"),
        (b'<html>"data":"QUJD"</html>', "partner-error"),
        (b'{"ErrorCode":"0","status":"OK","ErrorDesc":"\\"data\\":\\"QUJD\\""}', "partner-error"),
    ],
)
def test_what_is_no_file_is_no_file(reply: bytes, key: str) -> None:
    """A failure, no data, no base64, no JSON, and a text that only speaks of data."""
    with pytest.raises(BusError) as raised:
        vxp.document(reply, "hub")
    assert raised.value.key == key


@settings(max_examples=20, deadline=None)
@given(SIZES)
def test_a_file_reply_is_one_line_of_json(size: int) -> None:
    """The SDK's parser sees what it always saw."""
    answer = json.loads(whole(vxp.file_reply(bytes(size))))
    assert (answer["ErrorCode"], base64.b64decode(answer["data"])) == ("0", bytes(size))


@settings(max_examples=20, deadline=None)
@given(SIZES, st.sampled_from([b"", vxp.LINE_END]), st.sampled_from(["sdk", "standard"]))
def test_the_file_in_a_request_is_the_one_that_was_hashed(size: int, end: bytes, form: vxp.HashForm) -> None:
    """With or without CR LF after it, by either form of the digest; any other is refused."""
    data = bytes([7]) * size
    assert whole(vxp.verified_file(data + end, vxp.file_hash(data, form))) == data
    with pytest.raises(Rejected, match=r"5\.6\.7"):
        vxp.verified_file(data + b"x" + end, vxp.file_hash(data, form))


@settings(max_examples=20, deadline=None)
@given(SIZES, st.booleans())
def test_an_envelope_is_the_same_by_mtom_and_inline(size: int, packaged: bool) -> None:
    """The canonical Body and the part's octets do not depend on how it travelled, nor on its size."""
    data = bytes(range(256)) * (size // 256 + 1)
    around = b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><Content>%b</Content></e:Body></e:Envelope>'
    inline = around % base64.b64encode(data)
    if packaged:
        include = b'<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:f"/>'
        content_type, body = mime.package(around % include, 'application/xop+xml; type="text/xml"', "text/xml", {"f": Octets(data)})
        envelope = soap.read(whole(body), content_type)
    else:
        envelope = soap.read(inline, "text/xml; charset=utf-8")
    assert whole(envelope.hollow.canonical(envelope.body)) == xmlio.canonicalize(xmlio.parse(inline)[0])
    part = envelope.hollow.attached(envelope.payload)
    assert part is None or whole(part) == data


def test_no_door_takes_a_document_that_could_not_be_fetched_again() -> None:
    """One octet over what our clients read back as base64 is refused, before anything is looked at."""
    assert bounded(b"x" * 10) == b"x" * 10
    with pytest.raises(Rejected, match=r"5\.6\.1"):
        bounded(Octets(bytes(message.MOST // 2), bytes(message.MOST // 2 + 1)))
    assert len(Encoded(Octets(bytes(message.MOST)))) + (1 << 20) < arriving.MOST_BODY
