"""Each step by itself, on real parts of the reference site."""

import hashlib
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree
from routing_messages import NOW, document, received
from tsa_server import Authority

from bus import edxml, timestamps, xmlio
from bus.errors import Rejected
from bus.exchange import Exchange, Step
from bus.keys import Keyring
from bus.message import KIND, KIND_OTHER, Message
from bus.signature import xades, xmldsig, xmldsig_by_id
from bus.signer import Signer
from bus.site import Site
from bus.steps import authorize, enrich, sign, trace, transform, validate, verify, wiretap
from sandbox import documents

UNIT, OFFICE = "000.00.01.G14", "000.00.00.G22"


def exchange(body: bytes, partner: str = "telecom-authority") -> Exchange:
    message = received(body, partner)
    return Exchange(message=message, original=message, route="r", now=NOW)


def partner_signer(site: Site, partner: str, tmp_path: Path) -> Signer:
    """The partner's own key, from the development PKI."""
    own = tmp_path / "own"
    own.mkdir()
    for suffix in ("key", "crt"):
        shutil.copy(site.root / "certs" / "development" / partner / f"system.{suffix}", own / f"system.{suffix}")
    return Keyring.load(tmp_path, {}).signer("own/system")


def step(module: object, site: Site, **options: object) -> Step:
    made: Step = module.build(module.Options.model_validate(options), site)  # type: ignore[attr-defined]
    return made


def test_trace_adds_our_hop_and_touches_nothing_else(site: Site) -> None:
    """One more TraceHeader, in Vietnam's time; every other octet as it came."""
    before = exchange(document(UNIT, OFFICE))
    after = step(trace, site)(before).message.body
    added = b"<TraceHeader><OrganId>000.00.00.G14</OrganId><Timestamp>2026/11/20 09:00:00</Timestamp></TraceHeader>"
    assert after.replace(added, b"") == before.message.body != after


def test_trace_leaves_alone_what_is_no_document(site: Site) -> None:
    """Not edXML, no hop."""
    before = exchange(document(UNIT, OFFICE))
    other = Exchange(before.message.with_body(b"<a/>").with_headers(**{KIND: KIND_OTHER}), before.original, "r", NOW)
    assert step(trace, site)(other) == other


def test_messages_with_the_same_octets_share_one_tree(site: Site) -> None:
    """A body read at the door is not parsed again on its next hop; who wants to change a tree gets one of its own."""
    body = document(UNIT, OFFICE)
    here, there = exchange(body).message, exchange(bytes(bytearray(body))).message
    assert here.tree is there.tree
    assert len({here.tree, here.own_outline(), there.own_outline(), exchange(body).message.own_outline()}) == 4


def test_transform_does_not_change_the_tree_it_was_given(site: Site) -> None:
    """The message is read-only: the same tree serves the next step, even for a stylesheet that strips white space."""
    before = exchange(document(UNIT, OFFICE))
    tree = etree.tostring(before.message.tree)
    step(transform, site, stylesheet="edxml/v1/normalise.xsl")(before)
    assert etree.tostring(before.message.tree) == tree


def test_transform_is_repeatable_and_names_its_stylesheet(site: Site) -> None:
    """Same octets in, same octets out; history says by which stylesheet, to the octet."""
    apply = step(transform, site, stylesheet="edxml/v1/normalise.xsl", schema="edxml/v1/document.xsd")
    first, second = apply(exchange(document(UNIT, OFFICE))), apply(exchange(document(UNIT, OFFICE)))
    assert first.message.body == second.message.body
    assert first.history == (f"transform schemas/edxml/v1/normalise.xsl sha256:{site.library.digest('edxml/v1/normalise.xsl')}",)


def test_transform_refuses_a_result_that_is_not_valid(site: Site) -> None:
    """What a stylesheet makes of a bad document does not leave."""
    with pytest.raises(Rejected) as caught:
        step(transform, site, stylesheet="edxml/v1/normalise.xsl", schema="edxml/v1/document.xsd")(
            exchange(document(UNIT, OFFICE).replace(b"Subject>", b"Content>"))
        )
    assert caught.value.code == "5.6.3"


def test_validate_passes_the_message_on_as_it_is(site: Site) -> None:
    """A check changes nothing but the history."""
    before = exchange(document(UNIT, OFFICE))
    assert step(validate, site, schema="edxml/v1/document.xsd", files=True)(before).message is before.message


def test_authorize_takes_a_code_in_either_form(site: Site) -> None:
    """The partner declared by its old code may sign with its new one, and the other way round."""
    assert step(authorize, site, sender="From/OrganId")(exchange(document("G22", UNIT), "government-office")).history == ("authorize",)


@pytest.mark.parametrize("partner", ["digital-agency", "", "unheard-of"])
def test_authorize_refuses_a_sender_who_is_somebody_else(site: Site, partner: str) -> None:
    """What the message claims must be what the door has proved."""
    with pytest.raises(Rejected) as caught:
        step(authorize, site, sender="From/OrganId")(exchange(document(UNIT, OFFICE), partner))
    assert caught.value.code == "5.7.1"


def test_authorize_refuses_a_message_that_names_no_sender(site: Site) -> None:
    """No code found is not the same as nothing to check."""
    with pytest.raises(Rejected) as caught:
        step(authorize, site, sender="X/OrganId")(exchange(document(UNIT, OFFICE)))
    assert caught.value.code == "5.7.1"


def test_authorize_refuses_a_message_that_names_no_receiver(site: Site) -> None:
    """A document for nobody is refused at the door."""
    with pytest.raises(Rejected) as caught:
        step(authorize, site, receivers="X/OrganId")(exchange(document(UNIT, OFFICE)))
    assert caught.value.code == "5.1.3"


def test_a_message_of_no_format_claims_no_sender(site: Site) -> None:
    """What is edXML has to name its sender; anything else is the partner's own, whatever its elements are called."""
    named = exchange(document(UNIT, OFFICE))
    assert authorize.of_format(site)(named).history == ("authorize",)
    nameless = replace(named, message=named.message.with_body(document("", OFFICE)))
    with pytest.raises(Rejected, match=r"5\.7\.1"):
        authorize.of_format(site)(nameless)
    other = named.message.with_body(f"<Tin><From><OrganId>{OFFICE}</OrganId></From></Tin>".encode()).with_headers(kind=KIND_OTHER)
    assert authorize.of_format(site)(replace(named, message=other)).history == ()


def test_enrich_names_whoever_is_given_by_code_only(site: Site) -> None:
    """A missing name comes from the code book; one that is there stays."""
    body = document(UNIT, "G01").replace("<OrganName>Nơi nhận</OrganName>".encode(), b"")
    tree = edxml.parse(step(enrich, site)(exchange(body)).message.body)
    assert [name.text for name in tree.iter("{*}OrganName")] == ["Đơn vị gửi", "Bộ Công an"]
    site.library.validate("edxml/v1/document.xsd", tree)


def test_enrich_leaves_a_complete_message_octet_for_octet(site: Site) -> None:
    """Nothing missing, nothing rewritten."""
    before = exchange(document(UNIT, OFFICE))
    assert step(enrich, site)(before).message is before.message


def test_wiretap_writes_digest_and_note_and_passes_the_message_on(site: Site) -> None:
    """The journal proves later what the message was here."""
    before = exchange(document(UNIT, OFFICE))
    after = step(wiretap, site, name="before", note="DocumentId")(before)
    assert (after.taps, after.message) == ({"before": f"sha256:{before.message.digest} 000.00.01.G14,2026/11/20,12/CVT-VP"}, before.message)


def test_what_sign_signs_verifies(site: Site) -> None:
    """The document leaves with our own valid signature over all of it."""
    before = exchange(document(UNIT, OFFICE))
    signed = step(sign, site)(before).message.body
    verified = xades.verify(signed, site.keyring.own)
    assert verified.identity is True
    assert verified.octets == xmlio.canonicalize(before.message.tree)


@pytest.mark.parametrize("profile", ["xades", "xmldsig"])
@pytest.mark.parametrize("kind", ["receipt:v1}Receipt", "checkpoint:v1}Checkpoint", "backup:v1}Backup", "backup:v1}Other"])
def test_no_partner_has_our_own_statements_signed(site: Site, profile: str, kind: str) -> None:
    """A document that would be a receipt, a checkpoint or what vouches for a backup is not signed, whoever sent it."""
    namespace, _, name = kind.partition("}")
    message = Message("m", {}, f'<x:{name} xmlns:x="urn:govbus:{namespace}"><x:At/></x:{name}>'.encode())
    with pytest.raises(Rejected, match=r"5\.7\.1"):
        step(sign, site, profile=profile)(Exchange(message=message, original=message, route="r", now=NOW))


@pytest.mark.parametrize("profile", ["xades", "xmldsig"])
def test_verify_lets_only_the_signed_octets_on(site: Site, tmp_path: Path, profile: str) -> None:
    """What continues is what the sender's signature covers, without the signature."""
    signer = partner_signer(site, "telecom-authority", tmp_path)
    body = document(UNIT, OFFICE)
    signed = xades.sign(body, signer, NOW) if profile == "xades" else xmldsig.sign_enveloped(body, signer)
    now = site.clock()
    message = received(signed, "telecom-authority")
    after = step(verify, site, profile=profile)(Exchange(message, message, "r", now))
    assert after.message.body == xmlio.canonicalize(xmlio.parse(body))


def test_one_element_is_signed_and_alone_goes_on(site: Site, tmp_path: Path) -> None:
    """By Id: what continues is the element that was named, as a document of its own; what stood around it does not."""
    place = {"profile": "xmldsig-by-id", "element": "edXMLEnvelope"}
    ours = step(sign, site, method="rsa-sha512", **place)(exchange(document(UNIT, OFFICE)))
    assert ours.history[-1] == "sign xmldsig-by-id own/bus rsa-sha512"
    assert b"rsa-sha512" in ours.message.body
    signer = partner_signer(site, "telecom-authority", tmp_path)
    signed = xmldsig_by_id.sign(document(UNIT, OFFICE), place["element"], signer)
    message = received(signed, "telecom-authority")
    after = step(verify, site, **place)(Exchange(message, message, "r", site.clock()))
    assert after.message.body == xmlio.canonicalize(xmlio.parse(signed)[0])


@pytest.mark.parametrize("options", [{"profile": "xmldsig-by-id"}, {"element": "a"}, {"profile": "xmldsig-by-id", "element": "//a"}])
def test_a_place_is_named_where_one_element_is_signed_and_nowhere_else(site: Site, options: dict[str, str]) -> None:
    """Neither key without the other, and a place is names, not XPath."""
    for module in (sign, verify):
        with pytest.raises(ValueError, match=r"need each other|match pattern"):
            step(module, site, **options)


def test_verify_demands_that_the_signer_is_the_sender(site: Site, tmp_path: Path) -> None:
    """A document signed by one unit and sent by another is refused, unless any partner's signature is wanted."""
    signed = xades.sign(document(UNIT, OFFICE), partner_signer(site, "telecom-authority", tmp_path), NOW)
    message = received(signed, "digital-agency")
    given = Exchange(message, message, "r", site.clock())
    with pytest.raises(Rejected) as caught:
        step(verify, site)(given)
    assert (caught.value.key, step(verify, site, by="partner")(given).history) == ("signer-not-sender", ("verify xades telecom-authority",))


def test_verify_refuses_an_unsigned_and_a_changed_document(site: Site, tmp_path: Path) -> None:
    """No signature, or one character changed after it: 5.7.x."""
    signed = xades.sign(document(UNIT, OFFICE), partner_signer(site, "telecom-authority", tmp_path), NOW + timedelta(0))
    for body in (document(UNIT, OFFICE), signed.replace(b"<SteeringType>1", b"<SteeringType>2")):
        message = received(body, "telecom-authority")
        with pytest.raises(Rejected) as caught:
            step(verify, site)(Exchange(message, message, "r", site.clock()))
        assert caught.value.code.startswith("5.7.")


def test_a_document_in_another_order_is_valid_where_a_stylesheet_can_order_it(site: Site) -> None:
    """The standard numbers DocumentId last, the schema wants it early: valid in that order with `normalised-by`; invalid without."""
    good = documents.make(size=5_000)
    start, end = good.index(b"<edXML:DocumentId>"), good.index(b"</edXML:DocumentId>") + len(b"</edXML:DocumentId>")
    moved = (good[:start] + good[end:]).replace(b"</edXML:MessageHeader>", good[start:end] + b"</edXML:MessageHeader>", 1)
    schema = {"schema": "edxml/v1/document.xsd"}
    with pytest.raises(Rejected, match=r"5\.6\.3"):
        step(validate, site, **schema)(exchange(moved))
    tolerant = step(validate, site, **schema, **{"normalised-by": "edxml/v1/normalise.xsl"})
    passed = tolerant(exchange(moved))
    assert passed.original.body == moved
    assert step(validate, site, **schema)(exchange(passed.message.body)).message.body == passed.message.body
    assert edxml.read(passed.message.tree) == edxml.read(edxml.parse(good))


def test_verify_demands_a_time_stamp_of_the_sites_own_authority(site: Site, tmp_path: Path) -> None:
    """B-T: a token over the signature, by the authority in ``timestamps`` and no other; its time is in the history."""
    now = site.clock().replace(microsecond=0)
    authority, stranger = Authority(now), Authority(now)
    stamping = replace(site, timestamps=timestamps.Authority("http://127.0.0.1:1/", tuple(authority.anchors()), timedelta(minutes=10)))
    signed = xades.sign(document(UNIT, OFFICE), partner_signer(site, "telecom-authority", tmp_path), now)
    demanding = step(verify, stamping, level="B-T")

    def stamped(by: Authority, over: bytes) -> Exchange:
        return replace(exchange(xades.with_timestamp(signed, by.token(hashlib.sha256(over).digest(), now))), now=now)

    octets = xades.time_stamped(signed)
    assert demanding(stamped(authority, octets)).history == (f"verify xades telecom-authority time-stamped {now.isoformat()}",)
    for refused in (replace(exchange(signed), now=now), stamped(stranger, octets), stamped(authority, octets + b" ")):
        with pytest.raises(Rejected) as refusal:
            demanding(refused)
        assert refusal.value.key in {"signature-invalid", "timestamp-invalid"}
    with pytest.raises(ValueError, match="needs 'timestamps'"):
        step(verify, site, level="B-T")
    with pytest.raises(ValueError, match="profile: xades"):
        step(verify, stamping, level="B-T", profile="xmldsig")
