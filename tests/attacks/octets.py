"""Attacks on octets: XML that floods, lies about its encoding or declares a document type; MIME that does not end or names paths."""

import base64
from collections.abc import Iterator

from attacker import CONTENT_TYPES, Case, Forger

from bus.soap import SOAP_11, SOAP_12

#: One element with a hundred attributes.
_MANY = "<a " + " ".join(f'b{n}=""' for n in range(100)) + "/>"
_LAUGHS = "".join('<!ENTITY l{} "{}">'.format(n, f"&l{n - 1};" * 10) for n in range(1, 10))

DOCTYPES = {
    "an internal entity": '<!DOCTYPE a [<!ENTITY e "x">]>',
    "an external entity (file)": '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
    "an external entity (http)": '<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/x">]>',
    "a parameter entity": '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;]>',
    "an external subset": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
    "a public subset": '<!DOCTYPE a PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1:9/x.dtd">',
    "a notation": '<!DOCTYPE a [<!NOTATION n SYSTEM "x"><!ENTITY u SYSTEM "x" NDATA n>]>',
    "a default attribute": '<!DOCTYPE a [<!ATTLIST a Id ID "Body">]>',
    "nothing": "<!DOCTYPE a>",
    "a billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{_LAUGHS}]>',
    "a quadratic blow-up": '<!DOCTYPE a [<!ENTITY e "' + "x" * 50_000 + '">]>',
    "an entity in itself": '<!DOCTYPE a [<!ENTITY a "&b;"><!ENTITY b "&a;">]>',
}


def doctypes(forger: Forger) -> Iterator[Case]:
    """A document type, before a rightly signed envelope."""
    for version in (SOAP_11, SOAP_12):
        for number, (words, text) in enumerate(DOCTYPES.items()):
            for stack in ("ours", "zeep"):
                signed = forger.signed(version, stack, number)
                bare = signed[signed.index(b"?>") + 2 :] if signed.startswith(b"<?xml") else signed
                yield Case("document type", f"{words} ({stack}, {version.name})", text.encode() + bare, CONTENT_TYPES[version])


def floods(forger: Forger) -> Iterator[Case]:
    """Depth, elements, attributes, namespaces and text without end, in Header and in Body of signed and unsigned envelopes."""
    inside = {
        "depth 300": "<a>" * 300 + "</a>" * 300,
        "depth 100,000": "<a>" * 100_000 + "</a>" * 100_000,
        "300,000 elements": "<a/>" * 300_000,
        "500,000 attributes": "<a" + "".join(f' b{n}=""' for n in range(500_000)) + "/>",
        "100,000 namespaces": "<a" + "".join(f' xmlns:b{n}="urn:{n}"' for n in range(100_000)) + "/>",
        "attributes on many elements": _MANY * 5_000,
    }
    for version in (SOAP_11, SOAP_12):
        envelope = f'<s:Envelope xmlns:s="{version.namespace}"><s:Header>%s</s:Header><s:Body>%s</s:Body></s:Envelope>'
        for words, flood in inside.items():
            yield Case("flood", f"{words} in Header ({version.name})", (envelope % (flood, "")).encode(), CONTENT_TYPES[version])
            yield Case("flood", f"{words} in Body ({version.name})", (envelope % ("", flood)).encode(), CONTENT_TYPES[version])
            signed = forger.signed(version, "ours", 1)
            yield Case(
                "flood",
                f"{words} in a signed envelope ({version.name})",
                signed.replace(b"</wsse:Security>", flood.encode() + b"</wsse:Security>"),
                CONTENT_TYPES[version],
            )


def encodings(forger: Forger) -> Iterator[Case]:
    """Encodings that are refused, lied about, or broken."""
    signed = forger.signed(SOAP_11, "ours", 1)
    bare = signed[signed.index(b"?>") + 2 :] if signed.startswith(b"<?xml") else signed
    text = bare.decode()
    for name in ("utf-32", "utf-32-le", "utf-7", "cp037"):
        yield Case("encoding", f"{name} undeclared", text.encode(name), "text/xml")
    for declared in ("UTF-7", "UTF-32", "ISO-2022-KR", "IBM037", "x-unknown", "US-ASCII", "windows-1258", "ISO-8859-1"):
        yield Case("encoding", f"declared {declared}", f'<?xml version="1.0" encoding="{declared}"?>'.encode() + bare, "text/xml")
    for words, broken in {
        "an overlong slash": b"\xc0\xaf",
        "a surrogate": b"\xed\xa0\x80",
        "beyond Unicode": b"\xf5\x80\x80\x80",
        "a lone continuation": b"\x80",
        "a cut sequence": b"\xe1\xba",
        "NUL": b"\x00",
        "a bell": b"\x07",
        "FFFE": b"\xef\xbf\xbe",
        "a vertical tab": b"\x0b",
        "a NUL by reference": b"&#0;",
        "a surrogate by reference": b"&#xD800;",
        "a number too large": b"&#x110000;",
        "an entity of nobody": b"&nbsp;",
    }.items():
        for place in (b"</wsse:Security>", b"</s:Body>", b"</soap:Body>", b":Body>"):
            if place in bare:
                yield Case(
                    "encoding", f"{words} before {place.decode()}", bare.replace(place, broken + place, 1), "text/xml; charset=utf-8"
                )
    for words, whole in {
        "two roots": bare + bare,
        "text after": bare + b"x",
        "text before": b"x" + bare,
        "nothing": b"",
        "white space": b" \n",
        "a NUL": b"\0",
        "an open tag": b"<",
        "half a declaration": b"<?xml",
    }.items():
        yield Case("encoding", words, whole, "text/xml")


def cuts(forger: Forger) -> Iterator[Case]:
    """A signed message cut off: every fortieth of it."""
    for version in (SOAP_11, SOAP_12):
        signed = forger.signed(version, "ours", 1)
        for part in range(1, 40):
            yield Case("cut off", f"{part}/40 ({version.name})", signed[: len(signed) * part // 40], CONTENT_TYPES[version])


def changes(forger: Forger) -> Iterator[Case]:
    """One octet changed, where it is signed: every place of SignatureValue's, DigestValue's and the Body's texts, in steps."""
    signed = forger.signed(SOAP_11, "ours", 1)
    for name in (b"SignatureValue", b"DigestValue", b"Content", b"Created"):
        begin = signed.index(b">", signed.index(b":" + name if b":" + name in signed else name)) + 1
        end = signed.index(b"<", begin)
        step = max(1, (end - begin) // 40)
        for place in range(begin, end, step):
            other = (
                b"B"
                if signed[place : place + 1] == b"A"
                else b"A"
                if name != b"Created"
                else (b"1" if signed[place : place + 1] == b"0" else b"0")
            )
            if signed[place : place + 1] in b"=\n":
                continue
            yield Case(
                "changed octet", f"{name.decode()} at {place - begin}", signed[:place] + other + signed[place + 1 :], CONTENT_TYPES[SOAP_11]
            )


def multiparts(forger: Forger) -> Iterator[Case]:
    """MIME packages that do not end, contradict themselves, nest, or point out of themselves."""
    envelope = forger.signed(SOAP_11, "ours", 1)
    related = 'multipart/related; type="{type}"; start="<root>"; boundary="b"'
    mtom = related.format(type="application/xop+xml") + '; start-info="text/xml"'

    def part(body: bytes, *headers: str) -> bytes:
        return "\r\n".join(("--b", *headers, "", "")).encode() + body + b"\r\n"

    root = part(envelope, 'Content-Type: application/xop+xml; type="text/xml"', "Content-ID: <root>")
    more = part(b"x", "Content-Type: application/octet-stream", "Content-ID: <a>")
    end = b"--b--\r\n"
    packages = {
        "no closing boundary": root + more,
        "no boundary at all": envelope,
        "empty": b"",
        "only the end": end,
        "no root": more + end,
        "two roots": root + root + end,
        "a Content-ID twice": root + more + more + end,
        "no Content-ID": root + part(b"x", "Content-Type: text/plain") + end,
        "an unused part": root + more + end,
        "10,000 parts": root + more * 10_000 + end,
        "a multipart in a part": root + part(root + end, 'Content-Type: multipart/related; boundary="b"', "Content-ID: <a>") + end,
        "a name that is a path": root + part(b"x", "Content-ID: <../../etc/hostname>") + end,
        "an unknown transfer encoding": part(
            envelope, "Content-Type: application/xop+xml", "Content-ID: <root>", "Content-Transfer-Encoding: gzip"
        )
        + end,
        "base64 that is none": part(b"!!!", "Content-Type: application/xop+xml", "Content-ID: <root>", "Content-Transfer-Encoding: base64")
        + end,
        "a header line without end": b"--b\r\nContent-ID: <root>" + b"x" * 100_000 + end,
        "a thousand header lines": part(envelope, *(f"X-{n}: x" for n in range(1000))) + end,
        "a header without colon": part(envelope, "Content-ID <root>") + end,
        "a fold without a header": b"--b\r\n folded\r\n\r\n" + envelope + b"\r\n" + end,
        "bare line feeds in headers": b"--b\nContent-ID: <root>\n\n" + envelope + b"\n--b--\n",
    }
    for words, package in packages.items():
        yield Case("MIME", words, package, mtom)
    for words, content_type in {
        "no boundary parameter": 'multipart/related; type="application/xop+xml"',
        "an empty boundary": 'multipart/related; type="application/xop+xml"; boundary=""',
        "a boundary of 500 characters": f'multipart/related; type="application/xop+xml"; boundary="{"b" * 500}"',
        "another multipart": 'multipart/mixed; boundary="b"',
        "form data": 'multipart/form-data; boundary="b"',
        "a root of nobody": 'multipart/related; type="application/xop+xml"; start="<nobody>"; boundary="b"',
        "no type": 'multipart/related; boundary="b"; start="<x>"',
    }.items():
        yield Case("MIME", words, root + end, content_type)
    for href in ("cid:nobody", "cid:", "", "http://127.0.0.1:9/", "file:///etc/hostname", "#root", "cid:root", "cid:..%2f..%2fetc"):
        payload = (
            '<x:SendDocument xmlns:x="urn:govbus:exchange:v1"><x:Content>'
            f'<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="{href}"/></x:Content></x:SendDocument>'
        )
        signed = Forger(forger.partner, forger.stranger, forger.home, lambda _number, payload=payload: payload.encode()).signed(
            SOAP_11, "ours", 1
        )  # type: ignore[misc]
        body = part(signed, 'Content-Type: application/xop+xml; type="text/xml"', "Content-ID: <root>") + more + end
        yield Case("MIME", f"an Include of {href!r}", body, mtom)


def lies(forger: Forger) -> Iterator[Case]:
    """Content types that are not what the body is."""
    for version, other in ((SOAP_11, SOAP_12), (SOAP_12, SOAP_11)):
        signed = forger.signed(version, "ours", 1)
        yield Case("content type", f"{version.name} as {other.name}", signed, CONTENT_TYPES[other])
        for content_type in (
            "application/json",
            "text/html",
            "application/octet-stream",
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "text/xml; charset=utf-7",
            "text/xml; charset=ibm037",
            "x" * 10_000,
        ):
            yield Case("content type", f"{version.name} as {content_type[:40]!r}", signed, content_type)
        yield Case("content type", f"{version.name} in base64", base64.b64encode(signed), CONTENT_TYPES[version])
