"""Tools as gpt-oss reads them: types of TypeScript, as the models' own package writes them.

Strings are quoted there and not escaped, `anyOf` and `$ref` are any value, and lines of descriptions behind
the first have no comment mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.writing.parameters import described

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec

_PLAIN = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}
_PROPERTY, _VARIANT = " " * 4, " " * 3
"""What the types of properties and of variants are indented by."""
_EXPONENT = re.compile(r"e\+?(-?)0*")
"""The exponent of a number has neither a plus nor zeros before it."""


def harmony_tool(tool: ToolSpec) -> str:
    """Return a tool as a function type, with comments before parameters and defaults behind them."""
    lines = [f"// {line}" for line in tool.description.splitlines()]
    return "\n".join([*lines, f"type {tool.name} = (_: {_type(tool.parameters, '')}) => any;"])


def _type(schema: Any, indent: str) -> str:
    schema = described(schema)
    kind = schema.get("type")
    if isinstance(schema.get("oneOf"), list):
        variants = (f"{_variant(each, indent)}{_comment(each, quotes=True)}" for each in schema["oneOf"])
        return "".join(f"\n{indent} | {each}" for each in variants)
    if isinstance(kind, list):
        return " | ".join("number" if each == "integer" else str(each) for each in kind) or "any"
    if kind == "object":
        return _object(schema, indent)
    if kind == "array":
        return f"{_type(schema['items'], indent)}[]" if "items" in schema else "Array<any>"
    choices = [each for each in _choices(schema) if isinstance(each, str)] if kind == "string" else []
    return " | ".join(map(_quoted, choices)) or _PLAIN.get(str(kind), "any")


def _object(schema: Mapping[str, Any], indent: str) -> str:
    properties, required = schema.get("properties"), schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    lines = [f"{indent}// {schema['description']}"] if isinstance(schema.get("description"), str) else []
    lines.append("{")
    for name, each in (properties or {}).items():
        lines += _property(name if name in needed else f"{name}?", described(each), indent)
    return "\n".join([*lines, f"{indent}}}"])


def _property(name: str, schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    variants, description = schema.get("oneOf"), schema.get("description")
    told = [f"{indent}// {description}"] if isinstance(description, str) else []
    if isinstance(schema.get("title"), str):
        yield from (f"{indent}// {schema['title']}", f"{indent}//")
    if not isinstance(variants, list):
        yield from (*told, *_examples(schema, indent))
        default = f" // {_default(schema)}" if "default" in schema else ""
        yield f"{indent}{name}: {_nullable(schema, _type(schema, indent + _PROPERTY))},{default}"
        return
    yield from _examples(schema, indent)
    # What the first variant says too is said once, and by neither of them.
    if variants and described(variants[0]).get("description") == description:
        told = []
    yield from told
    if "default" in schema:
        yield f"{indent}// {_default(schema)}"
    yield f"{indent}{name}:"
    for number, each in enumerate(variants):
        comment = _comment(each, said=description, described_above=not number and bool(told))
        yield f"{indent} | {_variant(each, indent)}{comment}"
    yield f"{indent},"


def _examples(schema: Mapping[str, Any], indent: str) -> list[str]:
    examples = schema.get("examples")
    if not isinstance(examples, list) or not examples:
        return []
    texts = [each for each in examples if isinstance(each, str)]
    return [f"{indent}// Examples:", *(f"{indent}// - {_quoted(each)}" for each in texts)]


def _variant(schema: Any, indent: str) -> str:
    return _nullable(described(schema), _type(schema, indent + _VARIANT))


def _comment(schema: Any, *, said: Any = None, described_above: bool = False, quotes: bool = False) -> str:
    """Return the comment behind a variant, without a description that the parameter has as well."""
    schema = described(schema)
    description = schema.get("description")
    is_new = isinstance(description, str) and description != said and not described_above
    comments = [
        *([description] if is_new else []),
        *([_default(schema, quotes=quotes)] if "default" in schema else []),
    ]
    return f" // {' '.join(comments)}" if comments else ""


def _nullable(schema: Mapping[str, Any], kind: str) -> str:
    # Whatever mentions null, be it a parameter of that name, gets no second one.
    return f"{kind} | null" if schema.get("nullable") is True and "null" not in kind else kind


def _default(schema: Mapping[str, Any], *, quotes: bool = False) -> str:
    value = schema["default"]
    if isinstance(value, str):
        return f"default: {value if _choices(schema) and not quotes else _quoted(value)}"
    if isinstance(value, float):
        number = _EXPONENT.sub(r"e\1", repr(value))
        return f"default: {number}"
    return f"default: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    choices = schema.get("enum")
    return choices if isinstance(choices, list) else []


def _quoted(text: str) -> str:
    return f'"{text}"'
