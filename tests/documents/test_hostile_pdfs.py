"""PDFs that are made to harm their reader: each ends as "unreadable" within its bounds, and the next PDF is read as if nothing had been."""

import io
import os
import random
import resource
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from signed_pdfs import NOW, People, sign, unsigned

from bus.errors import Deferred
from bus.pdf import Inspector, Limits, State

THEN = NOW + timedelta(minutes=5)
#: What the pre-check looks for: without it nothing is parsed at all.
MARK = b"\n% /ByteRange\n"


def written(*objects: bytes, trailer: bytes = b"/Root 1 0 R", mark: bytes = MARK) -> bytes:
    """A PDF of these objects, its cross-reference table right."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n" + mark)
    places = []
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer\n<< /Size %d %b >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start))
    return out.getvalue()


def stream(entries: bytes, data: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (entries, len(data), data)


CATALOG = b"<< /Type /Catalog /Pages 2 0 R /AcroForm 3 0 R >>"
PAGES = b"<< /Type /Pages /Kids [] /Count 0 >>"


def fields_that_contain_themselves() -> bytes:
    return written(CATALOG, PAGES, b"<< /Fields [4 0 R] >>", b"<< /T (a) /Kids [4 0 R 4 0 R] /FT /Sig >>")


def a_deep_array() -> bytes:
    return written(b"<< /Type /Catalog /AcroForm " + b"[" * 100_000 + b"]" * 100_000 + b" >>")


def deep_fields() -> bytes:
    chain = [b"<< /T (a) /Kids [%d 0 R] >>" % number for number in range(5, 20_004)]
    return written(CATALOG, PAGES, b"<< /Fields [4 0 R] >>", *chain, b"<< /T (z) /FT /Sig >>")


def fields_that_double() -> bytes:
    """Forty levels of two children each, which are the same: a million million paths."""
    levels = [b"<< /T (a) /Kids [%d 0 R %d 0 R] >>" % (number, number) for number in range(5, 45)]
    return written(CATALOG, PAGES, b"<< /Fields [4 0 R] >>", *levels, b"<< /T (z) /FT /Sig /V 1 0 R >>")


def a_loop_of_tables() -> bytes:
    made = written(CATALOG, PAGES, b"<< >>")
    start = made[made.rindex(b"startxref") + 10 :].split(b"\n")[0]
    return made.replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev " + start)


def a_reference_to_itself() -> bytes:
    return written(CATALOG, PAGES, b"3 0 R")


def a_bomb_of_revocation_lists() -> bytes:
    """A security store with a stream of 200 kB that unpacks to 200 MB."""
    catalog = b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [] >> /DSS << /CRLs [3 0 R] >> >>"
    return written(catalog, PAGES, stream(b"/Filter /FlateDecode", zlib.compress(bytes(200 << 20), 9)))


def a_bomb_of_references() -> bytes:
    """A cross-reference stream that unpacks to 120 MB of entries."""
    packed = zlib.compress(bytes(120 << 20), 1)
    entries = b"/Type /XRef /W [1 4 2] /Index [0 17000000] /Size 17000000 /Root 1 0 R /Filter /FlateDecode"
    made = b"%PDF-1.7\n" + MARK
    return made + b"1 0 obj\n%b\nendobj\nstartxref\n%d\n%%%%EOF\n" % (stream(entries, packed), len(made))


def many_objects() -> bytes:
    """Ten million octets of small objects."""
    return written(CATALOG, PAGES, b"<< /Fields [] >>", *(b"<</A 1>>" for _ in range(200_000)))


def a_huge_array_of_fields() -> bytes:
    return written(CATALOG, PAGES, b"<< /Fields [%b] >>" % (b"4 0 R " * 4_000_000), b"<< /T (a) /FT /Sig /V 1 0 R >>")


def many_signatures() -> bytes:
    fields = b" ".join(b"%d 0 R" % (number + 5) for number in range(1000))
    one = b"<< /Type /Sig /SubFilter /ETSI.CAdES.detached /ByteRange [0 1 2 3] /Contents <00> >>"
    each = (b"<< /T (a%d) /FT /Sig /V 4 0 R >>" % number for number in range(1000))
    return written(CATALOG, PAGES, b"<< /Fields [%b] >>" % fields, one, *each)


def nothing_but_the_header() -> bytes:
    return b"%PDF-1.7" + MARK


def noise() -> bytes:
    return b"%PDF-1.7" + MARK + random.Random(7).randbytes(100_000) + b"\nstartxref\n9\n%%EOF"


def a_number_without_end() -> bytes:
    return written(CATALOG, PAGES, b"<< /Fields " + b"9" * 5_000_000 + b" >>")


MADE = [
    fields_that_contain_themselves,
    a_deep_array,
    deep_fields,
    fields_that_double,
    a_loop_of_tables,
    a_reference_to_itself,
    a_bomb_of_revocation_lists,
    a_bomb_of_references,
    many_objects,
    a_huge_array_of_fields,
    many_signatures,
    nothing_but_the_header,
    noise,
    a_number_without_end,
]
#: Small, so that the tests are quick: what holds for one second holds for five.
BOUNDS = Limits(seconds=1)


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_a_hostile_pdf_harms_nobody(officials: People, inspector: Inspector, make: Callable[[], bytes]) -> None:
    """No verdict but unsigned or unreadable, a good signature never; in bounded time; and the process still reads the next one."""
    found, seconds = inspector.inspect(make(), officials.anchors, THEN, BOUNDS)
    assert found.state in {State.UNREADABLE, State.UNSIGNED, State.SIGNED}
    assert not any(one.valid for one in found.signatures)
    assert found.state is not State.UNREADABLE or found.detail
    assert seconds < 2.5
    assert inspector.inspect(sign(unsigned(), officials.ec), officials.anchors, THEN)[0].signatures[0].trusted


@pytest.fixture
def process(inspector: Inspector, officials: People) -> int:
    """The id of the reading process."""
    inspector.inspect(sign(unsigned(), officials.ec), officials.anchors, THEN)
    return inspector._process.pid


def test_what_takes_too_long_is_unreadable(officials: People, inspector: Inspector) -> None:
    """A form of four million fields is given up after the seconds it may take."""
    found, _ = inspector.inspect(a_huge_array_of_fields(), officials.anchors, THEN, BOUNDS)
    assert (found.state, found.detail) == (State.UNREADABLE, "takes more than 1 s to read")


def test_what_takes_too_much_memory_is_unreadable(officials: People, inspector: Inspector) -> None:
    """A PDF whose references do not fit into the memory allowed; what it took is gone with its fork."""
    found, _ = inspector.inspect(many_objects(), officials.anchors, THEN, Limits(memory=100 << 20))
    assert (found.state, found.detail) == (State.UNREADABLE, "takes more than 100 MiB to read")


def test_the_reading_process_stays_as_small_as_it_was(officials: People, inspector: Inspector, process: int) -> None:
    """It reads nothing itself: after a bomb it holds no more memory than before."""
    before = resident(process)
    inspector.inspect(a_huge_array_of_fields(), officials.anchors, THEN, BOUNDS)
    inspector.inspect(many_objects(), officials.anchors, THEN, BOUNDS)
    assert resident(process) < before + 16_000


def test_the_reading_process_has_nothing_of_ours(process: int) -> None:
    """No environment of the bus, no files but the line, another session: what breaks out of the parser finds no keys."""
    environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    assert {each.partition(b"=")[0] for each in environment} <= {b"PYTHONPATH", b"TZ", b"LC_CTYPE", b"MALLOC_MMAP_THRESHOLD_", b""}
    opened = [os.readlink(f"/proc/{process}/fd/{number}") for number in os.listdir(f"/proc/{process}/fd")]
    assert all(each.startswith(("socket:", "/dev/null")) for each in opened), opened
    assert os.getsid(process) == process


def test_a_reading_process_that_was_killed_is_replaced(officials: People, inspector: Inspector, process: int) -> None:
    """The next PDF is read by a new one."""
    os.kill(process, 9)
    assert inspector.inspect(sign(unsigned(), officials.ec), officials.anchors, THEN)[0].signatures[0].trusted
    assert inspector._process.pid != process


def test_no_answer_in_time_is_our_matter(officials: People) -> None:
    """A machine that cannot read now defers the message: 4.3.2, and no process is left behind."""
    impatient = Inspector(patience=0.0001)
    with pytest.raises(Deferred, match=r"4\.3\.2"):
        impatient.inspect(sign(unsigned(), officials.ec), officials.anchors, THEN)
    assert impatient._process is None


@pytest.fixture
def damaged(officials: People) -> Iterator[bytes]:
    """A signed PDF with octets changed, lost and added at places that a seed chooses."""
    good = sign(unsigned(2000), officials.rsa)
    chance = random.Random(2026)

    def one() -> bytes:
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place : place + chance.randint(1, 50)]
                case _:
                    data[place:place] = data[chance.randrange(len(data)) :][: chance.randint(1, 50)]
        return bytes(data)

    return (one() for _ in range(60))


def test_damaged_pdfs_never_end_in_anything_but_a_report(officials: People, inspector: Inspector, damaged: Iterator[bytes]) -> None:
    """Whatever was changed: an answer, and no signature trusted whose octets are not intact."""
    for data in damaged:
        found, _ = inspector.inspect(data, officials.anchors, THEN)
        assert all(one.intact for one in found.signatures if one.trusted)


def resident(process: int) -> int:
    """Kilobytes of memory that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024
