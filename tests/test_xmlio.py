"""The parser: what it refuses, with which code and place, within which memory and time; and exclusive canonicalisation."""

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bus.errors import Rejected
from bus.xmlio import Limits, canonicalize, parse

MEGABYTE = 1_000_000
HOSTILE = {
    "elements": (b"<r>" + b"<a/>" * (10 * MEGABYTE // 4) + b"</r>", "5.6.1"),
    "elements just allowed": (b"<r>" + b"<a/>x" * 199_000 + b"</r>", ""),
    "attributes of one element": (b"<r " + b" ".join(b'a%d=""' % n for n in range(399_000)) + b"/>", "5.6.1"),
    "attributes everywhere": (b"<r>" + b"<a b='' c=''/>" * 199_000 + b"</r>", ""),
    "million attributes": (b"<r " + b" ".join(b'a%d=""' % n for n in range(MEGABYTE)) + b"/>", "5.6.1"),
    "namespaces of one element": (b"<r " + b" ".join(b'xmlns:a%d="u:u"' % n for n in range(399_000)) + b"/>", "5.6.1"),
    "namespaces nested": (
        b"".join(b"<a " + b" ".join(b'xmlns:n%d_%d="u:u"' % (d, n) for n in range(99)) + b">" for d in range(199)),
        "5.6.",
    ),
    "depth 100000": (b"<a>" * 100_000 + b"</a>" * 100_000, "5.6.1"),
    "depth in a huge document": (b"<a>" * 300 + b"x" * (8 * MEGABYTE) + b"</a>" * 300, "5.6.1"),
    "comments": (b"<r>" + b"<!---->" * (10 * MEGABYTE // 7) + b"</r>", "5.6.1"),
    "character references": (b"<r>" + b"&#65;" * (2 * MEGABYTE) + b"</r>", ""),
    "one long text": (b"<r>" + b"x" * (10 * MEGABYTE) + b"</r>", ""),
    "one long name": (b"<" + b"a" * (10 * MEGABYTE) + b"/>", ""),
    "billion laughs": (
        b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">' + b"".join(b'<!ENTITY b%d "&a;&a;&a;">' % n for n in range(1000)) + b"]><r>&a;</r>",
        "5.6.2",
    ),
}
ATTEMPT = """
import sys, time
from bus.errors import Rejected
from bus.xmlio import canonicalize, parse
data = sys.stdin.buffer.read()
start = time.process_time()
try:
    canonicalize(parse(data)); code = ""
except Rejected as refused:
    code = refused.code
# Not ru_maxrss: that one starts at the parent's size.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(code or "accepted", time.process_time() - start, peak // 1024)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_cost_little(name, repository: Path):
    """Ten megabytes of anything are parsed and canonicalised, or refused, within 400 MB and two seconds of processor time."""
    data, code = HOSTILE[name]
    done = subprocess.run([sys.executable, "-c", ATTEMPT], input=data, capture_output=True, cwd=repository, timeout=60, check=True)
    answer, seconds, megabytes = done.stdout.decode().split()
    assert (answer.startswith(code or "accepted"), float(seconds) < 2, int(megabytes) < 400) == (True, True, True), done.stdout


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE r><r/>",
        b'<?xml version="1.0"?>\n<!-- x --><?pi?> <!DOCTYPE r SYSTEM "file:///etc/passwd"><r/>',
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
        b"\xef\xbb\xbf<!doctype r><r/>",
        '<!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>'.encode("utf-16"),
    ],
)
def test_a_doctype_is_refused(data):
    """Any document type declaration, wherever it hides and in whichever encoding, is 5.6.2."""
    with pytest.raises(Rejected, match=r"5\.6\.2"):
        parse(data)


def test_the_word_doctype_in_content_is_content():
    """An HTML page carried in a CDATA section is text like any other."""
    assert parse(b"<r><![CDATA[<!DOCTYPE html>]]></r>").text == "<!DOCTYPE html>"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "line 1, column 1"),
        (b"<r>\n <a>\n</r>", "line 3, column 5"),
        (b"<r>&unknown;</r>", "line 1, column 13"),
        (b"<r>\xff</r>", "line 1, column"),
        (b"<r>\0</r>", "line 1, column"),
        (b"<r/><r/>", "line 1, column 5"),
        (b"not xml", "line 1, column 1"),
        (b"+ADw-r/+AD4-", "line 1, column 1"),
    ],
)
def test_malformed_documents_are_placed(data, place):
    """What is not well formed is 5.6.0 with line and column."""
    with pytest.raises(Rejected, match=r"5\.6\.0") as refused:
        parse(data)
    assert refused.value.at.startswith(place)


@pytest.mark.parametrize(
    "data",
    [
        "<r>văn bản</r>".encode(),
        "\ufeff<r>văn bản</r>".encode(),
        '<?xml version="1.0" encoding="UTF-8"?><r>văn bản</r>'.encode(),
        "<?xml version='1.0' encoding='utf8' standalone='yes'?>\n<r>văn bản</r>".encode(),
        "<r>văn bản</r>".encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-16"?><r>văn bản</r>'.encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-16"?><r>văn bản</r>'.encode("utf-16-be"),
    ],
)
def test_utf8_and_utf16_are_read(data):
    """UTF-8 and UTF-16, with and without mark and declaration, give the same text."""
    assert parse(data).text == "văn bản"


@pytest.mark.parametrize(
    "data",
    [
        '<?xml version="1.0" encoding="iso-8859-1"?><r>é</r>'.encode("latin-1"),
        b'<?xml version="1.0" encoding="UTF-7"?><r>+AGE-</r>',
        b'<?xml version="1.0" encoding="UTF-16"?><r/>',
        '<?xml version="1.0" encoding="UTF-8"?><r/>'.encode("utf-16"),
        "<r/>".encode("utf-32"),
        "<r>đ</r>".encode("utf-16")[:-1],
        "<r/>".encode("utf-16-le"),
        "<r/>".encode("utf-16-be"),
        '<?xml version="1.0"?><r/>'.encode("utf-16-le"),
        '<?xml version="1.0" encoding="UTF-16BE"?><r/>'.encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-16LE"?><r/>'.encode("utf-16-be"),
    ],
)
def test_other_encodings_and_lies_are_refused(data):
    """Any other encoding, and a declaration that is not the encoding used, are refused rather than guessed."""
    with pytest.raises(Rejected, match=r"5\.6\.0"):
        parse(data)


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (b"<r>" + b"x" * 100 + b"</r>", Limits(size=100)),
        (b"<a><b><c></c></b></a>", Limits(depth=2)),
        (b"<a><b><c/></b></a>", Limits(depth=2)),
        (b"<r><a/><a/></r>", Limits(elements=2)),
        (b"<r a='' b=''/>", Limits(attributes=1)),
        (b"<r a='' b=''/>", Limits(attributes_each=1)),
        (b"<r xmlns:a='u:u' xmlns:b='u:u'/>", Limits(namespaces=1)),
    ],
)
def test_each_limit_holds(data, limits):
    """A site may set each limit lower; one more than it allows is 5.6.1."""
    with pytest.raises(Rejected, match=r"5\.6\.1"):
        parse(data, limits)


def test_comments_and_instructions_cannot_split_text():
    """A value with a comment or an instruction inside is one text."""
    assert parse(b"<r>ab<!-- x -->cd<?x y?>ef</r>").text == "abcdef"


def test_large_texts_are_allowed():
    """An attachment above libxml2's own limit of ten million bytes a text is read whole."""
    assert len(parse(b"<r>" + b"x" * 11_000_000 + b"</r>").text or "") == 11_000_000


def test_canonical_form_is_a_fixed_point():
    """Attributes sorted, empty elements opened and closed, namespaces where they are used, nothing else; and stable."""
    octets = canonicalize(parse(b'<r xmlns:x="u:x" xmlns="u:d" b="2" a="1"><x:e/>\r\n<!-- c --></r>'))
    assert octets == b'<r xmlns="u:d" a="1" b="2"><x:e xmlns:x="u:x"></x:e>\n</r>'
    assert canonicalize(parse(octets)) == octets


SUBTREE = b'<e:E xmlns:e="u:e" xmlns:x="u:x" xmlns="u:d"><e:B t="x:y"><c/><x:f/></e:B> tail</e:E>'


@pytest.mark.parametrize(
    ("prefixes", "expected"),
    [
        ((), b'<e:B xmlns:e="u:e" t="x:y"><c xmlns="u:d"></c><x:f xmlns:x="u:x"></x:f></e:B>'),
        (("x",), b'<e:B xmlns:e="u:e" xmlns:x="u:x" t="x:y"><c xmlns="u:d"></c><x:f></x:f></e:B>'),
        (("x", "#default"), b'<e:B xmlns="u:d" xmlns:e="u:e" xmlns:x="u:x" t="x:y"><c></c><x:f></x:f></e:B>'),
        (("unheard-of",), b'<e:B xmlns:e="u:e" t="x:y"><c xmlns="u:d"></c><x:f xmlns:x="u:x"></x:f></e:B>'),
    ],
)
def test_subtrees_are_canonicalised_in_place(prefixes, expected):
    """A subtree has what it uses of its ancestors' namespaces, and what an InclusiveNamespaces list asks for; never its tail."""
    root = parse(SUBTREE)
    assert canonicalize(root[0], inclusive_prefixes=prefixes) == expected


def test_a_default_prefix_is_honoured_in_every_thread():
    """lxml keeps names by thread; a tree parsed in one and canonicalised in another gives the same octets."""
    root, results = parse(SUBTREE), []
    thread = threading.Thread(target=lambda: results.append(canonicalize(root[0], inclusive_prefixes=("#default",))))
    thread.start()
    thread.join(10)
    assert results[0].startswith(b'<e:B xmlns="u:d"')


def test_relative_namespaces_have_no_canonical_form():
    """A document that cannot be canonicalised is the sender's fault, not ours."""
    with pytest.raises(Rejected, match=r"5\.6\.0"):
        canonicalize(parse(b'<r xmlns="relative"/>'))


def test_this_process_stays_small():
    """Nothing of the refused documents above is kept."""
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1024 * 1024
