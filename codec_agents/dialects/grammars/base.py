"""What all grammars share: the payload they read, the calls they find, and values read by a tool's schema."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from codec_agents.dialects.values import Marked, Segment

if TYPE_CHECKING:
    from codec_agents.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Payload:
    """What stands in a call region.

    Fields:
        segments: texts and control tokens.
        tools: the tools of the node, by name; their schemas say what untyped values are.
    """

    segments: Sequence[Segment]
    tools: Mapping[str, Tool] = field(default_factory=dict)

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
    """A call that a grammar read; `error` where its name could be read and its arguments could not."""

    name: str
    arguments: dict[str, Any] | None
    call_id: str | None = None
    error: str | None = None


class PayloadError(ValueError):
    """A payload does not hold to its grammar; the message tells the model what is wrong."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


Grammar: TypeAlias = Callable[[Payload], list[FoundCall]]


def load_json(text: str, what: str, name: str = "") -> Any:
    """Return a JSON value; line breaks inside strings are let pass, as models write them.

    Raises:
        PayloadError: the text is not JSON.
    """
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise PayloadError(f"{what} are nested too deeply", name) from None
    except ValueError as error:
        raise PayloadError(f"{what} are not valid JSON: {error}", name) from None


def load_arguments(text: str, name: str) -> dict[str, Any]:
    """Return the arguments of a call from their JSON; nothing at all means none.

    Raises:
        PayloadError: the text is not a JSON object.
    """
    if not text.strip():
        return {}
    return as_arguments(load_json(text, "the arguments", name), name)


def as_arguments(value: Any, name: str) -> dict[str, Any]:
    """Return arguments given as an object, or as a string that holds one.

    Raises:
        PayloadError: they are neither.
    """
    if value is None:
        return {}
    if isinstance(value, str):
        value = load_json(value, "the arguments", name) if value.strip() else {}
    if not isinstance(value, dict):
        raise PayloadError(f"the arguments must be a JSON object, not {type(value).__name__}", name)
    return value


def typed_value(text: str, schema: Mapping[str, Any] | None, definitions: Mapping[str, Any]) -> Any:
    """Return a value that a family writes without saying its type, as the tool's schema wants it.

    A parameter that takes only strings gets the text as it stands. Otherwise the text is read as JSON, or as
    a Python literal; what is neither stays text, and the tool's own check speaks about it.
    """
    types = schema_types(schema, definitions)
    if types == {"string"}:
        return text
    value = _literal(text.strip())
    if "string" in types and not (value is None and "null" in types):
        return text
    return text if value is _NOTHING else value


_NOTHING = object()


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return _NOTHING


def schema_types(schema: Mapping[str, Any] | None, definitions: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a schema allows, one reference deep; empty where it does not say."""
    if not schema:
        return set()
    if "$ref" in schema:
        schema = definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
    if "type" in schema:
        named = schema["type"]
        return {named} if isinstance(named, str) else set(named)
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return {"string"} if all(isinstance(value, str) for value in values) else {"other"}
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return {name for branch in branches for name in schema_types(branch, definitions)}


def read_values(name: str, values: Sequence[tuple[str, str]], tools: Mapping[str, Tool]) -> dict[str, Any]:
    """Return arguments from pairs of key and untyped text, read by the tool's schema."""
    parameters = tools[name].parameters if name in tools else {}
    properties, definitions = parameters.get("properties", {}), parameters.get("$defs", {})
    return {key: typed_value(text, properties.get(key), definitions) for key, text in values}
