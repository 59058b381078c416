"""Contract: a WSDL and every schema it reaches, served whole, with the address as the client reached it.

Partners' machines are often offline, so what is served refers to nothing outside: imports point to ``?xsd=`` of the same address.
Only files that the WSDL itself reaches are ever served, by their bare names; a request cannot name a path.

Raises ``FileNotFoundError`` or ``ValueError`` while a site is loaded: a file is missing, not XML, or lies elsewhere.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.sax.saxutils import quoteattr

from lxml import etree

from bus import xmlio
from bus.errors import Rejected
from bus.schemas import Library

_SCHEMA = "http://www.w3.org/2001/XMLSchema"
_REFERENCES = frozenset(f"{{{_SCHEMA}}}{name}" for name in ("import", "include", "redefine"))
_WSDL_IMPORT = "{http://schemas.xmlsoap.org/wsdl/}import"
_ADDRESSES = frozenset(f"{{http://schemas.xmlsoap.org/wsdl/{binding}/}}address" for binding in ("soap", "soap12"))
#: Stands where the address goes until a client asks.
_HERE = "urn:govbus:here"


class Contract:
    """The files of one contract, ready to be served."""

    def __init__(self, library: Library, name: str) -> None:
        """``name``: the WSDL's path in the library."""
        self._schemas: dict[str, bytes] = {}
        self._paths: dict[str, PurePosixPath] = {}
        self._library = library
        self._wsdl = self._taken(PurePosixPath(name))

    def wsdl(self, address: str) -> bytes:
        """The WSDL for clients that reached us at ``address``."""
        return _placed(self._wsdl, address)

    def schema(self, name: str, address: str) -> bytes | None:
        """A schema that the WSDL reaches, by bare name; None when it reaches no such schema."""
        found = self._schemas.get(name)
        return None if found is None else _placed(found, address)

    def _taken(self, path: PurePosixPath) -> bytes:
        """The file with its references turned to ``?xsd=``, and everything it refers to taken up too."""
        try:
            root = xmlio.parse(self._library.read(str(path)))
        except Rejected as error:
            raise ValueError(f"{path}: {error}") from error
        for element in root.iter():
            if element.tag in _ADDRESSES:
                element.set("location", _HERE)
        for element, attribute in _references(root):
            target = _resolved(path.parent, element.get(attribute, ""))
            # Named before it is read: schemas may refer to one another in a circle.
            known = self._paths.setdefault(target.name, target)
            if known != target:
                raise ValueError(f"{known} and {target} have the same bare name: rename one")
            if target.name not in self._schemas:
                self._schemas[target.name] = b""
                self._schemas[target.name] = self._taken(target)
            element.set(attribute, f"{_HERE}?xsd={target.name}")
        return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def _references(root: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    for element in root.iter():
        if element.tag in _REFERENCES and element.get("schemaLocation"):
            yield element, "schemaLocation"
        elif element.tag == _WSDL_IMPORT:
            raise ValueError("a WSDL that imports another is not served: put them into one file")


def _resolved(folder: PurePosixPath, reference: str) -> PurePosixPath:
    parts: list[str] = []
    for part in (folder / reference).parts:
        if part == "..":
            if not parts:
                raise ValueError(f"{reference!r} lies outside schemas/")
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def _placed(document: bytes, address: str) -> bytes:
    return document.replace(_HERE.encode(), quoteattr(address)[1:-1].encode())
