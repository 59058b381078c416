"""Ten megabytes of everything that could make a reader slow or large: name -> (reader, input). Made when asked for."""

from collections.abc import Callable, Mapping

import fuzz_signing as signing

from bus.soap import SOAP_11

SIZE = 10_000_000
_EDXML = "http://www.mic.gov.vn/TBT/QCVN_102_2016"
_PARTIES = "<From><OrganId>G14</OrganId></From>"
_WSS = signing.messages()["wss"][0]
_MULTIPART = b'Content-Type: multipart/related; boundary="b"; type="text/xml"; start="<root>"\n\n'
_ROOT = b"--b\r\nContent-Type: text/xml\r\nContent-ID: <root>\r\n\r\n<a/>\r\n"


def filled(unit: str | bytes) -> bytes:
    """As many of ``unit`` as there is room for."""
    octets = unit if isinstance(unit, bytes) else unit.encode()
    return octets * (SIZE // len(octets))


def numbered(form: str, count: int) -> bytes:
    """``form`` with each number in the place of ``{0}``."""
    return "".join(form.format(number) for number in range(count)).encode()


def _in(name: str, inside: bytes) -> bytes:
    return b"".join((f"<{name}>".encode(), inside, f"</{name.split(maxsplit=1)[0]}>".encode()))


def edxml(header: bytes = b"<To><OrganId>G18</OrganId></To>", manifest: bytes = b"", files: bytes = b"", traces: bytes = b"") -> bytes:
    """A document with these insides."""
    frame = f'<edXML xmlns="{_EDXML}"><edXMLEnvelope><edXMLHeader><MessageHeader>{_PARTIES}'.encode()
    body = b"</MessageHeader>%b</edXMLHeader><edXMLBody>%b</edXMLBody></edXMLEnvelope>%b</edXML>"
    lists = (_in("TraceHeaderList", traces), _in("edXMLManifest", manifest), _in("AttachmentEncoded", files))
    return b"".join((frame, header, body % lists))


def _soap(header: bytes = b"", body: bytes = signing.PAYLOAD) -> bytes:
    envelope = f'<s:Envelope xmlns:s="{SOAP_11.namespace}"><s:Header>%b</s:Header><s:Body>%b</s:Body></s:Envelope>'.encode()
    return b"Content-Type: text/xml\n\n" + envelope % (header, body)


def _part(encoding: bytes, data: bytes) -> bytes:
    """A package with one part beside its root."""
    head = b"--b\r\nContent-ID: <1>\r\nContent-Transfer-Encoding: %b\r\n\r\n" % encoding
    return b"".join((_MULTIPART, _ROOT, head, data, b"\r\n--b--\r\n"))


def _wss(place: bytes, flood: bytes) -> bytes:
    """A signed envelope with a flood in front of the first ``place``."""
    before, found, after = _WSS.partition(place)
    return b"".join((before, flood, found, after))


def _references(count: int) -> bytes:
    start, end = _WSS.index(b"<ds:Reference"), _WSS.rindex(b"</ds:Reference>") + len(b"</ds:Reference>")
    one = _WSS[start : _WSS.index(b"</ds:Reference>") + len(b"</ds:Reference>")]
    return b"".join((_WSS[:start], one * count, _WSS[end:]))


def _prefixes(count: int) -> bytes:
    listed = " ".join(f"p{number}" for number in range(count))
    exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
    inclusive = f'<i:InclusiveNamespaces xmlns:i="{exclusive}" PrefixList="{listed}"/></ds:CanonicalizationMethod>'
    return _WSS.replace(b"</ds:CanonicalizationMethod>", inclusive.encode(), 1)


#: As many namespaces as one element may have in scope.
_SCOPE = numbered(' xmlns:p{0}="urn:{0}"', 250)
_CONTENT = b"<x:Content>QUJD</x:Content>"
Kind = tuple[str, Callable[[], bytes]]
KINDS: Mapping[str, Kind] = {
    # What XML is made of, beyond and just within the limits of xmlio.
    "depth without end": ("xml", lambda: filled("<a>")),
    "depth at the limit": ("xml", lambda: _in("a", b"<b>" * 199 + b"x" * SIZE + b"</b>" * 199)),
    "elements without end": ("xml", lambda: _in("a", filled("<b/>"))),
    "elements at the limit": ("xml", lambda: _in("a", numbered('<element-number-{0} some="attribute"/>', 190_000))),
    "attributes of one element": ("xml", lambda: _in("a", b"<b" + numbered(' c{0}=""', 900_000) + b"/>")),
    "attributes at the limit": ("xml", lambda: _in("a", (b"<b" + numbered(' c{0}="{0}"', 250) + b"/>") * 1_590)),
    "long attributes": ("xml", lambda: b'<a b="' + b"x" * SIZE + b'"/>'),
    "long name": ("xml", lambda: b"<" + b"a" * SIZE + b"/>"),
    "namespaces without end": ("xml", lambda: _in("a", b"<b" + numbered(' xmlns:p{0}="urn:{0}"', 350_000) + b"/>")),
    "namespaces in scope": ("xml", lambda: b"<b" + _SCOPE + b">" + b"<p249:c/>" * 190_000 + b"</b>"),
    "one namespace again and again": ("xml", lambda: _in("a", b'<p:c xmlns:p="urn:p"></p:c>' * 95_000)),
    "long text": ("xml", lambda: _in("a", b"x" * SIZE)),
    "white space": ("xml", lambda: _in("a", filled(" \r\n\t"))),
    "carriage returns": ("xml", lambda: _in("a", b"\r" * SIZE)),
    "character references": ("xml", lambda: _in("a", filled("&#38;"))),
    "entities": ("xml", lambda: _in("a", filled("&lt;"))),
    "Vietnamese": ("xml", lambda: _in("a", filled("Cộng hòa xã hội chủ nghĩa Việt Nam "))),
    "UTF-16": ("xml", lambda: ("<a>" + "ệ" * (SIZE // 2) + "</a>").encode("utf-16")),
    "one comment": ("xml", lambda: _in("a", b"<!--" + b"x" * SIZE + b"-->")),
    "comments before the root": ("xml", lambda: filled("<!-- xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx -->") + b"<a/>"),
    "comments without end": ("xml", lambda: _in("a", filled("<!---->"))),
    "comments that do not end": ("xml", lambda: filled("<!-- ")),
    "instructions": ("xml", lambda: _in("a", b"<?p " + b"x" * SIZE + b"?>")),
    "instructions without end": ("xml", lambda: filled("<?a?>") + b"<a/>"),
    "undeclared xlink behind comments": ("xml", lambda: filled("<!-- xlink: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx -->") + b"<!"),
    "CDATA": ("xml", lambda: _in("a", b"<![CDATA[" + b"<" * 190_000 + b"]" * SIZE + b"]]>")),
    "CDATA sections": ("xml", lambda: _in("a", b"<![CDATA[" + b"x" * 40 + b"]]>" + (b"<![CDATA[" + b"x" * 40 + b"]]>") * 190_000)),
    "document type": ("xml", lambda: b"<!DOCTYPE a [" + filled('<!ENTITY e "x">') + b"]><a/>"),
    "nothing but less-than": ("xml", lambda: b"<" * SIZE),
    # Files inside XML.
    "base64": ("hollow", lambda: _in("Content", filled("QUJDREVG"))),
    "base64 in lines": ("hollow", lambda: _in("Content", filled("QUJD" * 19 + "\r\n"))),
    "base64 of white space": ("hollow", lambda: _in("Content", b"A" + b" " * SIZE)),
    "files without end": ("hollow", lambda: _in("a", b"<Content>QUJD</Content>" * 90_000)),
    "open files": ("hollow", lambda: filled("<Content a=")),
    "files in files": ("hollow", lambda: filled("<Content>" + "A" * 70_000)),
    # SOAP and MIME.
    "SOAP headers": ("soap", lambda: _soap(numbered("<h{0} xmlns='urn:h'/>", 190_000))),
    "addressing headers": ("soap", lambda: _soap(b"<a:To xmlns:a='http://www.w3.org/2005/08/addressing'>x</a:To>" * 95_000)),
    "parameters": ("soap", lambda: _soap(body=signing.PAYLOAD.replace(_CONTENT, _CONTENT * 95_000))),
    "faults in a fault": ("soap", lambda: _soap(body=_in(f"f:Fault xmlns:f='{SOAP_11.namespace}'", b"<faultcode>x</faultcode>" * 95_000))),
    "a namespace of ten megabytes": ("soap", lambda: b"Content-Type: text/xml\n\n<Envelope xmlns='" + b"x" * SIZE + b"'/>"),
    "10,000 parts": ("soap", lambda: _MULTIPART + _ROOT + b"--b\r\nContent-ID: <1>\r\n\r\n" * 10_000 + b"--b--\r\n"),
    "one huge part": ("soap", lambda: _part(b"binary", b"x" * SIZE)),
    "almost boundaries": ("soap", lambda: _part(b"binary", filled("\n--bb"))),
    "header without end": ("soap", lambda: _MULTIPART + _ROOT + b"--b\r\n" + filled("A: b\r\n") + b"--b--\r\n"),
    "header of blanks": ("soap", lambda: _MULTIPART + _ROOT + b"--b\r\nContent-ID:" + b" " * SIZE + b"--b--\r\n"),
    "base64 part": ("soap", lambda: _part(b"base64", filled("QUJD\r\n"))),
    "quoted-printable part": ("soap", lambda: _part(b"quoted-printable", filled("=3D"))),
    "parameters of a type": ("soap", lambda: b"Content-Type: text/xml" + filled(";a=b") + b"\n\n<a/>"),
    "quotes of a type": ("soap", lambda: b'Content-Type: text/xml; a="' + filled('\\"') + b"\n\n<a/>"),
    # Signatures.
    "10,000 references": ("wss", lambda: _references(10_000)),
    "references beyond elements": ("wss", lambda: _references(24_000)),
    "prefixes": ("wss", lambda: _prefixes(1_000_000)),
    "the same Id": ("wss", lambda: _wss(b"<ds:Signature", b'<a Id="x"/>' * 190_000)),
    "Ids": ("wss", lambda: _wss(b"<ds:Signature", numbered('<a Id="x{0}"/>', 190_000))),
    "tokens": ("wss", lambda: _wss(b"<ds:Signature", b"<wsse:BinarySecurityToken/>" * 190_000)),
    "timestamps": ("wss", lambda: _wss(b"<wsu:Timestamp", b"<wsu:Timestamp/>" * 190_000)),
    "objects of a signature": ("wss", lambda: _WSS.replace(b"</ds:Signature>", b"<ds:Object/>" * 190_000 + b"</ds:Signature>")),
    "a signed Body in scope of many": (
        "insider",
        lambda: _WSS.replace(b"<soap:Body", b"<soap:Body" + _SCOPE).replace(b"QUJD", b"<p249:c/>" * 190_000),
    ),
    "a signed Body of elements": ("insider", lambda: _WSS.replace(b"QUJD", numbered('<c{0} a="b"/>', 190_000))),
    # Documents.
    "receivers": ("edxml", lambda: edxml(numbered("<To><OrganId>{0}</OrganId></To>", 95_000))),
    "receivers at the limit": ("edxml", lambda: edxml(numbered("<To><OrganId>{0}</OrganId></To>", 500) + _in("Subject", b"x" * SIZE))),
    "attachments": ("edxml", lambda: edxml(files=numbered("<Attachment><ContentId>{0}</ContentId></Attachment>", 95_000))),
    "attachments at the limit": (
        "edxml",
        lambda: edxml(
            files=numbered("<Attachment><ContentId>a{0}</ContentId></Attachment>", 1_000),
            manifest=numbered("<Reference><ContentId>b{0}</ContentId></Reference>", 1_000),
        ),
    ),
    "references without attachment": ("edxml", lambda: edxml(manifest=numbered("<Reference><X>{0}</X></Reference>", 95_000))),
    "hops": ("edxml", lambda: edxml(traces=numbered("<TraceHeader><OrganId>{0}</OrganId><Timestamp>x</Timestamp></TraceHeader>", 60_000))),
    "unknown elements": ("edxml", lambda: edxml(numbered("<To><OrganId>G18</OrganId></To><U{0}/>", 60_000))),
    "files with a long name": ("edxml", lambda: edxml(files=_in("Attachment", _in("AttachmentName", b"x" * SIZE)))),
    "a file that is no base64": ("edxml", lambda: edxml(files=_in("Attachment", _in("ContentTransferEncoded", b"!" * SIZE)))),
    "a root of another namespace": ("edxml", lambda: b'<edXML xmlns="' + b"x" * SIZE + b'"/>'),
    # JSON.
    "lists in lists": ("json", lambda: b'{"status":"OK","data":' + b"[" * SIZE),
    "empty lists": ("json", lambda: b'{"status":"OK","data":[' + filled("[],") + b"1]}"),
    "empty objects": ("json", lambda: b'{"status":"OK","data":[' + filled("{},") + b"1]}"),
    "objects": ("json", lambda: b'{"status":"OK","data":[' + filled('{"a":1},') + b"1]}"),
    "numbers": ("json", lambda: b'{"status":"OK","data":[' + filled("1.5,") + b"1]}"),
    "a long number": ("json", lambda: b'{"status":"OK","ErrorCode":' + b"9" * SIZE + b"}"),
    "a long reason": ("json", lambda: b'{"status":"FAIL","ErrorCode":"20","ErrorDesc":"' + b"x" * SIZE + b'"}'),
    "escapes": ("json", lambda: b'{"status":"OK","data":"' + filled("\\u1ec7") + b'"}'),
    "keys": ("json", lambda: b'{"status":"OK",' + numbered('"{0}":0,', 800_000) + b'"a":1}'),
}  # fmt: skip
