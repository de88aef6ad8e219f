"""The declarations of tools, which the APIs write nearly alike."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

from codec_agents.server.apis.request import OfferedTool
from codec_agents.server.http import HttpError
from codec_agents.strict_json import MAX_DEPTH, depth_of
from codec_agents.tools.schema_check import schema_fault

MAX_TOOLS = 1024 * 1024
"""Bytes of all declarations, as JSON. Any JSON is read there, of which a byte may take 24 in memory."""


def read_tool(place: str, function: Any, schema: str) -> OfferedTool:
    """Return a declared function.

    Args:
        place: the field that holds it, for the error.
        function: the object with the function's name and description.
        schema: the API's name for the schema of the arguments.

    Raises:
        HttpError: 400, it has no name, its description is no text, or its schema is none.
    """
    # Any JSON so far: one API has these fields in the tool itself, and another one in an object within.
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise HttpError(400, f"{place} is no function with a name", param="tools")
    parameters, description = function.get(schema), function.get("description")
    if not isinstance(description, str | None):
        raise HttpError(400, f"{place}.description must be a text", param="tools")
    if not isinstance(parameters, dict | None):
        raise HttpError(400, f"{place}.{schema} must be a JSON schema", param="tools")
    require_shallow(parameters, f"{place}.{schema}", "tools")
    if (fault := schema_fault(parameters or {})) is not None:
        raise HttpError(400, f"{place}.{schema} is no JSON schema: {fault}", param="tools")
    return OfferedTool(function["name"], description or "", parameters or {})


def distinct(tools: Iterable[OfferedTool]) -> tuple[OfferedTool, ...]:
    """Return the tools of a request.

    Raises:
        HttpError: 400, two have one name: a call names one, and its arguments are read by the other's schema.
    """
    found = tuple(tools)
    numbers: dict[str, int] = {}
    for number, tool in enumerate(found):
        if (first := numbers.setdefault(tool.name, number)) != number:
            said = f"tools[{first}] and tools[{number}] are both named {tool.name[:80]!r}; rename one"
            raise HttpError(400, said, param="tools")
    return found


def require_shallow(schema: Any, place: str, param: str) -> None:
    """Accept a schema that can be written for a model, or sent on to an engine: writers recurse.

    Raises:
        HttpError: 400, it is nested too deeply.
    """
    if depth_of(schema) > MAX_DEPTH:
        raise HttpError(400, f"{place} is nested deeper than {MAX_DEPTH} levels", param=param)


def check_count(values: Sized, limit: int, field: str) -> None:
    """Accept as many values as a field may hold.

    Raises:
        HttpError: 400, there are more.
    """
    if len(values) > limit:
        raise HttpError(400, f"there are {len(values)} {field}, the limit is {limit}", param=field)
