"""The contract as served: whole, self-contained, with the address as the client reached it; and as a foreign stack reads it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import zeep
from lxml import etree
from soap_rig import Rig
from zeep.transports import Transport

from adapters.soap.contract import Contract
from bus.schemas import Library

SCHEMAS = Path(__file__).resolve().parent.parent.parent / "schemas"
ADDRESS = "https://bus.example:8443/soap/documents"


@pytest.fixture
def contract() -> Contract:
    return Contract(Library(SCHEMAS), "exchange/v1/exchange.wsdl")


class Served(Transport):
    """zeep's transport, fed by the contract alone: any other address is an error."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract

    def load(self, url: str) -> bytes:
        address, query = url.partition("?")[0], parse_qs(urlsplit(url).query, keep_blank_values=True)
        assert address == ADDRESS, f"the contract refers to {url}"
        if "wsdl" in query:
            return self.contract.wsdl(ADDRESS)
        schema = self.contract.schema(query["xsd"][0], ADDRESS)
        assert schema is not None
        return schema


def test_a_client_needs_nothing_but_what_is_served(contract: Contract) -> None:
    """zeep loads it whole, offline, and finds the six operations in both versions."""
    client = zeep.Client(f"{ADDRESS}?wsdl", transport=Served(contract))
    (service,) = client.wsdl.services.values()
    operations = {name: sorted(port.binding._operations) for name, port in service.ports.items()}
    six = ["ConfirmReceived", "GetDocument", "GetOrganizations", "GetPendingDocumentIds", "GetReceipts", "SendDocument"]
    assert operations == {"ExchangeSoap11": six, "ExchangeSoap12": six}
    assert {port.binding_options["address"] for port in service.ports.values()} == {ADDRESS}


def test_zeep_writes_an_edxml_element_inline(contract: Contract) -> None:
    """The wildcard takes an lxml element."""
    client = zeep.Client(f"{ADDRESS}?wsdl", transport=Served(contract))
    document = etree.fromstring('<edXML xmlns="http://www.mic.gov.vn/TBT/QCVN_102_2016"/>')
    message = client.create_message(client.service, "SendDocument", MessageId="1", Document={"_value_1": document})
    assert message.find(".//{http://www.mic.gov.vn/TBT/QCVN_102_2016}edXML") is not None


def references(document: bytes) -> Iterator[str]:
    for element in etree.fromstring(document).iter():
        for name in ("schemaLocation", "location"):
            yield from filter(None, [element.get(name)])


def test_nothing_that_is_served_points_elsewhere(contract: Contract) -> None:
    """Every reference of the WSDL and of every schema leads back to the address that the client used."""
    waiting, seen = [contract.wsdl(ADDRESS)], set()
    while waiting:
        for reference in references(waiting.pop()):
            assert reference.split("?")[0] == ADDRESS
            name = reference.partition("?xsd=")[2]
            if name and name not in seen:
                seen.add(name)
                waiting.append(contract.schema(name, ADDRESS) or b"")
    assert seen == {"exchange.xsd", "fault.xsd", "receipt.xsd", "xml.xsd"}


@pytest.mark.parametrize("name", ["../../routes.yaml", "exchange.wsdl", "", "nothing.xsd"])
def test_only_what_the_contract_reaches_is_served(contract: Contract, name: str) -> None:
    """A request names no path."""
    assert contract.schema(name, ADDRESS) is None


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"c.wsdl": "<a"}, "c.wsdl"),
        ({"c.wsdl": "<!DOCTYPE a><a/>"}, "DOCTYPE"),
        (
            {
                "c.wsdl": '<s:schema xmlns:s="http://www.w3.org/2001/XMLSchema"><s:import schemaLocation="http://x.example/a.xsd"/></s:schema>'
            },
            "a.xsd",
        ),
        ({"c.wsdl": '<s:schema xmlns:s="http://www.w3.org/2001/XMLSchema"><s:import schemaLocation="../a.xsd"/></s:schema>'}, "outside"),
    ],
)
def test_a_contract_that_cannot_be_served_is_found_when_the_site_is_loaded(tmp_path: Path, files: dict[str, str], named: str) -> None:
    """A missing file, bad XML, a reference to somewhere else."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=named):
        Contract(Library(tmp_path), "c.wsdl")


@pytest.mark.parametrize("query", ["wsdl", "WSDL", "singleWsdl", "wsdl=1"])
async def test_the_door_serves_the_wsdl_in_every_spelling(make_rig: Callable[..., Rig], query: str) -> None:
    """With the host that the request named."""
    response = await make_rig().request("GET", query=query)
    assert (response.status, response.content_type) == (200, "text/xml; charset=utf-8")
    assert b'location="https://bus.example:8443/soap/documents"' in response.body


async def test_the_door_serves_schemas_by_name(make_rig: Callable[..., Rig]) -> None:
    """And says so when there is none."""
    rig = make_rig()
    assert [(await rig.request("GET", query=f"xsd={name}")).status for name in ("exchange.xsd", "receipt.xsd", "other.xsd")] == [
        200,
        200,
        404,
    ]


def test_the_schemas_compile_and_judge_their_examples() -> None:
    """Each valid example is valid, each invalid one is not."""
    library = Library(SCHEMAS)
    for name in ("exchange/v1/exchange.xsd", "fault/v1/fault.xsd"):
        schema = library.schema(name)
        examples = sorted((SCHEMAS / name).parent.glob("examples/*.xml"))
        assert examples
        for example in examples:
            assert schema.validate(etree.parse(str(example))) == example.name.startswith("valid-"), example
