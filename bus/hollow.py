"""Hollow documents: large XML without the insides of its files.

Nearly all of a large document is base64 in a few elements (``FILES``). ``Hollow.emptied`` cuts the inside of each such text out and leaves
a *stand-in*, so that the parser, the schema, the stylesheets, XPath and canonicalisation see a small document; ``filled`` puts what was
cut out back into whatever octets came of it. Base64 has no character that XML writes in two ways (but for carriage returns, which
``parsed`` takes out as a parser does), so the result is, octet for octet, what would have come of the whole document; nothing large
is parsed, copied or written twice.

A text keeps its first KEPT characters (stylesheets tell a file's kind by them), and all of it where it is short or not plain base64.
A stand-in is 40 base64 characters that begin with 128 random bits drawn for this one object: no document can contain it beforehand,
and, standing for a multiple of four characters, it leaves valid base64 valid. It is never shown outside: all that leaves is filled.

Raises nothing of its own.
"""

import re
import secrets
from collections.abc import Iterator, Sequence

from lxml import etree

from bus.octets import Body, Chunk, Encoded, Octets, Piece, chunks, joined, whole
from bus.xmlio import canonicalize, parse, value_prefixes

#: Local names of the elements whose text is a file: edXML's, and the exchange contract's.
FILES = ("ContentTransferEncoded", "Content")
#: Shorter texts, and parts, stay where they are (octets).
SHORTEST = 64 * 1024
#: Digits of a stand-in's number.
_NUMBER = 8
#: Characters of a text that stay, white space not counted.
KEPT = 1024

_FILE = re.compile(rb"<(?:[^\s<>:/\"'=!?]+:)?(?:%b)(?:\s[^<>]*)?(?<!/)>" % "|".join(FILES).encode())
_TAG = re.compile(rb"<")
_KEPT = re.compile(rb"(?:\s*[^\s]){%d}" % KEPT)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\r\n"


class Run:
    """What was cut out: a stretch of base64 text as it was written. As a piece of ``Octets`` it need not be looked for again."""

    __slots__ = ("text",)

    def __init__(self, text: memoryview) -> None:
        self.text = text

    def __len__(self) -> int:
        return len(self.text)

    def chunks(self) -> Iterator[Chunk]:
        """The text in portions."""
        return chunks(self.text)

    def parsed(self) -> "Run":
        """The text as a parser gives it: every end of line a line feed (XML 1.0, 2.11)."""
        if not any(b"\r" in bytes(chunk) for chunk in self.chunks()):
            return self
        return Run(memoryview(whole(self.text).replace(b"\r\n", b"\n").replace(b"\r", b"\n")))


class Hollow:
    """What was cut out of one document, and the stand-ins that were left for it."""

    def __init__(self) -> None:
        self._mark = b""
        self._runs: list[Run | Encoded] = []

    def __bool__(self) -> bool:
        """Whether anything was cut out."""
        return bool(self._runs)

    def stand_in(self, run: Run | Encoded) -> bytes:
        """What to write in the place of base64 text."""
        self._mark = self._mark or secrets.token_hex(16).encode()
        self._runs.append(run)
        return self._mark + b"%0*x" % (_NUMBER, len(self._runs) - 1)

    def emptied(self, body: Body) -> bytes:
        """``body`` with a stand-in for the inside of each large file in it."""
        pieces: Sequence[Piece] = body.pieces if isinstance(body, Octets) else (body,)
        left: list[Chunk] = []
        for piece in pieces:
            if isinstance(piece, Run | Encoded):
                left.append(self.stand_in(piece))
            else:
                left += self._without_files(piece if isinstance(piece, bytes | memoryview) else whole(Octets(piece)))
        return b"".join(left)

    def filled(self, octets: bytes) -> Body:
        """``octets`` with what was cut out in its place again, as it was written."""
        return self._put_back(octets, self._runs) if self._runs else octets

    def parsed(self, octets: bytes) -> Body:
        """The same as a parser of the whole would have given it."""
        return self._put_back(octets, [run.parsed() if isinstance(run, Run) else run for run in self._runs]) if self._runs else octets

    def canonical(self, element: etree._Element, *, inclusive_prefixes: Sequence[str] = ()) -> Body:
        """The exclusive C14N of ``element``, which stands in a tree of the emptied document."""
        return self.parsed(canonicalize(element, inclusive_prefixes=inclusive_prefixes))

    def document(self, element: etree._Element) -> Body:
        """``element`` as a document of its own: its exclusive C14N, with the declarations that only values use, which may be another's."""
        return self.canonical(element, inclusive_prefixes=value_prefixes(element))

    def attached(self, element: etree._Element) -> Body | None:
        """The part whose base64 is the element's whole text, if that is what stands there: nothing need be decoded."""
        text = self.filled((element.text or "").encode())
        match text.pieces if isinstance(text, Octets) else ():
            case (Encoded(body=body),):
                return joined(body)
        return None

    def text(self, element: etree._Element) -> Body:
        """The element's text."""
        return self.parsed((element.text or "").encode())

    def _put_back(self, octets: bytes, runs: Sequence[Piece]) -> Body:
        first, *others = octets.split(self._mark)
        pieces: list[Piece] = [first]
        for after in others:
            pieces += (runs[int(after[:_NUMBER], 16)], after[_NUMBER:])
        return joined(*pieces)

    def _without_files(self, data: Chunk) -> list[Chunk]:
        view = memoryview(data)
        left: list[Chunk] = []
        done = position = 0
        while found := _FILE.search(view, position):
            position = _end(view, found.end())
            if position - found.end() < SHORTEST or not _is_base64(view[found.end() : position]):
                continue
            kept = _KEPT.match(view, found.end(), position)
            if kept is not None:
                left += (view[done : kept.end()], self.stand_in(Run(view[kept.end() : position])))
                done = position
        return [*left, view[done:]]


def _end(view: memoryview, begin: int) -> int:
    """Where the text that begins here ends: at the next tag."""
    found = _TAG.search(view, begin)
    return found.start() if found else len(view)


def _is_base64(text: memoryview) -> bool:
    return not any(bytes(chunk).translate(None, _BASE64) for chunk in chunks(text))


def canonical_form(document: Body) -> Body:
    """The exclusive C14N of a whole document. Raises what ``xmlio.parse`` raises."""
    return forms(document)[0]


def forms(document: Body) -> tuple[Body, Body]:
    """The exclusive C14N of a whole document, and the document as ``Hollow.document`` has it: mostly the same."""
    hollow = Hollow()
    root = parse(hollow.emptied(document))
    canonical = hollow.canonical(root)
    return canonical, hollow.document(root) if value_prefixes(root) else canonical
