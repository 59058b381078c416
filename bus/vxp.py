"""VXP, the national document exchange: the wire format of VNPT's "XRoad/VPCP" SDK, both sides. Pure: no I/O, no clock.

A request's parameters travel as HTTP headers ``XroadVnpt-<name>``, and one HMAC-SHA256 covers all of them. The interface has no
published specification: what stands here was learnt from requests that SDK 2.0.0 and 2.0.1 sent to a recording server, and
``tests/vxp/data`` holds them as golden vectors.

* ``signed_headers`` writes a request's headers, byte for byte as the SDK does; ``verify`` reads them and hands back **only** the
  parameters that the signature covers, so that nothing unsigned is ever acted upon.
* ``file_hash`` reproduces the SDK's digest of a file, its missing zero padding included; ``verified_file`` takes either form.
* ``reply`` and ``failure`` write the hub's answers; ``read_reply`` and ``check_reply`` read them.

There is no nonce in this protocol. A replayed request inside the timestamp's window repeats an operation that is idempotent
(the same file gets the same DocId, the same confirmation the same answer); outside the window it is refused.

Header values are ASCII when we write. The SDK signs a value as UTF-8 but lets Java's HTTP client keep only the low byte of each
character, so a Vietnamese ``description`` arrives as something else than what was signed: no receiver can verify such a request,
and it is refused. Clients that put UTF-8 or Latin-1 octets on the wire are understood.

Raises Rejected ``security-missing``, ``credentials-invalid``, ``timestamp-stale``, ``file-damaged`` on the hub's side, and on the
client's whatever ``check_reply`` makes of the hub's ErrorCode.
"""

import hashlib
import hmac
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NoReturn

from bus.edxml.model import VIETNAM
from bus.errors import BusError, Deferred, Rejected
from bus.octets import Body, Encoded, collected, decoded, digest, joined

PREFIX: Final = "XroadVnpt-"
VERSION: Final = "3.0.201608"
USER_AGENT: Final = "JAVASDKAgent/1.0.0 XRoad/VPCP"
SIGN_HEADER: Final = PREFIX + "sign-header"
SIGN_HEADER_KEY: Final = PREFIX + "sign-header-key"
HASH_HEADER: Final = PREFIX + "hash-header"
JSON: Final = "application/json"
FILE: Final = "application/octet-stream"
#: The SDK writes the file and then this; the digest is taken without it.
LINE_END: Final = b"\r\n"
#: How callers of the SDK write ``fromDate`` and ``toDate``; we write list times in the same form.
TIME_FORMAT: Final = "%d/%m/%Y %H:%M:%S"

HashForm = Literal["sdk", "standard"]
_FORMS: Final[tuple[HashForm, ...]] = ("sdk", "standard")

#: Where a reply's one file begins. Within a text of JSON the quotes would be escaped.
_DATA = re.compile(rb'"data"\s*:\s*"')
#: Longest text of the hub's that we repeat in a reason, and the longest parameter we send.
_MOST_TEXT = 500

#: Our failures and the hub's ErrorCode for them: by catalogue key, else by code, most specific first. Transient stays transient (20)
#: and permanent permanent (21). Only what is wrong with the *request* is 15: a client waits for its own configuration to be cured,
#: and a bad signature inside a document is not cured by waiting.
ERROR_KEYS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("credentials-invalid", "security-missing", "timestamp-stale"), "15"),  # wrong systemId or secret
    "sender-not-authorised": "19",  # sender not registered
}
ERROR_CODES: Final[tuple[tuple[str, str], ...]] = (
    ("5.1.", "18"),  # unknown receiver
    ("5.6.7", "10"),  # the file is not the one that was hashed
    ("5.6.9", "21"),  # same id, other content
    ("5.6.", "22"),  # not valid edXML
    ("5.", "21"),  # file processing error
    ("4.", "20"),  # system error
)

#: The hub's ErrorCode and the catalogue's key for it. 15 and 19 concern our registration, not the message: it waits for the cure.
OUTCOMES: Final[Mapping[str, str]] = {
    "10": "partner-refused",
    "15": "partner-credentials",
    "18": "receiver-unknown",
    "19": "partner-credentials",
    "20": "partner-postponed",
    "21": "partner-refused",
    "22": "partner-refused",
    "23": "partner-postponed",
    "100": "partner-postponed",
}


# --- time stamps and digests --------------------------------------------------------------------------------------


def timestamp(now: datetime) -> str:
    """``22112026T140706+0473``: Vietnam time, and after the plus the *milliseconds* on four digits; it only looks like a zone."""
    local = now.astimezone(VIETNAM)
    return f"{local:%d%m%Y}T{local:%H%M%S}+{local.microsecond // 1000:04d}"


def read_timestamp(text: str) -> datetime:
    """The time a ``timestamp`` states, aware. Raises ValueError for any other text."""
    moment, plus, milliseconds = text.partition("+")
    if plus and not (milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) == len("0473")):
        raise ValueError(f"not a VXP timestamp: {text!r}")
    # Milliseconds past 999 cannot come from the SDK; timedelta would carry them over, which harms nobody within the window.
    return datetime.strptime(moment, "%d%m%YT%H%M%S").replace(tzinfo=VIETNAM) + timedelta(milliseconds=int(milliseconds or 0))


def list_time(at: datetime) -> str:
    """A time in a list, in the form and zone of ``fromDate``."""
    return at.astimezone(VIETNAM).strftime(TIME_FORMAT)


def read_list_time(text: str) -> datetime:
    """``fromDate`` or ``toDate``, aware. Raises ValueError."""
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=VIETNAM)


def file_hash(data: Body, form: HashForm = "sdk") -> str:
    """SHA-256 in hex; form ``sdk`` writes each byte without its leading zero (07 0c is ``7c``), as all Java traffic does."""
    return _written(digest(data), form)


def _written(digested: bytes, form: HashForm) -> str:
    return digested.hex() if form == "standard" else "".join(f"{byte:x}" for byte in digested)


def verified_file(body: bytes, claimed: str) -> Body:
    """The file in a sendEdoc body: the octets, with or without the CR LF after them, that the signed ``hash-file`` is the digest of."""
    claimed = claimed.lower()
    for data in (joined(memoryview(body)[: -len(LINE_END)]) if body.endswith(LINE_END) else body, body):
        digested = digest(data)
        if any(_same(_written(digested, form), claimed) for form in _FORMS):
            return data
    raise Rejected("file-damaged", check="hash-file")


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode())


# --- the request's signature --------------------------------------------------------------------------------------


def signature(sign_header: str, secret: str) -> str:
    """``hash-header``: HMAC-SHA256 of the sign-header's UTF-8 octets, lower-case hex."""
    return hmac.new(secret.encode(), sign_header.encode(), hashlib.sha256).hexdigest()


def signed_headers(parameters: Mapping[str, str], secret: str) -> dict[str, str]:
    """The headers of one request. ``parameters`` without prefix, in the order to sign; they include systemid, timestamp, Content-Type."""
    prefixed = {PREFIX + name: value for name, value in parameters.items()}
    sign_header = json.dumps(prefixed, ensure_ascii=False, separators=(",", ":"))
    return {
        "Content-Type": parameters["Content-Type"],
        **prefixed,
        SIGN_HEADER_KEY: ";".join(parameters),
        SIGN_HEADER: sign_header,
        HASH_HEADER: signature(sign_header, secret),
        "User-Agent": USER_AGENT,
        PREFIX + "version": VERSION,
    }


def ascii_text(text: str) -> str:
    """``text`` fit for a header value: Vietnamese without its marks, as the hub itself writes it ("Thanh cong"), on one line, bounded."""
    plain = unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "D"))
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    # Letters without an ASCII base become "?": the reason stays readable, and the full text stands in our own receipt.
    line = "".join(letter if " " <= letter <= "~" else "?" if letter.isprintable() else " " for letter in bare)
    return " ".join(line.split())[:_MOST_TEXT]


@dataclass(frozen=True, slots=True)
class Call:
    """A verified request: the ``system`` whose secret signed it, and the signed parameters by lower-case name."""

    system: str
    parameters: Mapping[str, str]

    def parameter(self, name: str) -> str:
        """The parameter's value, or "". Names differ in case between SDK calls (docId, docid)."""
        return self.parameters.get(name.lower(), "")


def claimed_system(headers: Mapping[str, str]) -> str:
    """The system a request says it comes from; for a log line about a refused request, never for a decision."""
    return headers.get((PREFIX + "systemid").lower(), "")


def verify(headers: Mapping[str, str], secret_of: Callable[[str], str | None], now: datetime, skew: timedelta) -> Call:
    """Check the signature of a request with these ``headers`` (names lower-case, values decoded as Latin-1) and return what it covers."""
    system = claimed_system(headers)
    secret = secret_of(system)
    if secret is None:
        raise Rejected("credentials-invalid", check=PREFIX + "systemid")
    signed = _signed_json(headers, secret)
    names = [name.strip() for name in _required(headers, SIGN_HEADER_KEY).split(";")]
    if sorted(PREFIX + name for name in names) != sorted(signed):
        raise Rejected("credentials-invalid", check=SIGN_HEADER_KEY)
    for name, value in signed.items():
        if value not in _readings(headers.get(name.lower(), "")):
            raise Rejected("credentials-invalid", check=name)
    parameters = {name.removeprefix(PREFIX).lower(): value for name, value in signed.items()}
    if len(parameters) != len(signed):
        # "docId" and "DocId" are one HTTP header; which of the two was meant would be anybody's guess.
        raise Rejected("credentials-invalid", check=SIGN_HEADER)
    for name in ("systemid", "timestamp"):
        if name not in parameters:
            raise Rejected("security-missing", check=PREFIX + name)
    _fresh(parameters["timestamp"], now, skew)
    return Call(system=system, parameters=parameters)


def _fresh(stamp: str, now: datetime, skew: timedelta) -> None:
    try:
        at = read_timestamp(stamp)
    except (ValueError, OverflowError) as error:
        raise Rejected("timestamp-stale", check=PREFIX + "timestamp") from error
    if abs(now - at) > skew:
        raise Rejected("timestamp-stale", check=f"{PREFIX}timestamp {ascii_text(stamp)}")


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name.lower(), "")
    if not value:
        raise Rejected("security-missing", check=name)
    return value


def _readings(value: str) -> tuple[str, ...]:
    """What a header value may say: its octets as UTF-8 where they are that, and as Latin-1. For ASCII both are the same."""
    try:
        return value.encode("latin-1").decode(), value
    except UnicodeError:
        return (value,)


def _signed_json(headers: Mapping[str, str], secret: str) -> dict[str, str]:
    """The sign-header's names and values, after its HMAC was found good."""
    claimed = _required(headers, HASH_HEADER).lower()
    readings = _readings(_required(headers, SIGN_HEADER))
    text = next((reading for reading in readings if _same(signature(reading, secret), claimed)), None)
    if text is None:
        raise Rejected("credentials-invalid", check=HASH_HEADER)
    try:
        return _pairs(json.loads(text, object_pairs_hook=list))
    except (ValueError, TypeError, RecursionError) as error:
        raise Rejected("credentials-invalid", check=SIGN_HEADER) from error


def _pairs(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """One flat object of texts, no name twice: a JSON parser's choice between two must never decide what was signed."""
    signed = {name: value for name, value in pairs if isinstance(value, str) and name.startswith(PREFIX)}
    if len(signed) != len(pairs):
        raise ValueError("the sign-header is not a flat object of distinct texts")
    return signed


# --- replies --------------------------------------------------------------------------------------------------------


def reply(**fields: object) -> bytes:
    """A good answer of the hub, in the SDK's own shape and with its own text."""
    return _json({"status": "OK", "ErrorCode": "0", "ErrorDesc": "Thanh cong", **fields})


def file_reply(body: Body) -> Body:
    """The good answer to getEdoc: the file as base64."""
    before, _, after = reply(data="\x01").partition(b"\\u0001")
    return joined(before, Encoded(body), after)


def failure(error: BusError, reference: str = "") -> bytes:
    """The hub's answer to a request that failed: ErrorCode from the tables above, reason in Vietnamese and English, our reference."""
    code = ERROR_KEYS.get(error.key) or next(code for prefix, code in ERROR_CODES if error.code.startswith(prefix))
    suffix = f" [{reference}]" if reference else ""
    return _json({"status": "FAIL", "ErrorCode": code, "ErrorDesc": f"{error.code} {error.reason('vi')} / {error.reason('en')}{suffix}"})


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def read_reply(body: bytes, target: str) -> dict[str, Any]:
    """The hub's JSON object. A proxy's HTML page with HTTP 200 is not one: Deferred ``partner-error``."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Deferred("partner-error", target=target, detail=_quote(body[:80].decode(errors="replace"))) from error
    if not isinstance(answer, dict) or not ({"ErrorCode", "status"} & answer.keys()):
        raise Deferred("partner-error", target=target, detail="no ErrorCode")
    return answer


def check_reply(answer: Mapping[str, Any], target: str, receivers: Iterable[str] = ()) -> None:
    """Return for a good answer, else raise what ``OUTCOMES`` says; an ErrorCode nobody has documented is taken as transient."""
    good = answer.get("status", "OK") == "OK"
    code = str(answer.get("ErrorCode", "0" if good else ""))
    if code == "0" and good:
        return
    _fail(code, _quote(str(answer.get("ErrorDesc", ""))), target, receivers)


def _fail(code: str, said: str, target: str, receivers: Iterable[str]) -> NoReturn:
    key = OUTCOMES.get(code, "partner-postponed")
    detail = f"{code or '-'} {said}".strip()
    if key == "receiver-unknown":
        raise Rejected(key, receiver=" ".join(receivers) or detail)
    if key == "partner-refused":
        raise Rejected(key, target=target, detail=detail)
    raise Deferred(key, target=target, detail=detail)


def _quote(text: str) -> str:
    """A partner's own words, bounded and on one line, before they enter a log or a receipt."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:_MOST_TEXT]


def document_ids(answer: Mapping[str, Any], target: str) -> list[str]:
    """The docIds of a received list, each once, in the hub's order. An empty list may also come as null."""
    entries = answer.get("data") or []
    if not isinstance(entries, list):
        raise Deferred("partner-error", target=target, detail="data is not a list")
    found = [str(entry.get("docId", "")) if isinstance(entry, dict) else "" for entry in entries]
    # One that cannot be a header value could never be fetched; it must not keep the others from being fetched either.
    return list(dict.fromkeys(doc_id for doc_id in found if _is_header_value(doc_id)))


def _is_header_value(text: str) -> bool:
    return 0 < len(text) <= _MOST_TEXT and text.isascii() and text.isprintable() and text == text.strip()


def document(reply: bytes, target: str) -> Body:
    """The file in a good reply to getEdoc: base64, line breaks allowed, without the CR LF that the protocol put behind it.

    A JSON parser would make two more copies of it, so it is taken out of the reply before, where its text has no escapes.
    """
    found = _DATA.search(reply)
    end = reply.find(b'"', found.end()) if found else -1
    if found is None or end < 0 or reply.find(b"\\", found.end(), end) >= 0:
        answer = read_reply(reply, target)
        text = memoryview(str(answer.get("data") or "").encode())
    else:
        answer = read_reply(reply[: found.end()] + reply[end:], target)
        text = memoryview(reply)[found.end() : end]
    check_reply(answer, target)
    try:
        data = collected(decoded(text))
    except ValueError as error:
        raise Deferred("partner-error", target=target, detail="getEdoc: data is not base64") from error
    if not data:
        raise Deferred("partner-error", target=target, detail="getEdoc: no data")
    return joined(memoryview(data)[: -len(LINE_END)]) if data.endswith(LINE_END) else data
