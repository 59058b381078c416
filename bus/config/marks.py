"""YAML with its places: plain data, and for every key and value the line and column where it stands.

Every scalar is text here, except an empty one (None): the option's declared type decides what it means. So ``020100107370`` stays
an organisation code, ``no`` stays a word and ``12:30`` stays what was written. YAML 1.1 as libyaml reads it; tags are not used.

``read`` raises ConfigurationError for a file that is no YAML; duplicate keys and what else YAML allows but a site does not are collected.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from bus.errors import ConfigurationError, Fault

#: Where a value stands in the document: mapping keys and list positions from the top.
Path = tuple[str | int, ...]

#: A site needs ten.
MOST_DEPTH = 100
#: Values of one file, those of aliases counted at each place that names them. A thousand routes have some thirty thousand.
MOST_VALUES = 200_000
_NULL = "tag:yaml.org,2002:null"
_STANDARD = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the file, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """``data`` as plain mappings, lists and strings; ``keys`` and ``values`` give each path's place; ``faults`` found on the way."""

    file: str
    data: Any = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """The place of ``path``, or of the nearest thing around it that is in the file."""
        while path:
            found = (self.keys.get(path) if key else None) or self.values.get(path) or self.keys.get(path)
            if found:
                return found
            path = path[:-1]
        return self.values.get((), Mark(1, 1))

    def scalars(self) -> Iterator[tuple[Path, str]]:
        """Every text value with its path, in the file's order."""
        yield from _scalars((), self.data)


def read(text: str, file: str) -> Document:
    """The document in ``text``; ``file`` is its name in faults."""
    document = Document(file)
    try:
        _bound_depth(text, file)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark) if error.problem_mark else Mark(1, 1)
        raise ConfigurationError([Fault(file, mark.line, mark.column, f"not YAML: {error.problem or error}")]) from None
    except yaml.YAMLError as error:
        # A ReaderError has two lines.
        raise ConfigurationError([Fault(file, 1, 1, f"not YAML: {' '.join(str(error).split())}")]) from None
    if node is not None:
        document.data = _Builder(document).build(node, ())
    return document


def _bound_depth(text: str, file: str) -> None:
    """Refuse what is nested so deeply that composing it, which libyaml does by recursion, would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                mark = _mark(event.start_mark)
                raise ConfigurationError([Fault(file, mark.line, mark.column, f"nested more than {MOST_DEPTH} deep")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Turns nodes into data, noting places; an alias is built again at each place that names it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: set[int] = set()
        self._built = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._built += 1
        if self._built > MOST_VALUES:
            mark = _mark(node.start_mark)
            text = f"more than {MOST_VALUES} values, counting those of each alias again"
            raise ConfigurationError([Fault(self._document.file, mark.line, mark.column, text)])
        self._document.values[path] = _mark(node.start_mark)
        if not node.tag.startswith(_STANDARD):
            self._fault(node, f"the YAML tag {node.tag!r} means nothing here")
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _NULL else node.value
        if id(node) in self._open:
            self._fault(node, "a value cannot contain itself")
            return None
        self._open.add(id(node))
        try:
            return self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node.value, path)
        finally:
            self._open.discard(id(node))

    def _list(self, nodes: list[yaml.Node], path: Path) -> list[Any]:
        return [self.build(item, (*path, index)) for index, item in enumerate(nodes)]

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, "a key must be a word")
                continue
            key = key_node.value
            if key in data:
                first = self._document.keys[(*path, key)]
                self._fault(key_node, f"duplicate key {key!r}; it is already given in line {first.line}")
                continue
            self._document.keys[(*path, key)] = _mark(key_node.start_mark)
            data[key] = self.build(value_node, (*path, key))
        return data

    def _fault(self, node: yaml.Node, text: str) -> None:
        mark = _mark(node.start_mark)
        self._document.faults.append(Fault(self._document.file, mark.line, mark.column, text))


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _scalars(path: Path, data: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _scalars((*path, key), value)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _scalars((*path, index), value)
