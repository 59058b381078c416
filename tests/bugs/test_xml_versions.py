"""XML 1.1 is refused by name: libxml2 would read it as 1.0, which has other line ends and control characters."""

from itertools import count

import pytest
from forms_rig import bus, forms_certs, refused  # noqa: F401 - fixtures
from soap_rig import Rig, document

from adapters.soap import payloads
from bus import edxml, xmlio
from bus.errors import Rejected
from bus.octets import whole

BODY = "<r/>"
VERSIONS = ["1.1", "1.2", "2.0", "1.00", "1", "", " 1.0"]
NUMBERS = count(1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_another_version_is_refused_and_named(version: str, codec: str, quote: str) -> None:
    """In every encoding and either quote, with a code of its own family."""
    encoding = f" encoding={quote}{codec.removesuffix('-sig')}{quote}"
    with pytest.raises(Rejected) as raised:
        xmlio.parse(f"<?xml  version = {quote}{version}{quote}{encoding}?>{BODY}".encode(codec))
    assert (raised.value.key, raised.value.code) == ("xml-version", "5.6.0")
    assert f"XML version {version} " in raised.value.reason("en")


@pytest.mark.parametrize("declaration", ["", "<?xml version='1.0'?>", '<?xml version = "1.0" standalone="yes"?>'])
def test_the_version_that_we_read_is_read(declaration: str) -> None:
    """With and without a declaration."""
    assert xmlio.parse(f"{declaration}{BODY}".encode()).tag == "r"


@pytest.mark.parametrize("octets", [b"<r>\x85</r>", "<r>a\u0085b\u2028c</r>".encode(), b"<r>&#1;</r>", b"<r>&#x85;</r>"])
def test_what_only_the_other_version_has_means_nothing_else_here(octets: bytes) -> None:
    """NEL and the line separator are characters, control characters are none: as XML 1.0 has it."""
    try:
        text = xmlio.parse(octets).text
    except Rejected as error:
        assert error.code == "5.6.0"
    else:
        assert "\n" not in (text or "")


@pytest.mark.parametrize("front", ["", "stray text\n"])
def test_the_tolerant_parser_is_no_way_round(front: str) -> None:
    """Stray text before the declaration is cut off, the declaration is not."""
    with pytest.raises(Rejected, match=r"version 1\.1"):
        edxml.parse(f'{front}<?xml version="1.1"?>'.encode() + document())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_document_and_an_envelope_of_another_version_are_refused(bus: Rig) -> None:  # noqa: F811
    """The file within Content and the envelope around it, each with the sentence that says what to send."""
    plain = document(next(NUMBERS))
    inside = bus.signed(whole(payloads.send_content("v-1", b'<?xml version="1.1" encoding="UTF-8"?>' + plain)))
    outside = bus.signed(whole(payloads.send_content("v-2", plain)))
    outside = (
        b'<?xml version="1.1" encoding="UTF-8"?>' + outside.partition(b"?>")[2]
        if outside.startswith(b"<?xml")
        else b'<?xml version="1.1"?>' + outside
    )
    for data in (inside, outside):
        said = refused(await bus.post(data))
        assert said.startswith("5.6.0")
        assert "send XML 1.0" in said
