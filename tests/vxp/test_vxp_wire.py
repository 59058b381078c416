"""The wire format against what the real SDK sent: golden vectors in both directions, and what the verifier must not let through."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vxp_buses import CAPTURED_AT

from bus import vxp
from bus.errors import Deferred, Rejected, catalogue

SECRET = "test-secret"
DAY = timedelta(hours=24)


def _captured() -> list[Any]:
    files = sorted((Path(__file__).parent / "data").glob("sdk-*.json"))
    return [
        pytest.param(request, id=f"{file.stem}-{request['operation']}-{index}")
        for file in files
        for index, request in enumerate(json.loads(file.read_text(encoding="utf-8")))
    ]


def _lossy(request: dict[str, Any]) -> bool:
    """Whether Java's HTTP client cut characters of this request down to their low byte."""
    return not request["headers"][vxp.SIGN_HEADER].isascii()


GOLDEN = [param for param in _captured() if not _lossy(param.values[0])]
LOSSY = [param for param in _captured() if _lossy(param.values[0])]


def _parameters(request: dict[str, Any]) -> dict[str, str]:
    headers = request["headers"]
    return {name: headers[vxp.PREFIX + name] for name in headers[vxp.SIGN_HEADER_KEY].split(";")}


def _on_the_wire(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _verify(headers: dict[str, str], now: datetime = CAPTURED_AT, skew: timedelta = DAY) -> vxp.Call:
    return vxp.verify(_on_the_wire(headers), {"000.00.00.G14": SECRET}.get, now, skew)


def _signed(**changed: str) -> dict[str, str]:
    """A good request of ours, its parameters changed before signing."""
    parameters = {"systemid": "000.00.00.G14", "docId": "d1", "timestamp": vxp.timestamp(CAPTURED_AT), "Content-Type": vxp.JSON}
    return vxp.signed_headers(parameters | changed, SECRET)


def test_there_are_vectors_of_both_sdk_versions() -> None:
    """A lost data file would make the golden tests pass by being empty."""
    assert (len(GOLDEN), len(LOSSY)) == (21, 1)


@pytest.mark.parametrize("request_", GOLDEN)
def test_our_headers_are_those_of_the_sdk(request_: dict[str, Any]) -> None:
    """From the same parameters in the same order come the SDK's headers, byte for byte, HMAC included."""
    ours = vxp.signed_headers(_parameters(request_), SECRET)
    assert ours == request_["headers"]
    prefixed = [name for name in ours if name.startswith(vxp.PREFIX)]
    assert prefixed == [name for name in request_["headers"] if name.startswith(vxp.PREFIX)]


@pytest.mark.parametrize("request_", GOLDEN)
def test_the_sdks_request_is_verified(request_: dict[str, Any]) -> None:
    """The hub side takes the captured request and sees every signed parameter."""
    call = _verify(request_["headers"])
    assert (call.system, dict(call.parameters)) == ("000.00.00.G14", {name.lower(): value for name, value in _parameters(request_).items()})


@pytest.mark.parametrize("request_", [param for param in GOLDEN if param.values[0]["operation"] == "sendEdoc"])
def test_the_sdks_file_hash_is_ours_and_is_verified(request_: dict[str, Any]) -> None:
    """The digest without zero padding is computed as the SDK does, over the file without its CR LF, and the file is handed back."""
    body = request_["body"].encode()
    claimed = request_["headers"]["XroadVnpt-hash-file"]
    data = vxp.verified_file(body, claimed)
    assert (data + vxp.LINE_END, vxp.file_hash(data)) == (body, claimed)


def test_file_hash_in_both_forms() -> None:
    """Bytes 07 and 0c lose their zero in the SDK's form and keep it in the standard one; the hub takes both."""
    data = b"<edXML>28</edXML>"
    sdk, standard = vxp.file_hash(data), vxp.file_hash(data, "standard")
    assert sdk == "7123e835fde1d258a20ea638d9e7bce9dbcc5ff1afab59962e1ac60966e6e"
    assert standard == "07123e835fde1d258a20ea638d9e7b0ce9dbcc05ff1afab59962e1ac60966e6e"
    assert vxp.verified_file(data + b"\r\n", sdk) == vxp.verified_file(data + b"\r\n", standard.upper()) == data


def test_a_file_that_ends_in_a_line_end_keeps_it() -> None:
    """Of the two readings of a trailing CR LF the signed digest chooses, whether or not the sender appended one of its own."""
    data = b"<edXML/>\r\n"
    assert vxp.verified_file(data, vxp.file_hash(data)) == vxp.verified_file(data + b"\r\n", vxp.file_hash(data)) == data


def test_a_changed_file_is_refused() -> None:
    """One changed octet no longer fits the signed digest: ErrorCode 10, bad file."""
    with pytest.raises(Rejected) as caught:
        vxp.verified_file(b"<edXML>y</edXML>\r\n", vxp.file_hash(b"<edXML>x</edXML>"))
    assert json.loads(vxp.failure(caught.value))["ErrorCode"] == "10"


@pytest.mark.parametrize("request_", LOSSY)
def test_what_the_sdk_does_to_vietnamese_in_a_header_cannot_be_verified(request_: dict[str, Any]) -> None:
    """The SDK signs the full text but sends only each character's low byte: its HMAC is ours, and yet nobody could verify it."""
    wire = request_["headers"]["XroadVnpt-description"]
    text = "Lỗi <&'> chữ ký"
    assert wire == "".join(chr(ord(letter) & 0xFF) for letter in text)
    ours = vxp.signed_headers(_parameters(request_) | {"description": text}, SECRET)
    assert ours[vxp.HASH_HEADER] == request_["headers"][vxp.HASH_HEADER]
    with pytest.raises(Rejected) as caught:
        _verify(request_["headers"])
    assert (caught.value.key, caught.value.values) == ("credentials-invalid", {"check": vxp.HASH_HEADER})


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_raw_octets_in_a_header_are_understood(encoding: str) -> None:
    """A client that puts UTF-8, or Latin-1 where that suffices, on the wire is verified, and its text comes out as it was meant."""
    headers = _signed(description='ký nháy " và <gạch>' if encoding == "utf-8" else "mã lỗi \\ ý".replace("ỗ", "ô").replace("ã", "a"))
    wire = {name: value.encode(encoding).decode("latin-1") for name, value in headers.items()}
    assert _verify(wire).parameter("description") == headers["XroadVnpt-description"]


def test_the_timestamps_plus_is_not_a_zone() -> None:
    """Vietnam time, then milliseconds on four digits."""
    at = datetime(2024, 3, 15, 2, 12, 33, 47_000, tzinfo=UTC)
    assert (vxp.timestamp(at), vxp.read_timestamp("15032024T091233+0047")) == ("15032024T091233+0047", at)


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2099, 1, 1), timezones=st.just(UTC)))
def test_timestamps_survive_the_wire(at: datetime) -> None:
    """Reading what was written gives the same time to the millisecond."""
    assert at - vxp.read_timestamp(vxp.timestamp(at)) < timedelta(milliseconds=1)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x1EF9, exclude_categories=["Cc", "Cs"])),
        max_size=5,
    )
)
def test_whatever_is_signed_is_verified(parameters: dict[str, str]) -> None:
    """Any parameters, quotes, backslashes and Vietnamese included, come out of the verifier as they went into the signer."""
    fixed = {"systemid": "000.00.00.G14", "timestamp": vxp.timestamp(CAPTURED_AT), "Content-Type": vxp.JSON}
    headers = vxp.signed_headers(parameters | fixed, SECRET)
    wire = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    assert dict(_verify(wire).parameters) == {name.lower(): value for name, value in (parameters | fixed).items()}


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"XroadVnpt-docId": "d2"}, "credentials-invalid"),
        ({"XroadVnpt-docId": ""}, "credentials-invalid"),
        ({"XroadVnpt-systemid": "000.00.00.G22"}, "credentials-invalid"),
        ({vxp.HASH_HEADER: "0" * 64}, "credentials-invalid"),
        ({vxp.HASH_HEADER: ""}, "security-missing"),
        ({vxp.SIGN_HEADER: ""}, "security-missing"),
        ({vxp.SIGN_HEADER_KEY: "systemid;timestamp;Content-Type"}, "credentials-invalid"),
        ({vxp.SIGN_HEADER_KEY: "systemid;docId;docId;timestamp;Content-Type"}, "credentials-invalid"),
    ],
)
def test_a_header_changed_after_signing_is_refused(change: dict[str, str], key: str) -> None:
    """Each signed header, the list of them and the signature itself can only arrive as they left."""
    with pytest.raises(Rejected) as caught:
        _verify(_signed() | change)
    assert caught.value.key == key


def test_an_unsigned_parameter_is_not_seen() -> None:
    """A header added on the way is not an error (proxies add some), but no operation acts on it."""
    assert _verify(_signed() | {"XroadVnpt-status": "done"}).parameter("status") == ""


@pytest.mark.parametrize("missing", ["systemid", "timestamp"])
def test_system_and_time_must_be_signed(missing: str) -> None:
    """Without them a captured signature would hold for ever, or for another system."""
    parameters = {"systemid": "000.00.00.G14", "docId": "d1", "timestamp": vxp.timestamp(CAPTURED_AT), "Content-Type": vxp.JSON}
    value = parameters.pop(missing)
    headers = vxp.signed_headers(parameters, SECRET) | {vxp.PREFIX + missing: value}
    with pytest.raises(Rejected) as caught:
        _verify(headers)
    assert caught.value.key == "security-missing"


@pytest.mark.parametrize(
    "sign_header",
    [
        '{"XroadVnpt-docId":"d1","XroadVnpt-docId":"d2"}',
        '["XroadVnpt-docId"]',
        '{"XroadVnpt-docId":7}',
        '{"docId":"d1"}',
        "{",
        "[" * 5000,
        "1",
    ],
)
def test_a_strange_sign_header_is_refused_even_well_signed(sign_header: str) -> None:
    """Only one flat object of distinct texts can be a sign-header."""
    headers = _signed() | {vxp.SIGN_HEADER: sign_header, vxp.HASH_HEADER: vxp.signature(sign_header, SECRET)}
    with pytest.raises(Rejected) as caught:
        _verify(headers)
    assert caught.value.key == "credentials-invalid"


@given(st.dictionaries(st.sampled_from(["systemid", "timestamp", "docId", "sign-header", "sign-header-key", "hash-header"]), st.text()))
def test_no_forged_header_is_a_crash_or_a_pass(headers: dict[str, str]) -> None:
    """Whatever a stranger puts into the headers is refused with a reason."""
    with pytest.raises(Rejected):
        _verify({vxp.PREFIX + name: value for name, value in headers.items()} | {"XroadVnpt-systemid": "000.00.00.G14"})


@pytest.mark.parametrize("moved", [timedelta(hours=25), -timedelta(hours=25)])
def test_an_old_or_future_request_is_refused(moved: timedelta) -> None:
    """The window is the only thing between a recorded request and its replay."""
    with pytest.raises(Rejected) as caught:
        _verify(_signed(), now=CAPTURED_AT + moved)
    assert caught.value.key == "timestamp-stale"


@pytest.mark.parametrize("stamp", ["", "now", "2026-11-22T14:07:06Z", "22112026T140706+7", "99999999T999999+0000", "22112026T140706+-001"])
def test_a_timestamp_of_another_form_is_refused(stamp: str) -> None:
    """What cannot be read as a time is stale, not a crash."""
    with pytest.raises(Rejected):
        _verify(_signed(timestamp=stamp))


@pytest.mark.parametrize(
    ("code", "error", "key"),
    [
        ("10", Rejected, "partner-refused"),
        ("15", Deferred, "partner-credentials"),
        ("18", Rejected, "receiver-unknown"),
        ("19", Deferred, "partner-credentials"),
        ("20", Deferred, "partner-postponed"),
        ("21", Rejected, "partner-refused"),
        ("22", Rejected, "partner-refused"),
        ("23", Deferred, "partner-postponed"),
        ("100", Deferred, "partner-postponed"),
        ("4711", Deferred, "partner-postponed"),
    ],
)
def test_what_each_error_code_means_for_the_message(code: str, error: type[Exception], key: str) -> None:
    """Permanent is only what the message itself is to blame for; our registration and the hub's troubles are waited out."""
    with pytest.raises(error) as caught:
        vxp.check_reply({"status": "FAIL", "ErrorCode": code, "ErrorDesc": "Lỗi\r\nX"}, "exchange", ["000.00.00.G22"])
    assert getattr(caught.value, "key", "") == key


@pytest.mark.parametrize("answer", [{"status": "OK", "ErrorCode": "0"}, {"ErrorCode": 0}, {"status": "OK"}])
def test_a_good_answer_is_good(answer: dict[str, Any]) -> None:
    """ErrorCode 0, as text or number, or a bare OK."""
    vxp.check_reply(answer, "exchange")


@pytest.mark.parametrize("answer", [{"status": "FAIL", "ErrorCode": "0"}, {"status": "FAIL"}, {"status": "OK", "ErrorCode": "20"}])
def test_a_contradictory_answer_is_not_good(answer: dict[str, Any]) -> None:
    """Nothing counts as delivered unless the hub says so throughout."""
    with pytest.raises(Deferred):
        vxp.check_reply(answer, "exchange")


@pytest.mark.parametrize("body", [b"<html>502 Bad Gateway</html>", b"", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_an_answer_that_is_no_reply_is_tried_again(body: bytes) -> None:
    """A proxy's page with HTTP 200 is neither an acknowledgement nor a refusal."""
    with pytest.raises(Deferred) as caught:
        vxp.read_reply(body, "exchange")
    assert caught.value.key == "partner-error"


def test_the_list_cannot_make_us_send_a_forged_header() -> None:
    """docIds come from outside and go into headers: one with a line break, too long or no text is passed over, the others stay."""
    data = [{"docId": "a"}, {"docId": "b\r\nX-Evil: 1"}, {"docId": "c" * 501}, {}, "d", {"docId": 7}, {"docId": "a"}, {"docId": "é"}]
    assert vxp.document_ids({"data": data}, "exchange") == ["a", "7"]


@pytest.mark.parametrize(
    ("text", "ascii_"),
    [
        ("Lỗi chữ ký: Đề nghị gửi lại", "Loi chu ky: De nghi gui lai"),
        ("hai\r\ndòng", "hai dong"),
        ("文", "?"),
        ("x" * 600, "x" * 500),
    ],
)
def test_a_description_is_plain_ascii_on_one_line(text: str, ascii_: str) -> None:
    """Header values of ours survive every HTTP client: Vietnamese loses its marks, as in the hub's own "Thanh cong"."""
    assert vxp.ascii_text(text) == ascii_


@pytest.mark.parametrize("key", sorted(key for key, entry in catalogue().items() if entry.code[:1] in {"4", "5"}))
def test_every_failure_of_ours_has_an_error_code(key: str) -> None:
    """No failure leaves the hub speechless, and on the wire transient is 20 and nothing else is."""
    entry = catalogue()[key]
    values = dict.fromkeys((name for _, name, _, _ in Formatter().parse(entry.en) if name), "x")
    family = Rejected if entry.code.startswith("5") else Deferred
    answer = json.loads(vxp.failure(family(key, **values), "ref"))
    assert (answer["ErrorCode"] == "20", answer["status"], "[ref]" in answer["ErrorDesc"]) == (family is Deferred, "FAIL", True)
