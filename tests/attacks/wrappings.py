"""Signature wrapping: the signed element stays somewhere in the message, and a forged one lies where the bus looks (XSW1-8, transplanted).

After McIntosh and Austel, "XML Signature Element Wrapping Attacks and Countermeasures" (2005), and Somorovsky et al., "On Breaking SAML"
(2012): every place for the original × every way to (un)name the forgery, for the Body and for the Timestamp.
"""

import copy
from collections.abc import Callable, Iterator

from attacker import DS, ID, Mutation, security
from lxml import etree

from bus.signature.profile import WSU

Place = Callable[[etree._Element, etree._Element, etree._Element], None]
Naming = Callable[[etree._Element], None]


def _header(root: etree._Element) -> etree._Element:
    return root[0]


def _in(parent: Callable[[etree._Element], etree._Element], wrapper: str = "") -> Place:
    def place(root: etree._Element, original: etree._Element, _forged: etree._Element) -> None:
        holder = etree.SubElement(parent(root), wrapper) if wrapper else parent(root)
        holder.append(original)

    return place


def _signature(root: etree._Element) -> etree._Element:
    found = root.find(f".//{DS}Signature")
    assert found is not None
    return found


#: Where the signed original goes.
PLACES: dict[str, Place] = {
    "a Header child": _in(_header),
    "a wrapper in Header": _in(_header, "wrapper"),
    "Security": _in(security),
    "a wrapper in Security": _in(security, "{urn:x}wrapper"),
    "Signature/Object": _in(_signature, f"{DS}Object"),
    "KeyInfo": _in(lambda root: _signature(root).find(f"{DS}KeyInfo")),  # type: ignore[arg-type, return-value]
    "the forgery": lambda _root, original, forged: forged.append(original),
    "a wrapper in the forgery": lambda _root, original, forged: etree.SubElement(forged, "wrapper").append(original),
    "before the forgery": lambda _root, original, forged: forged.addprevious(original),
    "after the forgery": lambda _root, original, forged: forged.addnext(original),
    "a Header of its own": lambda root, original, _forged: etree.SubElement(root, root[0].tag).append(original),
}


def _named(name: str) -> Naming:
    def naming(forged: etree._Element) -> None:
        value = forged.attrib.pop(ID, "x")
        forged.set(name, str(value))

    return naming


#: What the forgery is called.
NAMINGS: dict[str, Naming] = {
    "the same wsu:Id": lambda forged: None,
    "another wsu:Id": lambda forged: forged.set(ID, "other"),
    "no Id": lambda forged: forged.attrib.pop(ID, None) and None,
    "the Id as Id": _named("Id"),
    "the Id as ID": _named("ID"),
    "the Id as id": _named("id"),
    "the Id as xml:id": _named("{http://www.w3.org/XML/1998/namespace}id"),
    "the Id as AssertionID": _named("AssertionID"),
}


def _body(root: etree._Element) -> etree._Element:
    return root[1]


def _timestamp(root: etree._Element) -> etree._Element:
    found = root.find(f".//{{{WSU}}}Timestamp")
    assert found is not None
    return found


def _forged_body(original: etree._Element) -> etree._Element:
    forged = copy.deepcopy(original)
    for text in forged.iter():
        if text.tag.endswith("}MessageId"):
            text.text = "forged"
    return forged


def _forged_timestamp(original: etree._Element) -> etree._Element:
    forged = copy.deepcopy(original)
    for moment in forged:
        moment.text = (moment.text or "").replace("T", "T", 1)
    etree.SubElement(forged, "{urn:x}more")
    return forged


TARGETS = {"Body": (_body, _forged_body), "Timestamp": (_timestamp, _forged_timestamp)}


def mutations() -> Iterator[tuple[str, Mutation]]:
    """Each target × place × naming."""
    for target, (find, forge) in TARGETS.items():
        for place, put in PLACES.items():
            for naming, name in NAMINGS.items():

                def mutate(root: etree._Element, find=find, forge=forge, put=put, name=name) -> None:  # type: ignore[no-untyped-def]
                    original = find(root)
                    forged = forge(original)
                    name(forged)
                    parent = original.getparent()
                    assert parent is not None
                    parent.replace(original, forged)
                    put(root, original, forged)

                yield f"{target} in {place}, forgery with {naming}", mutate


def whole(root: etree._Element) -> bytes:
    """A signed envelope inside the Body of a forged one."""
    outer = copy.deepcopy(root)
    body = outer[1]
    for child in list(body):
        body.remove(child)
    body.set(ID, "other")
    body.append(root)
    return etree.tostring(outer)
