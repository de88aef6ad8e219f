"""The parts that all grammars share: payloads, calls, and values typed by a tool's schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from codec_agents.dialects.grammars.python_values import parse_python, python_value
from codec_agents.dialects.values import Marked, Segment
from codec_agents.strict_json import unique_names

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload of a call region.

    Fields:
        segments: texts and control tokens.
        tools: the tools of the node, by name; their schemas say what untyped values are.
    """

    segments: Sequence[Segment]
    tools: Mapping[str, ToolSpec] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The payload as one text, control tokens by their names."""
        return "".join(part if isinstance(part, str) else part.name for part in self.segments)

    def split(self, marker: str) -> list[list[Segment]]:
        """Return the segments between occurrences of a control token; the first are those before any."""
        parts: list[list[Segment]] = [[]]
        for segment in self.segments:
            if segment == Marked(marker):
                parts.append([])
            else:
                parts[-1].append(segment)
        return parts


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call that a grammar read.

    Fields:
        name: the tool.
        arguments: the arguments; None where they could not be read.
        call_id: the id that the model gave to the call.
        error: the fault, where the name could be read and the arguments could not.
        closed: False where nothing ends the call, or one of its values: it may be cut off.
    """

    name: str
    arguments: dict[str, Any] | None
    call_id: str | None = None
    error: str | None = None
    closed: bool = True


class PayloadError(ValueError):
    """A payload does not hold to its grammar; the message tells the model what is wrong.

    Attributes:
        name: the tool, where it could be read.
        closed: False where the payload may be cut off.
    """

    def __init__(self, message: str, name: str = "", *, closed: bool = True) -> None:
        super().__init__(message)
        self.name = name
        self.closed = closed


Grammar: TypeAlias = Callable[[Payload], list[FoundCall]]


_FENCE = "```"
_OPENED_FENCE = re.compile(rf"\s*{_FENCE}(?:json|python)?[ \t]*\n")


def unfenced(text: str) -> str:
    """Return the part of a call without the code fence around all of it, whose end may be missing."""
    opened = _OPENED_FENCE.match(text)
    # The end is not a part of the pattern: a model that fills lines with blanks would make it quadratic.
    whole = text.rstrip().removesuffix(_FENCE)
    if opened is None or len(whole) < opened.end():
        return text
    return whole[opened.end() :].rstrip(" \t").removesuffix("\n")


def load_json(text: str, what: str, name: str = "") -> Any:
    """Return a JSON value; line breaks inside strings are accepted, as models write them.

    Raises:
        PayloadError: the text is not JSON, or has a name twice in one object.
    """
    try:
        return json.loads(text, strict=False, object_pairs_hook=unique_names)
    except RecursionError:
        raise PayloadError(f"the JSON of {what} is nested too deeply", name) from None
    except ValueError as error:
        raise PayloadError(f"{what}: not valid JSON: {error}", name) from None


def load_arguments(text: str, name: str) -> dict[str, Any]:
    """Return the arguments of a call from their JSON; nothing at all means none.

    Raises:
        PayloadError: the text is not a JSON object.
    """
    if not text.strip():
        return {}
    return as_arguments(load_json(unfenced(text), "the arguments", name), name)


def as_arguments(value: Any, name: str) -> dict[str, Any]:
    """Return arguments given as an object, or as a string that holds one.

    Raises:
        PayloadError: they are neither.
    """
    if value is None:  # null, or nothing at all, where a tool has no parameters
        return {}
    if isinstance(value, str):  # the JSON of an object, as in the chat API's form of calls
        value = load_json(value, "the arguments", name) if value.strip() else {}
    if not isinstance(value, dict):
        raise PayloadError(f"the arguments must be a JSON object, not {type(value).__name__}", name)
    return value


def typed_value(text: str, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a value that a family writes without its type, as the tool's schema wants it.

    A parameter that takes strings gets the text as it is, or null where it takes that too and the text says
    so. Otherwise the text is read as JSON, or as a Python literal; what is neither stays text, and the tool's
    own check speaks about it.

    Args:
        text: the value.
        schema: the schema of the parameter; None where there is none.
        root: the schema of all parameters, in which references are looked up.
    """
    types = schema_types(schema, root)
    if "string" in types:
        is_null = "null" in types and text.strip() in ("null", "None")  # as JSON and as Python spell it
        return None if is_null else text
    return _literal(text)


def _literal(text: str) -> Any:
    """Return what a text says as JSON or as Python, and the text where it is neither."""
    try:
        return json.loads(text.strip(), object_pairs_hook=unique_names)
    except (ValueError, RecursionError):
        pass
    try:
        return python_value(parse_python(text.strip()))
    except (ValueError, TypeError, RecursionError):
        return text


MAX_SCHEMAS = 100
"""The parts of a schema that are read for one value: references may form a circle, and fan out. Python's
recursion limit allows for some more."""


def schema_types(schema: Any, root: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a schema allows; empty where it does not say.

    References, `allOf`, `anyOf` and `oneOf` are followed. Where one branch does not say, those that do
    decide: a string that one branch allows stays a string. `nullable`, OpenAPI's word, allows null as well.
    """
    return _SchemaTypes(root).of(schema)


class _SchemaTypes:
    """Finds the types of the parts of one schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_SCHEMAS
        self._following: set[str] = set()
        """The references that are being followed: one that leads back to itself says nothing."""

    def of(self, schema: Any) -> set[str]:
        self._left -= 1
        if self._left < 0 or not isinstance(schema, Mapping):
            return set()
        said = [found for found in self._statements(schema) if found]
        # All statements hold at once. `enum` and `const` tell only strings and null apart (`_type_of`): where
        # nothing is in all of them, the first one names the type.
        found = set.intersection(*said) or said[0] if said else set()
        return found | {"null"} if found and schema.get("nullable") is True else found

    def _statements(self, schema: Mapping[str, Any]) -> Iterator[set[str]]:
        if isinstance(schema.get("type"), str):
            yield {schema["type"]}
        yield {named for named in _listed(schema, "type") if isinstance(named, str)}
        yield {_type_of(value) for value in _listed(schema, "enum")}
        if "const" in schema:
            yield {_type_of(schema["const"])}
        if "$ref" in schema:
            yield self._referenced(schema["$ref"])
        for branch in _listed(schema, "allOf"):
            yield self.of(branch)
        for word in ("anyOf", "oneOf"):
            yield set().union(*map(self.of, _listed(schema, word)))

    def _referenced(self, reference: Any) -> set[str]:
        name = str(reference)
        if name in self._following:
            return set()
        self._following.add(name)
        found = self.of(_referenced(reference, self._root))
        self._following.remove(name)
        return found


def _listed(schema: Mapping[str, Any], word: str) -> Sequence[Any]:
    """Return what a schema lists under a word; nothing where it has no list: servers send any JSON."""
    found = schema.get(word)
    return found if isinstance(found, list | tuple) else ()


def _type_of(value: Any) -> str:
    return "string" if isinstance(value, str) else "null" if value is None else "other"


def _referenced(reference: Any, root: Mapping[str, Any]) -> Any:
    """Return what a reference within the schema points to; None where it points elsewhere."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: Any = root
    for part in filter(None, reference[1:].split("/")):
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        # Python reads no number of more than 4,300 digits, and no list has a place of more than nine.
        if isinstance(found, Sequence) and key.isdecimal() and len(key) < 10 and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, Mapping) and key in found:
            found = found[key]
        else:
            return None
    return found


def property_schema(parameters: Mapping[str, Any], key: str) -> Any:
    """Return the schema of one parameter; None where the schema of all of them does not declare it."""
    return _first(parameters, _declares(key), parameters, [MAX_SCHEMAS])


def member_schema(schema: Any, key: str, root: Mapping[str, Any]) -> Any:
    """Return the schema of one member of an object: its own, or that of all others; None if neither is said.

    Args:
        schema: the schema of the object; references and branches are followed.
        key: the member.
        root: the schema of all parameters, in which references are looked up.
    """
    found = _first(schema, _declares(key), root, [MAX_SCHEMAS])
    # In a second pass: a branch that declares the member says more than what another says of all others.
    if found is None:
        found = _first(schema, lambda part: part.get("additionalProperties"), root, [MAX_SCHEMAS])
    return found


def items_schema(schema: Any, root: Mapping[str, Any]) -> Any:
    """Return the schema of the items of a list; None where it is not said."""
    return _first(schema, lambda part: part.get("items"), root, [MAX_SCHEMAS])


def _declares(key: str) -> Callable[[Mapping[str, Any]], Any]:
    def own(schema: Mapping[str, Any]) -> Any:
        properties = schema.get("properties")
        return properties.get(key) if isinstance(properties, Mapping) else None

    return own


def _first(
    schema: Any, own: Callable[[Mapping[str, Any]], Any], root: Mapping[str, Any], left: list[int]
) -> Any:
    """Return the first thing that a schema or one of its branches says of its own; None if none does."""
    left[0] -= 1  # one count for all branches, which may fan out
    if left[0] < 0 or not isinstance(schema, Mapping):
        return None
    if (found := own(schema)) is not None:
        return found
    parts = [_referenced(schema["$ref"], root)] if "$ref" in schema else []
    parts += [branch for word in ("allOf", "anyOf", "oneOf") for branch in _listed(schema, word)]
    return next((found for part in parts if (found := _first(part, own, root, left)) is not None), None)


def read_values(
    name: str, values: Sequence[tuple[str, str]], tools: Mapping[str, ToolSpec]
) -> dict[str, Any]:
    """Return arguments from pairs of key and untyped text, read by the tool's schema."""
    root = tools[name].parameters if name in tools else {}
    return {key: typed_value(text, member_schema(root, key, root), root) for key, text in values}
