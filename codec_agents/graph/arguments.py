"""The arguments of a declaration's calls, as the values that a file would hold.

A function, a tool or a pydantic model is kept beside the declaration, which holds a reference to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from codec_agents.exceptions import PipelineError
from codec_agents.faults import Fault
from codec_agents.graph.base import Place, place_name
from codec_agents.graph.chat import Chat, ChatPiece
from codec_agents.graph.fields import PolicyLike
from codec_agents.graph.live import LiveObjects
from codec_agents.graph.output import Output
from codec_agents.references.signatures import signature_of

PromptLike: TypeAlias = str | Chat | Sequence[ChatPiece | Mapping[str, str]]
"""The user's turn, a chat, or pieces that are assembled by hand."""

CallableLike: TypeAlias = str | Callable[..., Any]
"""A reference as `module:name`, a function, or a `Tool`."""

ToolLike: TypeAlias = CallableLike | Iterable[Callable[..., Any]]
"""The same, or a `Toolset`."""

OutputLike: TypeAlias = "Output | Mapping[str, Any] | type[BaseModel]"
"""The form of an answer: declared, by its fields, or as a pydantic model."""

_Item = TypeVar("_Item")

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that the caller gave; others stay out of the declaration."""
    return {name: value for name, value in fields.items() if value is not None}


def listed(values: Iterable[_Item], place: Place, pipeline: str) -> tuple[_Item, ...]:
    """Return the values of a list.

    Raises:
        PipelineError: it is none, or a text, whose characters would be taken for its values.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        found = f"a list belongs here, not {type(values).__name__}"
        raise PipelineError([Fault(place_name(place), found, "write a list, `[...]`")], pipeline)
    return tuple(values)


def references_of_tools(
    live: LiveObjects, tools: Iterable[object], node: str, pipeline: str
) -> tuple[str, ...]:
    """Return the references of a node's tools.

    Raises:
        PipelineError: with a fault for each that is none.
    """
    tools = listed(tools, ("nodes", node, "tools"), pipeline)
    faults = [
        Fault(
            place_name(("nodes", node, "tools", position)),
            f"{type(each).__name__} is not a tool",
            "give a function, a `Tool`, a `Toolset`, or a reference as `module:name`",
        )
        for position, each in enumerate(tools)
        if not _may_be_tool(each)
    ]
    if faults:
        raise PipelineError(faults, pipeline)
    return tuple(each if isinstance(each, str) else live.add_callable(each) for each in tools)


def _may_be_tool(value: object) -> bool:
    if isinstance(value, str) or callable(value):
        return True
    return isinstance(value, Iterable) and all(map(callable, value))


def policy_of(live: LiveObjects, policy: PolicyLike | None) -> PolicyLike | None:
    """Return a policy with a reference in place of a function."""
    if isinstance(policy, Mapping) and callable(policy.get("on_overflow")):
        return {**policy, "on_overflow": live.add_callable(policy["on_overflow"])}
    return policy


def output_of(live: LiveObjects, output: OutputLike | None) -> Output | Mapping[str, Any] | None:
    """Return the form of an answer, with a reference in place of a pydantic model."""
    if isinstance(output, type):
        return {"schema": live.add_callable(output)}
    if isinstance(output, Mapping) and isinstance(output.get("schema"), type):
        return {**output, "schema": live.add_callable(output["schema"])}
    return output


def argument_names(call: CallableLike) -> list[str] | None:
    """Return the names of a callable's arguments that edges fill; None if they are unknown.

    These are the required ones, or the only one that there is. Build refuses a callable that does not take
    the slots of its node, whatever names them.
    """
    if isinstance(call, str):  # a reference, which is imported by the build and not before
        return None
    try:
        parameters = signature_of(call).parameters.values()
    except (TypeError, ValueError):  # some callables of C tell none
        return None
    named = [each for each in parameters if each.kind not in _VARIADIC]
    # What has a default needs no edge, but a node has at least one slot.
    required = [each.name for each in named if each.default is each.empty]
    return required or ([named[0].name] if len(named) == 1 else None)
