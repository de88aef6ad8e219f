"""Rules of the reader beyond the types of fields, as JSON Schema.

Not here, because a schema cannot say it: that names lead somewhere, what a file beside the pipeline has, that
secrets are references, that a first delay is no longer than the longest, and that results stand behind calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from codec_agents.graph.output import FORMS
from codec_agents.graph.sources import LIVE_FIELDS, LOCAL_KINDS
from codec_agents.graph.spec import TELLING_FIELDS
from codec_agents.graph.templates import TEMPLATE_PATTERN

SchemaRule: TypeAlias = dict[str, Any]


def given(name: str) -> SchemaRule:
    """Return the rule that a field is present and not null."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def filled(name: str) -> SchemaRule:
    """Return the rule that a field is present and not empty."""
    return {"required": [name], "properties": {name: {"minItems": 1, "minProperties": 1}}}


def unless(rule: SchemaRule) -> SchemaRule:
    """Return the negation of a rule."""
    return {"not": rule}


def when(condition: SchemaRule, then: SchemaRule) -> SchemaRule:
    """Return the rule that one rule holds where another one does."""
    return {"if": condition, "then": then}


def at_most_one(names: Iterable[str]) -> list[SchemaRule]:
    """Return the rule that at most one of some fields is present."""
    left = list(names)
    return [unless({"allOf": [given(a), given(b)]}) for at, a in enumerate(left) for b in left[at + 1 :]]


def of_kind(*kinds: str) -> SchemaRule:
    """Return the rule that a value has one of some types."""
    return {"required": ["kind"], "properties": {"kind": {"enum": sorted(kinds)}}}


def fields_of_roles(of_role: Callable[[str], SchemaRule]) -> list[SchemaRule]:
    """Return the rules of fields that only turns of some roles have; `of_role` tests the role."""
    assistants = {"anyOf": [given("reasoning"), filled("calls")]}
    return [when(given("name"), of_role("tool")), when(assistants, of_role("assistant"))]


def _of_role(role: str) -> SchemaRule:
    return {"properties": {"role": {"const": role}}}


ARGUMENT: SchemaRule = {
    "title": "Argument",
    "description": "What JSON can hold; its strings may hold slots, its keys may not.",
    "anyOf": [
        {"type": ["null", "boolean", "number"]},
        {"type": "string", "pattern": TEMPLATE_PATTERN},
        {"type": "array", "items": {"$ref": "#/$defs/Argument"}},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/Argument"}},
    ],
}
"""An argument of a declared call."""

_LOGIN = {"required": ["url"], "properties": {"url": {"type": "string", "pattern": "^[^/]*://[^/]*@"}}}
_LOGINS = {"required": ["urls"], "properties": {"urls": {"contains": {"pattern": "^[^/]*://[^/]*@"}}}}
_SOURCES = ("like", "file", "tokenizer_config", "call")

RULES: Mapping[str, list[SchemaRule]] = {
    "ChatPiece": [{"oneOf": [given(name) for name in ("token", "text", "slot")]}],
    "Chat": [{"anyOf": [given("system"), given("user"), filled("turns")]}],
    "ChatTurn": [
        *fields_of_roles(_of_role),
        {"anyOf": [{"required": ["content"]}, filled("calls")]},
    ],
    "McpSpec": [
        {"oneOf": [given("command"), given("url")]},
        when(given("url"), unless(filled("env"))),
        when(given("command"), unless(filled("headers"))),
    ],
    "MapSpec": [*at_most_one(("path", "url", "hub")), when(given("url"), given("hash"))],
    "DialectSpec": [
        *at_most_one(_SOURCES),
        {"anyOf": [*map(given, _SOURCES), filled("fields")]},
    ],
    "Output": [{"oneOf": [given(name) for name in FORMS]}],
    "EngineSpec": [
        when(of_kind(*LOCAL_KINDS), unless({"anyOf": [given("url"), filled("urls")]})),
        when(unless(of_kind("live", *LOCAL_KINDS)), {"oneOf": [given("url"), filled("urls")]}),
        when(unless(of_kind(*LOCAL_KINDS)), unless(given("script"))),
        when(of_kind("live"), {"propertyNames": {"enum": sorted(LIVE_FIELDS)}}),
        unless({"allOf": [given("api_key"), {"anyOf": [_LOGIN, _LOGINS]}]}),
    ],
}
"""The rules of each model, by its name; all of them hold."""

SOME_NODE: SchemaRule = {"anyOf": [filled("nodes"), filled("edges")]}
"""A pipeline may leave its nodes to the edges, which declare what only they name."""


def tells_kind(kind: str, fields: Iterable[str]) -> SchemaRule:
    """Return the rule that a node has a `kind`, or a field that implies it."""
    telling = [name for name in fields if TELLING_FIELDS.get(name) == kind]
    return {"anyOf": [{"required": [name]} for name in ("kind", *telling)]}
