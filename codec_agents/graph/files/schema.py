"""The JSON Schema of pipeline files, with which editors complete and check them."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from typing import Any

from pydantic import BaseModel

from codec_agents.graph import chat, dialects, edges, kinds, output, policy, servers, serving, sources, turns
from codec_agents.graph import spec as spec_module
from codec_agents.graph.base import BODY_FIELDS
from codec_agents.graph.edges import ARROW, END_PATTERN
from codec_agents.graph.files.schema_rules import ARGUMENT, RULES, SOME_NODE, fields_of_roles, tells_kind
from codec_agents.graph.spec import Nested, PipelineSpec
from codec_agents.graph.templates import TEMPLATE_PATTERN

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of a pipeline file.

    It describes the short forms as well: an edge as `source -> target`, a prompt as a string, a nested
    pipeline as a file name.
    """
    schema = PipelineSpec.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    for model in _models():
        definition = definitions.get(model.__name__)
        if definition is not None:
            _describe(model, definition)
            if issubclass(model, Nested):
                _allow_files(model, definition)
    for name, definition in definitions.items():
        for entry in definition.get("properties", {}).values():
            # pydantic writes a pattern for the keys, and leaves keys that do not match it unchecked.
            if "patternProperties" in entry:
                entry["additionalProperties"] = False
        _add_rules(name, definition)
    _let_edges_declare(definitions["PipelineSpec"])
    # A pipeline in a node takes its name from the node. Copied here, with the rules that were added above.
    definitions["Body"] = {**definitions["PipelineSpec"], "title": "Body", "required": []}
    _add_short_forms(definitions)
    return {"$schema": SCHEMA_ID, "title": "Pipeline of codec-agents", **schema}


def schema_text() -> str:
    """Return the schema as it is published: indented JSON with a newline at its end."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _models() -> list[type[BaseModel]]:
    modules = (
        chat, dialects, edges, kinds, output, policy, servers, serving, sources, spec_module, turns
    )  # fmt: skip
    values = [value for module in modules for value in vars(module).values()]
    return [value for value in values if isinstance(value, type) and issubclass(value, BaseModel)]


def _describe(model: type[BaseModel], definition: dict[str, Any]) -> None:
    """Add the docstring of each field from the source, which pydantic would read at every import."""
    texts: dict[str, str] = {}
    for base in reversed(model.__mro__):
        # pydantic makes classes such as `RootModel[...]`, which stand in no source.
        if base.__module__.startswith("codec_agents.") and "[" not in base.__name__:
            texts |= _field_texts(base)
    for name, field in model.model_fields.items():
        entry = definition.get("properties", {}).get(field.alias or name)
        if entry is not None and name in texts:
            entry["description"] = texts[name]


def _field_texts(model: type[BaseModel]) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                texts[statement.target.id] = inspect.cleandoc(text.value)
    return texts


def _add_rules(name: str, definition: dict[str, Any]) -> None:
    rules = [*RULES.get(name, ())]
    if (kind := definition.get("properties", {}).get("kind", {}).get("const")) is not None:
        rules.append(tells_kind(kind, definition["properties"]))
    if rules:
        definition["allOf"] = rules


def _let_edges_declare(pipeline: dict[str, Any]) -> None:
    nodes = pipeline["properties"]["nodes"]
    del nodes["minProperties"]
    (kinds,) = nodes["patternProperties"].values()
    kinds["anyOf"] = kinds.pop("oneOf")  # a node that two kinds fit is of the one that its fields tell first
    pipeline["required"].remove("nodes")
    pipeline["allOf"] = [SOME_NODE]


def _allow_files(model: type[Nested], definition: dict[str, Any]) -> None:
    """Allow a body in the field that implies the kind, or in a file that the field names."""
    properties = definition["properties"]
    for name in BODY_FIELDS:
        properties.pop(name, None)
    file = {"type": "string", "description": "A file beside this one."}
    inline = {"$ref": "#/$defs/Body", "description": "The pipeline inside; its name may be left out."}
    properties[model.body_field] = {"anyOf": [file, inline]}
    properties.pop("file", None)  # of the reader, which moves the name of the file there
    others = [name for name in definition.get("required", ()) if name not in BODY_FIELDS]
    definition["required"] = [model.body_field, *others]


def _add_short_forms(definitions: dict[str, Any]) -> None:
    # Put back under its name with the short form beside it, so that all references lead to both.
    edge = definitions.pop("EdgeSpec")
    pattern = rf"^\s*{END_PATTERN}\s*{ARROW}\s*{END_PATTERN}\s*$"
    arrow = {"type": "string", "pattern": pattern, "description": "`source -> target`"}
    definitions["EdgeSpec"] = {"title": "Edge", "anyOf": [arrow, edge]}
    turn = definitions["ChatTurn"]
    roles = turn["properties"]["role"]["enum"]
    text = {"type": "string", "pattern": TEMPLATE_PATTERN}
    short = {
        "type": "object",
        "properties": {
            **dict.fromkeys(roles, text),
            **{name: turn["properties"][name] for name in ("name", "reasoning", "calls")},
        },
        "oneOf": [{"required": [role]} for role in roles],
        "allOf": fields_of_roles(lambda role: {"required": [role]}),
        "additionalProperties": False,
    }
    definitions["ChatTurn"] = {"title": "ChatTurn", "anyOf": [short, turn]}
    definitions["Argument"] = ARGUMENT
    arguments = definitions["DeclaredCall"]["properties"]["arguments"]
    arguments["additionalProperties"] = {"$ref": "#/$defs/Argument"}
