"""zeep, a foreign SOAP stack, against the real daemon by nothing but its WSDL address; signed and verified by xmlsec, not by us."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import xmlsec
import zeep
from lxml import etree
from soap_rig import document
from zeep.transports import Transport
from zeep.wsse.signature import BinarySignature
from zeep.wsse.utils import WSU, get_security_header

from bus import scaffold
from sandbox.process import BusProcess

SENDER, RECEIVER = ("telecom-authority", "000.00.01.G14"), ("digital-agency", "000.00.02.G14")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BusProcess]:
    """``govbus run`` on a fresh reference site."""
    site = tmp_path_factory.mktemp("zeep") / "site"
    scaffold.create(site, datetime.now(UTC))
    with BusProcess(site) as process:
        yield process


class Signed(BinarySignature):
    """zeep's own X.509 token signature, with the Timestamp that zeep leaves to its users; replies are verified by xmlsec."""

    def __init__(self, keys: Path, authority: Path) -> None:
        super().__init__(
            str(keys / "system.key"),
            str(keys / "system.crt"),
            signature_method=xmlsec.Transform.RSA_SHA256,
            digest_method=xmlsec.Transform.SHA256,
        )
        self.authority = authority

    def apply(self, envelope: etree._Element, headers: dict[str, str]) -> tuple[etree._Element, dict[str, str]]:
        stamp = WSU.Timestamp()
        now = datetime.now(UTC)
        stamp.append(WSU.Created(now.strftime("%Y-%m-%dT%H:%M:%SZ")))
        stamp.append(WSU.Expires((now + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")))
        get_security_header(envelope).append(stamp)
        return super().apply(envelope, headers)

    def verify(self, envelope: etree._Element) -> etree._Element:
        """The reply's signature, by xmlsec, with the certificate in its token; which must be the bus's own."""
        token = envelope.find(".//{*}BinarySecurityToken")
        signature = envelope.find(".//{http://www.w3.org/2000/09/xmldsig#}Signature")
        assert token is not None
        assert signature is not None
        own = (self.authority / "bus.crt").read_text()
        assert "".join((token.text or "").split()) in "".join(own.split())
        context = xmlsec.SignatureContext()
        for element in envelope.iter():
            name = element.get("{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}Id")
            if name:
                context.register_id(element, "Id", "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd")
        context.key = xmlsec.Key.from_memory(f"{own[: own.index('-----END CERTIFICATE-----') + 25]}\n", xmlsec.KeyFormat.CERT_PEM)
        context.verify(signature)
        return envelope


def client(daemon: BusProcess, party: tuple[str, str], version: str, door: str) -> zeep.proxy.ServiceProxy:
    """zeep by the WSDL's address alone."""
    certs = daemon.site / "certs"
    session = requests.Session()
    # Else REQUESTS_CA_BUNDLE of the environment would win.
    session.trust_env = False
    session.verify = str(certs / "own" / "ca.crt")
    wsse = Signed(certs / "development" / party[0], certs / "own")
    made = zeep.Client(f"{daemon.url}/soap/{door}?wsdl", transport=Transport(session=session), wsse=wsse)
    return made.bind("ExchangeService", f"ExchangeSoap{version}")


@pytest.mark.parametrize("version", ["11", "12"])
def test_the_whole_contract_works_from_its_wsdl_alone(daemon: BusProcess, version: str) -> None:
    """Send inline and as content, list, fetch, confirm, receipts, organisations; faults with their detail."""
    body = document(int(version), sender=SENDER[1], receiver=RECEIVER[1])
    sender, receiver = client(daemon, SENDER, version, "documents"), client(daemon, RECEIVER, version, "inbox")
    receipt = sender.SendDocument(MessageId=f"zeep-{version}", Document={"_value_1": etree.fromstring(body)})
    assert (receipt.Status, receipt.MessageId) == ("ACCEPTED", f"zeep-{version}")
    with pytest.raises(zeep.exceptions.Fault) as raised:
        sender.SendDocument(MessageId=f"zeep-{version}", Content=document(99, sender=SENDER[1], receiver=RECEIVER[1]))
    assert b"5.6.9" in etree.tostring(raised.value.detail)

    entries: list[object] = []
    deadline = datetime.now(UTC) + timedelta(seconds=20)
    while not entries and datetime.now(UTC) < deadline:
        entries = [entry for entry in receiver.GetPendingDocumentIds(OrganId=RECEIVER[1]) or () if entry.Kind == "document"]
    fetched = receiver.GetDocument(MessageId=entries[0].MessageId)
    # lxml drops the second declaration of the document's namespace when zeep takes the element over: what was signed is what counts.
    assert hashlib.sha256(fetched.Content).hexdigest() == fetched.Sha256 == receipt.Sha256
    assert receiver.ConfirmReceived(MessageId=entries[0].MessageId, Status="done").Status == "CONFIRMED"
    assert next(one.Status for one in sender.GetReceipts(MessageId=f"zeep-{version}")) == "ACCEPTED"
    assert "000.00.00.G22" in {one.OrganId for one in sender.GetOrganizations()} | {one.OldOrganId for one in sender.GetOrganizations()}
