"""YAML and JSON with the line of every value.

The text is read by the YAML 1.2 core rules, of which JSON is a part: `on`, `yes` and `12:30` are strings. No
tag makes an object. A text that is too big, too deep, or that grows by its aliases is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from codec_agents.faults import Fault
from codec_agents.graph.base import BODY_FIELDS, Place, place_name
from codec_agents.references.missing_files import searched

MAX_DOCUMENT_CHARACTERS = 1_000_000
"""A pipeline of hundreds of nodes with long prompts takes a tenth of this."""

MAX_FILE_BYTES = 4 * MAX_DOCUMENT_CHARACTERS + 3
"""UTF-8 has four bytes for a character at most, and a byte order mark has three."""

MAX_VALUES = 100_000
"""Values, with aliases and merges followed. Without the bound a text of a kilobyte could become gigabytes."""

MAX_DEPTH = 64
"""Levels of nesting; a node's policy inside three nested pipelines is at level 16."""

_NULL, _BOOL, _INT, _FLOAT, _STR = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")
)
_MERGE = "tag:yaml.org,2002:merge"


class _CoreLoader(yaml.SafeLoader):
    """Reads plain scalars by the YAML 1.2 core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's name


_FORMS: Mapping[str, tuple[re.Pattern[str], list[str]]] = {
    _NULL: (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    _BOOL: (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    _INT: (re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    _FLOAT: (
        re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
        list("-+.0123456789"),
    ),
    _MERGE: (re.compile(r"^<<$"), ["<"]),
}
"""By tag: the form of its plain scalars, and the characters with which they begin."""

for _tag, (_pattern, _first) in _FORMS.items():
    _CoreLoader.add_implicit_resolver(_tag, _pattern, _first)


def _joined_surrogates(text: str) -> str:
    r"""Return the text with `\ud83d\ude00`, as JSON writes it, made one character; a lone one is refused."""
    if text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


_SCALARS: Mapping[str, Callable[[str], Any]] = {
    _NULL: lambda _: None,
    _BOOL: lambda text: text.lower() == "true",
    _INT: int,
    _FLOAT: float,
    _STR: _joined_surrogates,
}

_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True, slots=True)
class Position:
    """The place of a value in a file."""

    file: str | None
    line: int


@dataclass(slots=True)
class Extent:
    """The size of a document so far, with the files in it: together they have the bounds of one document."""

    characters: int = 0
    values: int = 0


@dataclass(slots=True)
class Document:
    """The data of a text, with the position of each value."""

    data: Any = None
    file: str | None = None
    positions: dict[Place, Position] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unread: list[Place] = field(default_factory=list)
    """Places of nested files that could not be read, whose faults are reported already."""
    extent: Extent = field(default_factory=Extent)

    def position(self, path: Place) -> Position | None:
        """Return the position of a value, or of the nearest value around it that has one."""
        found = self.positions.get(())
        place: Place = ()
        for step in path:
            # A pipeline inside a node is under the name that the file has for it. Step by step: all names at
            # all levels would be 4 to the power of the levels.
            names = BODY_FIELDS if step == "body" else ()
            places = ((*place, name) for name in (step, *names))
            place = next((each for each in places if each in self.positions), (*place, step))
            found = self.positions.get(place, found)
        return found

    def fault(self, path: Place, found: str, remedy: str) -> None:
        """Add a fault at a place."""
        position = self.position(path)
        where = (position.file, position.line) if position else (self.file, None)
        self.faults.append(Fault(place_name(path), found, remedy, "error", *where))


def read_file(path: Path, name: str, extent: Extent | None = None) -> Document:
    """Read the document in a file.

    Args:
        path: the file.
        name: what faults call it.
        extent: the size so far of the document that the file is in.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            # One byte more tells a longer file, of which no more is read.
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, f"no such file{searched(path)}", str(path)) from error
    document = Document(file=name, extent=extent or Extent())
    if len(content) > MAX_FILE_BYTES:
        _refuse_length(document)
        return document
    try:
        return read_document(content.decode("utf-8-sig"), name, document.extent)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"not UTF-8: the byte 0x{content[error.start]:02x} in line {line}"
        document.faults.append(
            Fault("the pipeline", found, "save the file as UTF-8 text", "error", name, line)
        )
        return document


def read_document(text: str, file: str | None = None, extent: Extent | None = None) -> Document:
    """Read one YAML or JSON document; faults of its form are in its `faults`.

    Args:
        text: the text.
        file: what faults call the file that it is from.
        extent: the size so far of the document that the file is in.
    """
    document = Document(file=file, extent=extent or Extent())
    document.extent.characters += len(text)
    if document.extent.characters > MAX_DOCUMENT_CHARACTERS:
        _refuse_length(document)
        return document
    try:
        root = _compose(text)
        if root is not None:
            document.data = _Construction(document).value(root, (), 0)
    # Before its base class: only marked errors know a line.
    except yaml.MarkedYAMLError as error:
        _add_syntax_fault(document, error)
    except yaml.YAMLError as error:
        document.fault((), f"not YAML: {error}", "save the file as UTF-8 text without control characters")
    except _TooMuchError as error:
        document.fault(error.path, str(error), "write less, or use fewer aliases")
    # PyYAML composes by recursion: deeper than its limit, there is no node whose depth could be counted.
    except RecursionError:
        document.fault((), f"the document is nested deeper than {MAX_DEPTH} levels", "write less")
    return document


def _refuse_length(document: Document) -> None:
    found = f"the text has more than {MAX_DOCUMENT_CHARACTERS} characters, with those of the files in it"
    document.fault((), found, "write less; a pipeline that a program makes can be declared in Python")


def _compose(text: str) -> Node | None:
    loader = _CoreLoader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _add_syntax_fault(document: Document, error: yaml.MarkedYAMLError) -> None:
    # The problem is where the text stopped making sense; the mistake is often where its context began.
    mark, begins = error.problem_mark or error.context_mark, error.context_mark
    line = mark.line + 1 if mark else None
    since = f" (from line {begins.line + 1})" if begins and begins.line + 1 != line else ""
    what = ", ".join(part for part in (f"{error.context or ''}{since}", error.problem) if part)
    column = f" at column {mark.column + 1}" if mark else ""
    remedy = (
        "close open brackets, and quote texts with `: `, ` #`, or that begin with a sign such as {, [, *, @"
    )
    if (document.file or "").endswith(".py"):
        remedy = "if it is a program, run it with `python`; if it is a pipeline, give it the suffix .yaml"
    document.faults.append(
        Fault("the pipeline", f"not YAML: {what}{column}", remedy, "error", document.file, line)
    )


class _TooMuchError(Exception):
    """The document is larger than any pipeline."""

    def __init__(self, path: Place, message: str) -> None:
        super().__init__(message)
        self.path = path


class _Construction:
    """Turn YAML nodes into plain data, and keep the line of each."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def value(self, node: Node, path: Place, depth: int) -> Any:
        """Return the plain data of a node."""
        self._count(path, depth)
        # The line of a field's name is set before, and says more than that of its value.
        self._document.positions.setdefault(path, Position(self._document.file, node.start_mark.line + 1))
        # A tag such as `!!python/object` or `!!set` would make something else than the node looks like.
        if not isinstance(node, ScalarNode) and node.tag not in _COLLECTIONS:
            self._document.fault(path, f"the tag {node.tag!r} is not known here", "write a plain value")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            items = node.value
            return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(items)]
        return self._scalar(node, path)

    def _count(self, path: Place, depth: int) -> None:
        extent = self._document.extent
        extent.values += 1
        if extent.values > MAX_VALUES:
            raise _TooMuchError(path, f"the document has more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise _TooMuchError(path[:MAX_DEPTH], f"the document is nested deeper than {MAX_DEPTH} levels")

    def _mapping(self, node: MappingNode, path: Place, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        # What is merged is read before the fields, wherever the `<<` stands: the line of a field that is both
        # merged and declared is then that of its declaration. Of two `<<` the first wins, as in a list.
        for value_node in reversed([value for key, value in node.value if key.tag == _MERGE]):
            merged.update(self._merged(value_node, path, depth))
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            place = (*path, key)
            if key in result:
                self._document.faults.append(self._duplicate(place, key, key_node))
                continue
            self._document.positions[place] = Position(self._document.file, key_node.start_mark.line + 1)
            result[key] = self.value(value_node, place, depth + 1)
        # What a mapping says itself wins over what it merges, wherever the `<<` stands.
        return {**merged, **result}

    def _merged(self, node: Node, path: Place, depth: int) -> dict[str, Any]:
        """Return the fields that `<<` merges from one mapping, or from several, of which the first wins."""
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        result: dict[str, Any] = {}
        for each in reversed(nodes):
            # An empty mapping counts as well: aliases of aliases multiply what is merged, whatever it holds.
            self._count(path, depth + 1)
            if isinstance(each, MappingNode):
                result.update(self._mapping(each, path, depth + 1))
            else:
                self._document.fault(path, "`<<` takes a mapping", "name an anchor of a mapping")
        return result

    def _key(self, node: Node, path: Place) -> str | None:
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            with suppress(UnicodeDecodeError):
                return _joined_surrogates(str(node.value))
        self._document.fault(path, "a key that is not a plain word", "use a string as the key")
        return None

    def _duplicate(self, place: Place, key: str, node: Node) -> Fault:
        first = self._document.positions[place].line
        line = node.start_mark.line + 1
        found = f"{key!r} is declared twice, first in line {first}"
        return Fault(place_name(place), found, "rename or remove one", "error", self._document.file, line)

    def _scalar(self, node: Node, path: Place) -> Any:
        if node.tag not in _SCALARS:
            self._document.fault(path, f"the tag {node.tag!r} is not known here", "write a plain value")
            return None
        # Python takes quadratic time for long whole numbers, and refuses those of more than 4,300 digits. The
        # longest that a field needs is a seed of 64 bits, with 20.
        if node.tag in (_INT, _FLOAT) and len(node.value) > 40:
            self._document.fault(path, "a number of more than 40 digits", "write a smaller number")
            return None
        try:
            # A tag that is written out, as in `!!bool yes`, does not say that its text has the form.
            if node.tag in _FORMS and not _FORMS[node.tag][0].fullmatch(node.value):
                raise ValueError(node.value)
            value = _SCALARS[node.tag](node.value)
        # The same, or half of a surrogate pair.
        except ValueError:
            self._document.fault(
                path, f"not a value of type {node.tag.rpartition(':')[2]}", "write a plain value"
            )
            return None
        if value in (math.inf, -math.inf):  # JSON has no infinity: engines would be sent null
            self._document.fault(path, f"the number {node.value} is too large", "write a smaller number")
            return None
        return value


_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def located(faults: Iterable[Fault], document: Document | None) -> list[Fault]:
    """Return the faults with file and line, where the declaration was read from a text."""
    if document is None:
        return list(faults)
    return [_located(fault, document) for fault in faults]


def _located(fault: Fault, document: Document) -> Fault:
    position = document.position(_path(fault.place))
    return fault if position is None else replace(fault, file=position.file, line=position.line)


def _path(place: str) -> Place:
    """Return the path that a place names; a dot inside a name only makes the position less precise."""
    return tuple(int(index) if index else name for index, name in _STEP.findall(place))
