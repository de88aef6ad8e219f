"""Earlier turns of a prompt: messages, reasoning, calls and their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import Declared
from codec_agents.graph.templates import Template, TemplateError, TemplatePart, parse_template

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

_BESIDE_CONTENT = ("name", "reasoning", "calls")
"""The fields of a turn that its short form has in addition to the role."""


def _strings(value: JsonValue) -> Iterator[str]:
    """Yield the strings of a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _strings(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)


def _check_strings(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    for template in _strings(arguments):
        try:
            parse_template(template)
        except TemplateError as error:
            raise PydanticCustomError("template", "{reason}", {"reason": str(error)}) from error
    return arguments


class DeclaredCall(Declared):
    """A call that an assistant's turn made."""

    name: Annotated[str, Field(min_length=1)]
    """The tool."""
    arguments: Annotated[dict[str, JsonValue], AfterValidator(_check_strings)] = Field(default={})
    """The arguments. Strings are templates, also inside lists and objects; keys are not."""
    id: Annotated[str, Field(min_length=1)] | None = None
    """The id that its result refers to; the family's own numbering when left out."""

    def parts(self) -> Iterator[TemplatePart]:
        """Yield the texts and slots of all strings, in order."""
        for template in _strings(self.arguments):
            yield from parse_template(template)


class ChatTurn(Declared):
    """A turn before the user's: an example, an earlier exchange, or a result."""

    role: Role
    content: Template = ""
    name: str | None = None
    """The tool that gave the result."""
    reasoning: Template | None = None
    """The reasoning of an assistant's turn, in the prompt where the family keeps it."""
    calls: tuple[DeclaredCall, ...] = ()
    """The calls that end an assistant's turn; as many `tool` turns follow, in the same order."""

    def parts(self) -> Iterator[TemplatePart]:
        """Yield the texts and slots of the turn, in order."""
        yield from parse_template(self.reasoning or "")
        yield from parse_template(self.content)
        for call in self.calls:
            yield from call.parts()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        """Read `{user: "..."}`, and `{tool: "...", name: "..."}`, as files write them."""
        if not isinstance(data, Mapping) or "role" in data:
            return data
        beside = {key: value for key, value in data.items() if key in _BESIDE_CONTENT}
        roles = [key for key in data if key not in beside]
        return {"role": roles[0], "content": data[roles[0]], **beside} if len(roles) == 1 else data

    @model_validator(mode="after")
    def _fields_of_the_role(self) -> Self:
        if self.name is not None and self.role != "tool":
            raise PydanticCustomError("turn", "only a `tool` turn has a `name`")
        if "content" not in self.model_fields_set and not self.calls:
            raise PydanticCustomError("turn", "a turn needs its `content`")
        if (self.calls or self.reasoning is not None) and self.role != "assistant":
            raise PydanticCustomError("turn", "only an `assistant` turn has `reasoning` and `calls`")
        return self

    @model_serializer
    def _to_short_form(self) -> dict[str, Any]:
        turn: dict[str, Any] = {self.role: self.content}
        turn |= {} if self.name is None else {"name": self.name}
        turn |= {} if self.reasoning is None else {"reasoning": self.reasoning}
        calls = [call.model_dump(exclude_defaults=True) for call in self.calls]
        return turn | ({"calls": calls} if calls else {})


def check_results(turns: tuple[ChatTurn, ...]) -> None:
    """Check that every call has its result, in the order of the calls.

    Raises:
        PydanticCustomError: a call has no result, or that of another tool.
    """
    for place, turn in enumerate(turns):
        if not turn.calls:
            continue
        # Not strict: where results are missing, the names below are fewer than the calls.
        results = turns[place + 1 : place + 1 + len(turn.calls)]
        told = [each.name or call.name for each, call in zip(results, turn.calls, strict=False)]
        # One turn further than there are calls: a result too many is found as well.
        behind = turns[place + 1 : place + 2 + len(turn.calls)]
        found = next((n for n, each in enumerate(behind) if each.role != "tool"), len(behind))
        if found != len(turn.calls) or [call.name for call in turn.calls] != told:
            raise PydanticCustomError(
                "results",
                "turn {turn} calls {calls}; a `tool` turn for each must follow it, in this order",
                {"turn": place, "calls": ", ".join(call.name for call in turn.calls)},
            )
