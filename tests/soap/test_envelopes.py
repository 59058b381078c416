"""Envelopes and faults of both versions, as a dozen stacks write them."""

import pytest

from bus import soap, xmlio
from bus.errors import Deferred, Rejected
from bus.soap import SOAP_11, SOAP_12, Version

SECURITY = "{urn:s}Security"
BOTH = pytest.mark.parametrize("version", [SOAP_11, SOAP_12], ids=lambda version: version.name)


def plain(version: Version, inside: str = "<p/>", header: str = "") -> bytes:
    return f'<e:Envelope xmlns:e="{version.namespace}">{header}<e:Body>{inside}</e:Body></e:Envelope>'.encode()


@BOTH
@pytest.mark.parametrize("charset", ["", "; charset=utf-8", ';charset="UTF-8"', "; charset=us-ascii"])
def test_an_envelope_is_read_in_the_version_of_its_namespace(version: Version, charset: str) -> None:
    """With and without charset and quotes."""
    read = soap.read(plain(version), version.media_type + charset)
    assert (read.version, read.payload.tag, read.header) == (version, "p", None)


@pytest.mark.parametrize(
    ("data", "content_type", "key"),
    [
        (plain(SOAP_11), "application/soap+xml", "soap-invalid"),
        (plain(SOAP_12), "text/xml", "soap-invalid"),
        (plain(SOAP_11), "application/json", "soap-invalid"),
        (plain(SOAP_11), "", "soap-invalid"),
        (plain(SOAP_11), "text/xml; charset=windows-1258", "soap-invalid"),
        (b"<Envelope xmlns='urn:other'/>", "text/xml", "soap-version"),
        (b"<p/>", "text/xml", "soap-invalid"),
        (b"not xml", "text/xml", "xml-malformed"),
        (b"", "text/xml", "xml-malformed"),
        (b"<!DOCTYPE p><p/>", "text/xml", "xml-doctype"),
        (plain(SOAP_11, ""), "text/xml", "soap-invalid"),
        (plain(SOAP_11, "<p/><q/>"), "text/xml", "soap-invalid"),
        (plain(SOAP_11).replace(b"</e:Envelope>", b"<e:Body><q/></e:Body></e:Envelope>"), "text/xml", "soap-invalid"),
        (plain(SOAP_11, header="<e:Header/><e:Header/>"), "text/xml", "soap-invalid"),
        (plain(SOAP_11).replace(b"</e:Envelope>", b"<e:Header/></e:Envelope>"), "text/xml", "soap-invalid"),
        (plain(SOAP_11).replace(b"</e:Envelope>", b"<trailer/></e:Envelope>"), "text/xml", "soap-invalid"),
    ],
)
def test_what_is_no_single_clear_envelope_is_refused(data: bytes, content_type: str, key: str) -> None:
    """Two Bodies, two payloads, a Header after the Body: room for wrapping attacks, and no stack sends them."""
    with pytest.raises(Rejected) as raised:
        soap.read(data, content_type)
    assert raised.value.key == key


@pytest.mark.parametrize("action", ['"urn:x/P"', "urn:x/P", '""', "", "P", "'urn:x/P'"[1:-1]])
def test_an_action_may_be_quoted_unquoted_empty_or_absent(action: str) -> None:
    """SOAP 1.1 clients do all four."""
    soap.check_action(soap.read(plain(SOAP_11), "text/xml", action), "urn:x/P", "P")


@pytest.mark.parametrize(
    ("version", "content_type", "header", "soap_action"),
    [
        (SOAP_11, "text/xml", "", '"urn:x/Q"'),
        (SOAP_12, 'application/soap+xml; action="urn:x/Q"', "", ""),
        (SOAP_12, "application/soap+xml", f'<e:Header><a:Action xmlns:a="{soap.ADDRESSING}">urn:x/Q</a:Action></e:Header>', ""),
    ],
)
def test_an_action_that_contradicts_the_body_is_refused(version: Version, content_type: str, header: str, soap_action: str) -> None:
    """Action spoofing: what a gateway saw is not what we would do."""
    with pytest.raises(Rejected, match="contradicts"):
        soap.check_action(soap.read(plain(version, header=header), content_type, soap_action), "urn:x/P", "P")


MTOM = (
    b"--b\r\nContent-Type: {root}\r\nContent-ID: <r>\r\n\r\n"
    + plain(SOAP_11, '<p><c><i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:f"/></c></p>')
    + b"\r\n--b\r\nContent-ID: <f>\r\n\r\nA\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    "root",
    [b'application/xop+xml; charset=UTF-8; type="text/xml"', b"application/xop+xml; type=text/xml", b"application/xop+xml", b"text/xml"],
)
def test_packages_are_read_whatever_their_root_calls_itself(root: bytes) -> None:
    """With and without charset, quotes, type."""
    read = soap.read(MTOM.replace(b"{root}", root), 'multipart/related; boundary=b; start="<r>"')
    assert (read.payload.findtext("c"), read.detached) == ("QQ==", {})
    assert read.optimised == root.startswith(b"application/xop+xml")


@BOTH
def test_headers_that_must_be_understood_are_or_the_message_is_refused(version: Version) -> None:
    """Only those for us, only those marked, and never those that something here processes."""
    other = '<s:Other xmlns:s="urn:s" e:mustUnderstand="1"{}/>'
    role = ' e:actor="urn:someone"' if version is SOAP_11 else ' e:role="urn:someone"'
    elsewhere = other.format(role)
    fine = f'<e:Header><s:Security xmlns:s="urn:s" e:mustUnderstand="1"/>{elsewhere}<s:Optional xmlns:s="urn:s"/></e:Header>'
    soap.check_understood(soap.read(plain(version, header=fine), version.media_type), {SECURITY})
    with pytest.raises(Rejected) as raised:
        soap.check_understood(soap.read(plain(version, header=f"<e:Header>{other.format('')}</e:Header>"), version.media_type), {SECURITY})
    fault = soap.envelope(version, soap.fault(version, raised.value, "r"))
    assert b">soap:MustUnderstand<" in fault


def test_addressing_is_answered_with_the_id_of_the_request() -> None:
    """WCF and Metro mark their WS-Addressing headers mustUnderstand."""
    wsa = f'xmlns:a="{soap.ADDRESSING}" e:mustUnderstand="1"'
    header = (
        f"<e:Header><a:MessageID {wsa}>urn:uuid:1</a:MessageID>"
        f"<a:ReplyTo {wsa}><a:Address>{soap.ADDRESSING}/anonymous</a:Address></a:ReplyTo></e:Header>"
    )
    read = soap.read(plain(SOAP_12, header=header), "application/soap+xml")
    soap.check_understood(read, ())
    reply = soap.read(soap.envelope(SOAP_12, b"<r/>", soap.reply_headers(read, "urn:x/PResponse")), "application/soap+xml")
    assert reply.header is not None
    assert [child.text for child in reply.header] == ["urn:x/PResponse", "urn:uuid:1"]
    elsewhere = header.replace("/anonymous", "/anonymous.example")
    with pytest.raises(Rejected, match="anonymous"):
        soap.read(plain(SOAP_12, header=elsewhere), "application/soap+xml")


@BOTH
@pytest.mark.parametrize(
    ("error", "transient", "status"),
    [(Rejected("soap-invalid", detail="<&\x00", at="/a"), False, 400), (Deferred("store-unavailable"), True, 500)],
)
def test_a_fault_says_whose_mistake_it_is_in_both_languages(
    version: Version, error: Rejected | Deferred, transient: bool, status: int
) -> None:
    """Code, reasons, place and reference; well-formed whatever the message quotes; HTTP 500 in SOAP 1.1 always."""
    reply = soap.read(soap.envelope(version, soap.fault(version, error, "abc")), version.media_type)
    detail = reply.payload.find(f".//{{{soap.FAULT_NAMESPACE}}}Fault")
    assert detail is not None
    assert (detail[0].text, detail[-1].text) == (error.code, "abc")
    assert [element.get("{http://www.w3.org/XML/1998/namespace}lang") for element in detail[1:3]] == ["vi", "en"]
    assert soap.fault_status(version, error) == (500 if version is SOAP_11 else status)
    with pytest.raises(Deferred if transient else Rejected, match=error.code):
        soap.raise_fault(reply, "partner")


def fault_of(version: Version, children: str) -> soap.Envelope:
    return soap.read(plain(version, f'<e:Fault xmlns:s="{version.namespace}">{children}</e:Fault>'), version.media_type)


EXPIRED = "<e:Subcode><e:Value>wsu:MessageExpired</e:Value></e:Subcode>"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (fault_of(SOAP_11, "<faultcode>e:Client</faultcode><faultstring>no</faultstring>"), Rejected),
        (fault_of(SOAP_11, "<faultcode>soapenv:Server.userException</faultcode><faultstring>no</faultstring>"), Deferred),
        (fault_of(SOAP_12, "<e:Code><e:Value>e:Sender</e:Value></e:Code><e:Reason><e:Text>no</e:Text></e:Reason>"), Rejected),
        (fault_of(SOAP_12, "<e:Code><e:Value>e:Receiver</e:Value></e:Code><e:Reason><e:Text>no</e:Text></e:Reason>"), Deferred),
        (fault_of(SOAP_12, "<faultcode>soap:Server</faultcode><faultstring>no</faultstring>"), Deferred),
        (fault_of(SOAP_11, "<faultcode>wsse:FailedAuthentication</faultcode><faultstring>no</faultstring>"), Deferred),
        (fault_of(SOAP_12, f"<e:Code><e:Value>e:Sender</e:Value>{EXPIRED}</e:Code><e:Reason><e:Text>no</e:Text></e:Reason>"), Deferred),
    ],
)
def test_faults_of_other_stacks_are_for_good_or_for_now(fault: soap.Envelope, kind: type[Exception]) -> None:
    """Client and Sender for good; node-soap puts SOAP 1.1 children into a 1.2 fault."""
    with pytest.raises(kind, match="no"):
        soap.raise_fault(fault, "partner")


def test_a_reply_that_is_no_fault_raises_nothing() -> None:
    """Whatever it is called."""
    soap.raise_fault(soap.read(plain(SOAP_11, "<Fault/>"), "text/xml"), "partner")


def test_utf_16_is_read() -> None:
    """An encoding that the declaration names."""
    text = '<?xml version="1.0" encoding="UTF-16"?>' + plain(SOAP_11, "<p>Hà Nội</p>").decode()
    read = soap.read(text.encode("utf-16"), "text/xml; charset=utf-16")
    assert xmlio.canonicalize(read.payload).decode().count("Hà Nội") == 1
