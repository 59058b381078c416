"""Library: the site's XML Schemas, stylesheets and contracts, read once, compiled once a thread, by path under ``schemas/``.

A closed world: what a schema includes or a stylesheet imports is looked up in the library and nowhere else, whatever the
reference says, so no schema can read another file or reach the network; XSLT ``document()`` and ``exsl:document`` are refused.
A schema is compiled from a private copy of the files it refers to, because libxml2 has one loader of references for the whole
process: while lxml answers one thread's references itself, another thread that ends a parse puts the old loader back.
Files are snapshots: a library never sees a file change under it, a reload builds a new one.

Raises ``FileNotFoundError`` (with the nearest path) and ``ValueError`` (a file that does not compile) to those who load a site,
``Rejected("schema-invalid")`` with every error for a document. W3C XML Schema 1.0 (Structures, Datatypes), XSLT 1.0, EXSLT.
"""

import difflib
import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from posixpath import normpath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

from lxml import etree

from bus import schema_errors
from bus.errors import Phrase, Rejected

#: More errors than this help nobody, and an answer has to stay small.
MOST_ERRORS = 20
#: A value quoted in an error is cut here: it may be a whole base64 file.
MOST_QUOTED = 60
#: Elements of a document whose errors may be looked up in its tree. For each error libxml2 counts the siblings before it, and so do we:
#: a hundred thousand bad siblings would take minutes.
MOST_COUNTED = 2_000

#: Library files have addresses of their own: relative references resolve among them, and absolute ones lead nowhere else.
_BASE = "library://schemas/"
_REFERENCES = tuple(f"{{http://www.w3.org/2001/XMLSchema}}{name}" for name in ("include", "import", "redefine"))
_STRIP_NAMESPACE = re.compile(r"\{[^{}' ]*[:/][^{}' ]*\}")

#: libxml2's and libxslt's compilers share state: two threads compiling at once fail at random.
_COMPILING = threading.Lock()

T = TypeVar("T")


class Library:
    """The files under ``root`` (a site's ``schemas`` directory), by POSIX path relative to it, such as ``edxml/v1/document.xsd``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[str, bytes] = {}
        self._full: dict[str, Any] = {}
        self._asking = threading.Lock()
        self._declared: dict[str, frozenset[str]] = {}
        # libxml2 keeps a schema's error list and a stylesheet's profile in the object: threads must not share them.
        self._compiled = threading.local()

    def path(self, name: str) -> Path:
        """Where ``name`` lies on disk. Raises FileNotFoundError naming the nearest path there is."""
        pure = PurePosixPath(name)
        found = self.root / pure
        if pure.is_absolute() or ".." in pure.parts or not found.is_file():
            raise FileNotFoundError(f"{name!r} does not exist; {self._nearest(name)}")
        return found

    def read(self, name: str) -> bytes:
        """The octets of ``name``, as they were when they were first asked for."""
        if name not in self._files:
            self._files[name] = self.path(name).read_bytes()
        return self._files[name]

    def digest(self, name: str) -> str:
        """SHA-256 of the file, lower-case hex: what a message's history records."""
        return hashlib.sha256(self.read(name)).hexdigest()

    def schema(self, name: str) -> etree.XMLSchema:
        """The compiled XML Schema. Raises ValueError with line and reason when it does not compile."""
        return self._compile("schema", name, self._schema)

    def stylesheet(self, name: str) -> etree.XSLT:
        """The compiled stylesheet, which can read and write no file and no network. Raises ValueError as ``schema`` does."""
        return self._compile("stylesheet", name, self._stylesheet)

    def declared(self, name: str) -> frozenset[str]:
        """Local names of all elements that the schema, and whatever it refers to, declares."""
        if name not in self._declared:
            trees = self._closure(name).values()
            found = (element.get("name") for tree in trees for element in tree.iter("{http://www.w3.org/2001/XMLSchema}element"))
            self._declared[name] = frozenset(element for element in found if element)
        return self._declared[name]

    def validate(self, name: str, tree: etree._Element) -> None:
        """Raise Rejected 5.6.3 with every error (XPath, line, what was expected) unless ``tree`` is valid against schema ``name``."""
        schema = self.schema(name)
        crowded = sum(1 for _ in tree.iter()) > MOST_COUNTED
        faults = _in_passing(schema, tree) if crowded else []
        if len(faults) <= MOST_ERRORS:
            if schema.validate(tree):
                return
            faults = _entries(schema.error_log)
        errors = tuple(_explain(fault, None if crowded else tree) for fault in faults[:MOST_ERRORS])
        if len(faults) > MOST_ERRORS:
            errors += (Phrase("xsd-more", {"count": len(faults) - MOST_ERRORS}),)
        if not crowded and len(faults) <= MOST_ERRORS:
            errors += self._more(name, tree, {str(error.values.get("path")) for error in errors})
        raise Rejected("schema-invalid", at=str(errors[0].values["path"]), schema=name, errors=errors)

    def _more(self, name: str, tree: etree._Element, known: set[str]) -> tuple[Phrase, ...]:
        """What libxml2 did not get to say; nothing where xmlschema cannot say it either."""
        try:
            with self._asking:
                if name not in self._full:
                    self._full[name] = self._from_copy(name, schema_errors.compiled)
            return tuple(schema_errors.more_errors(self._full[name], tree, _path_of, known))
        except Exception:  # noqa: BLE001 - the refusal stands on libxml2's errors; a second opinion must not undo it
            return ()

    def _compile(self, kind: str, name: str, compiler: Callable[[str], T]) -> T:
        cache: dict[str, T] = self._compiled.__dict__
        key = f"{kind} {name}"
        if key not in cache:
            self.read(name)
            try:
                with _COMPILING:
                    cache[key] = compiler(name)
            except etree.LxmlError as error:
                raise ValueError(f"{kind} {name!r} does not compile: {_why(error)}") from error
            except OSError as error:
                raise ValueError(f"{kind} {name!r} refers to a file it may not or cannot have: {error}") from error
        return cache[key]

    def _schema(self, name: str) -> etree.XMLSchema:
        return self._from_copy(name, lambda file: etree.XMLSchema(file=str(file)))

    def _from_copy(self, name: str, compiler: Callable[[Path], T]) -> T:
        """What ``compiler`` makes of a private copy of the schema and all that it refers to."""
        with TemporaryDirectory(prefix="govbus-schemas-") as copy:
            for file, tree in self._closure(name).items():
                target = Path(copy, file)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(etree.tostring(tree, encoding="utf-8"))
            return compiler(Path(copy, name))

    def _closure(self, name: str) -> dict[str, etree._Element]:
        """The schema and everything it refers to, by path. Without their DOCTYPEs, so no entity of theirs is ever read."""
        found: dict[str, etree._Element] = {}
        waiting = [name]
        while waiting:
            file = waiting.pop()
            if file not in found:
                found[file] = self._tree(file)
                references = (element.get("schemaLocation") for element in found[file].iter(*_REFERENCES))
                waiting += [self._inside(file, reference) for reference in references if reference]
        return found

    def _inside(self, file: str, reference: str) -> str:
        """The library's name for what ``file`` refers to. Raises PermissionError unless it lies in the library."""
        name = normpath(f"{PurePosixPath(file).parent}/{reference}")
        if ":" in reference or reference.startswith("/") or name.startswith(".."):
            raise PermissionError(f"{reference!r} lies outside the library")
        return name

    def _stylesheet(self, name: str) -> etree.XSLT:
        return etree.XSLT(self._tree(name), access_control=etree.XSLTAccessControl.DENY_ALL)  # type: ignore[attr-defined]

    def _tree(self, name: str) -> etree._Element:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        parser.resolvers.add(_Resolver(self))
        return etree.fromstring(self.read(name), parser, base_url=_BASE + name)

    def _nearest(self, name: str) -> str:
        suffix = PurePosixPath(name).suffix
        known = sorted(file.relative_to(self.root).as_posix() for file in self.root.rglob(f"*{suffix}") if file.is_file())
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
        return f"nearest is {near[0]}" if near else f"there is no {suffix or 'such'} file under {self.root.name}/"


class _Resolver(etree.Resolver):
    """Answers every reference of a stylesheet from the library, and refuses whatever lies outside it."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def resolve(self, system_url: str, public_id: str, context: object) -> object:  # type: ignore[override]  # noqa: ARG002 - lxml's signature
        if not system_url.startswith(_BASE):
            raise PermissionError(f"{system_url!r} lies outside the library")
        data = self._library.read(system_url.removeprefix(_BASE))
        return self.resolve_string(data, context, base_url=system_url)


def _entries(log: object) -> list[etree._LogEntry]:
    # lxml's stubs do not know that an error log can be iterated over.
    return list(cast("Iterable[etree._LogEntry]", log))  # noqa: SLF001 - the only name of the type


def _why(error: etree.LxmlError) -> str:
    """The first thing libxml2 had to say, with its line where it knows one."""
    entries = [entry for entry in _entries(error.error_log) if entry.message]
    if not entries:
        return str(error)
    return f"line {entries[0].line}: {_STRIP_NAMESPACE.sub('', entries[0].message)}"


# --- libxml2's wording, translated ------------------------------------------------------------------------------------

#: (libxml2's words, catalogue key): groups of the pattern are the text's placeholders. The first that matches is used.
_WORDING = tuple(
    (re.compile(pattern, re.DOTALL), key)
    for pattern, key in (
        (r"This element is not expected\. Expected is (?:one of )?\( (?P<expected>.*) \)\.", "xsd-element-unexpected-expected"),
        (r"This element is not expected\.", "xsd-element-unexpected"),
        (r"Missing child element\(s\)\. Expected is (?:one of )?\( (?P<expected>.*) \)\.", "xsd-child-missing"),
        (r"No matching global declaration available for the validation root", "xsd-root"),
        (r"The attribute '(?P<name>.*?)' is not allowed\.", "xsd-attribute-unknown"),
        (r"The attribute '(?P<name>.*?)' is required but missing\.", "xsd-attribute-missing"),
        (r"\[facet 'pattern'\] The value '(?P<value>.*)' is not accepted by the pattern '(?P<expected>.*)'\.", "xsd-pattern"),
        (r"\[facet 'enumeration'\] The value '(?P<value>.*)' is not an element of the set \{(?P<expected>.*)\}\.", "xsd-value-unknown"),
        (r"\[facet '.*?'\] The value has a length of '(?P<length>\d+)'; .* length of '(?P<limit>\d+)'\.", "xsd-length"),
        (r"'(?P<value>.*)' is not a valid value of the (?:atomic|list|union|local \w+) type '(?P<expected>.*)'\.", "xsd-type"),
        (r"(?:Character|Element) content .*is not allowed,? because", "xsd-content-unexpected"),
    )
)
_SUBJECT = re.compile(r"^Element '(?P<name>[^']*)'(?:, attribute '(?P<attribute>[^']*)')?: ")


def _in_passing(schema: etree.XMLSchema, tree: etree._Element) -> list[etree._LogEntry]:
    """The errors that a parser meets on its way through ``tree``: each costs the same, for it has no path."""
    parser = etree.XMLParser(schema=schema, resolve_entities=False, no_network=True, huge_tree=True)
    with suppress(etree.XMLSyntaxError):
        etree.fromstring(etree.tostring(tree), parser)
    return _entries(parser.error_log)


def _explain(fault: etree._LogEntry, tree: etree._Element | None) -> Phrase:
    """One entry of libxml2's error log as path, line and what was expected; without ``tree`` the path is in libxml2's own form."""
    message = _STRIP_NAMESPACE.sub("", fault.message)
    subject = _SUBJECT.match(message)
    name, attribute = (subject["name"], subject["attribute"]) if subject else ("", None)
    words = message[subject.end() :] if subject else message
    place = f"//{name}" if not fault.path else fault.path if tree is None else _readable(fault.path, tree)
    path = place + (f"/@{attribute}" if attribute else "")
    return Phrase("xsd-error", {"path": path, "line": fault.line, "what": _what(words, name)})


def _what(words: str, name: str) -> Phrase:
    for pattern, key in _WORDING:
        if found := pattern.search(words):
            return Phrase(key, {"name": name} | {group: _cut(value) for group, value in found.groupdict().items()})
    return Phrase("xsd-other", {"detail": _cut(words)})


def _cut(value: str) -> str:
    return value if len(value) <= MOST_QUOTED * 4 else f"{value[:MOST_QUOTED]}…"


def _readable(path: str, tree: etree._Element) -> str:
    """libxml2's node path with each ``*[2]`` replaced by the element's name: ``/edXML/edXMLEnvelope/edXMLHeader/…/To[2]``."""
    among, named = [tree.getroottree().getroot()], []
    for step in path.strip("/").split("/"):
        node = _pick(step, among)
        if node is None:
            return path
        named.append(_step(node))
        among = list(node)
    return "".join(f"/{step}" for step in named)


def _path_of(element: etree._Element) -> str:
    """The element's path, by names: as ``_readable`` writes it."""
    return "".join(f"/{_step(one)}" for one in (*reversed(list(element.iterancestors())), element))


def _pick(step: str, among: Sequence[etree._Element]) -> etree._Element | None:
    """The element that one step of libxml2's path means: ``p:name[3]`` counts namesakes, ``*[3]`` counts all elements."""
    name, _, position = step.rstrip("]").partition("[")
    fitting = [element for element in among if isinstance(element.tag, str) and name in ("*", _written(element))]
    index = int(position or 1) - 1
    return fitting[index] if index < len(fitting) else None


def _written(element: etree._Element) -> str:
    local = etree.QName(element).localname
    return f"{element.prefix}:{local}" if element.prefix else local


def _step(element: etree._Element) -> str:
    """The element's local name, with its position among its namesakes where it has any."""
    name = etree.QName(element).localname
    before = sum(1 for _ in element.itersiblings(element.tag, preceding=True))
    alone = before == 0 and next(element.itersiblings(element.tag), None) is None
    return name if alone else f"{name}[{before + 1}]"
