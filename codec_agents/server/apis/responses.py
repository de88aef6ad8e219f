"""Read `POST /v1/responses`, OpenAI's newer chat API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.engines.base import SamplingOptions
from codec_agents.server.apis.request import (
    CHOICES,
    ConversationRequest,
    OfferedTool,
    ToolChoice,
    check_results,
    hints_of,
    reasoning_or_none,
    sent_call,
    text_of,
)
from codec_agents.server.apis.tools import (
    MAX_TOOLS,
    check_count,
    distinct,
    read_tool,
    require_shallow,
)
from codec_agents.server.bodies import DEFAULTS
from codec_agents.server.fields import ASKING_NOTHING, KnownFields, check_entries, check_fields, decode
from codec_agents.server.http import HttpError

if TYPE_CHECKING:
    from codec_agents.dialects.values import ThinkingMode
    from codec_agents.server.settings import ServerSettings

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

TEXTS = frozenset({"input_text", "output_text", "text", "reasoning_text", "summary_text"})
"""The types of parts that are text."""

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of an item's content."""

    type: str | None = None
    text: str | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One item of a conversation: a message, reasoning, a call, or its result."""

    type: str | None = None
    """None for a message, as most clients leave it out there."""
    role: str | None = None
    content: str | list[Part] | None = None
    summary: list[Part] | None = None
    id: str | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much a model reasons, and how it is told."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class TextFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The form that the answer has to have."""

    type: str = "text"
    schema: dict[str, Any] | None = None


class TextOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the answer's text."""

    format: TextFormat | None = None


class ResponsesBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a Responses request that are read."""

    input: str | list[Item]
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    include: list[str] | None = None
    reasoning: Reasoning | None = None
    text: TextOptions | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    top_logprobs: int | None = None


OF_ENGINES = frozenset({"parallel_tool_calls", "top_logprobs"})
"""Fields that only a server in front of an engine can honour; others refuse them by name."""

HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "access_programs": (),
    "background": (False,),
    "background_options": (),
    "conversation": (),
    "context_management": (),
    "image": (),
    "max_tool_calls": (),
    "moderation": (),
    "parallel_tool_calls": (True,),
    "prompt": (),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
    "verbosity": ASKING_NOTHING["verbosity"],
}
"""Known fields that are not read, and the values at which they ask for nothing."""

LONG = {"input": None, "instructions": None, "tools": MAX_TOOLS}
NESTED = {
    "reasoning": Reasoning.__struct_fields__,
    "text": TextOptions.__struct_fields__,
    "stream_options": (),
}
READ = frozenset({*ResponsesBody.__struct_fields__, "stream_options"})
FIELDS = KnownFields(READ - OF_ENGINES, LONG, NESTED, HARMLESS)
FIELDS_OF_ENGINES = KnownFields(READ, LONG, NESTED, HARMLESS)

_BODY = msgspec.json.Decoder(ResponsesBody)


def read_responses(
    body: bytes,
    settings: ServerSettings = DEFAULTS,
    headers: Mapping[str, str] | None = None,
    *,
    of_engines: bool = False,
) -> ConversationRequest:
    """Read a Responses request.

    Args:
        body: the JSON.
        settings: the limits.
        headers: the request's head, names in lower case.
        of_engines: whether `OF_ENGINES`, structured answers and log probabilities are taken; they are refused
            otherwise.

    Raises:
        HttpError: 400, naming the field.
    """
    # No member is in every item, as a message may be without its type; each item is an object.
    check_entries(body, b"{", settings.max_messages, "input", "items")
    check_fields(body, FIELDS_OF_ENGINES if of_engines else FIELDS)
    asked = decode(_BODY, body)
    check_count(asked.tools or (), settings.max_tools, "tools")
    included = _included(asked.include or (), of_engines=of_engines)
    conversation = _conversation_of(asked, settings)
    choice, name = _tool_choice(asked.tool_choice)
    return ConversationRequest(
        api="responses",
        messages=tuple(conversation.messages),
        model=asked.model,
        tools=distinct(_tools(asked.tools or ())),
        tool_choice=choice,
        tool_name=name,
        parallel_calls=asked.parallel_tool_calls is not False,
        thinking=_thinking(asked.reasoning),
        sampling=SamplingOptions(
            temperature=asked.temperature,
            top_p=asked.top_p,
            logprobs=_logprobs(asked.top_logprobs, included),
            structured=_structured(asked.text, of_engines=of_engines),
        ),
        max_tokens=asked.max_output_tokens,
        stream=bool(asked.stream),
        reasoning_summary=_wants_summary(asked.reasoning),
        encrypted_reasoning=ENCRYPTED in included,
        store=asked.store is not False,
        echo={"instructions": asked.instructions, "metadata": asked.metadata or {}},
        hints=hints_of(
            headers or {},
            minted={place: tuple(ids) for place, ids in conversation.minted.items()},
            previous_response_id=asked.previous_response_id,
        ),
    )


def _conversation_of(asked: ResponsesBody, settings: ServerSettings) -> _Conversation:
    items = [Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    if not items:
        raise HttpError(400, "input is empty", param="input")
    check_count(items, settings.max_messages, "input")
    conversation = _Conversation()
    if asked.instructions:
        conversation.messages.append(Message(role="system", content=asked.instructions))
    for place, item in enumerate(items):
        conversation.take(f"input[{place}]", item)
    conversation.end()
    # Behind an earlier response, the calls are in that one; what joins them looks at the results.
    if asked.previous_response_id is None:
        check_results(conversation.messages, "input")
    return conversation


class _Conversation:
    """Gathers items as messages: neighbouring items of the model are one turn."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.minted: dict[int, list[str]] = {}
        self._model: list[Item] = []
        """The items of the turn that is being gathered."""

    def take(self, place: str, item: Item) -> None:
        """Take the next item."""
        kind = item.type or "message"
        if kind == "message":
            role = ROLES.get(item.role or "")
            if role is None:
                raise HttpError(400, f"{place} has the role {str(item.role)[:40]!r}", param="input")
            if role == "assistant":
                # Read twice: errors name a place, and the turn is put together when its last item is known.
                _text(f"{place}.content", item.content)
                self._model.append(item)
                return
            self.end()
            self.messages.append(Message(role=role, content=_text(f"{place}.content", item.content)))
        elif kind in ("reasoning", "function_call"):
            _check_model_item(place, item)
            self._model.append(item)
        elif kind == "function_call_output":
            self.end()
            if item.call_id is None or item.output is None:
                raise HttpError(400, f"{place} needs a call_id and an output", param="input")
            output = _text(f"{place}.output", item.output)
            self.messages.append(Message(role="tool", content=output, call_id=item.call_id))
        else:
            raise HttpError(400, f"{place} is of type {kind[:40]!r}, which is not served", param="input")

    def end(self) -> None:
        """End a turn of the model, where its items were the last ones."""
        if not self._model:
            return
        items, self._model = self._model, []
        # Any of these may be an id that this server made; those that the client made name no turn.
        self.minted[len(self.messages)] = [
            given
            for item in items
            for given in (item.id, item.call_id, item.encrypted_content)
            if given is not None
        ]
        # By kind: templates have one place for each in a turn, whatever the order of the items was.
        reasoning = "".join(_reasoning(item) for item in items if item.type == "reasoning")
        self.messages.append(
            Message(
                role="assistant",
                content="".join(_text("", item.content) for item in items if item.type in (None, "message")),
                reasoning=reasoning_or_none(reasoning),
                calls=tuple(_calls(items)),
            )
        )


def _check_model_item(place: str, item: Item) -> None:
    if item.type == "function_call":
        if not item.name or item.arguments is None:
            raise HttpError(400, f"{place} needs a name and arguments", param="input")
    elif isinstance(item.content, str):
        raise HttpError(400, f"{place}.content must be a list of parts", param="input")
    else:
        _text(f"{place}.content", item.content)
        _text(f"{place}.summary", item.summary)


def _calls(items: Sequence[Item]) -> Iterator[MessageCall]:
    for item in items:
        if item.type == "function_call":
            yield sent_call(item.name or "", item.arguments or "", item.call_id)


def _reasoning(item: Item) -> str:
    """Return reasoning from its content, or from its summary where it was sent as one."""
    return _text("", item.content) or _text("", item.summary)


def _text(place: str, content: str | Sequence[Part] | None) -> str:
    return text_of(content, place, param="input", types=TEXTS)


def _tools(tools: Sequence[Mapping[str, Any]]) -> Iterator[OfferedTool]:
    for number, tool in enumerate(tools):
        if tool.get("type", "function") != "function":
            kind = str(tool["type"])[:40]
            raise HttpError(
                400, f"tools[{number}] is of type {kind!r}: only functions are served", param="tools"
            )
        yield read_tool(f"tools[{number}]", tool, "parameters")


def _tool_choice(choice: str | dict[str, Any] | None) -> tuple[ToolChoice, str | None]:
    if not isinstance(choice, dict) and choice in CHOICES:
        return CHOICES[choice], None
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return "required", choice["name"]
    raise HttpError(
        400, "tool_choice must be auto, none, required, or a function's name", param="tool_choice"
    )


def _thinking(reasoning: Reasoning | None) -> ThinkingMode | None:
    effort = None if reasoning is None else reasoning.effort
    if effort not in (None, "none"):
        raise HttpError(
            400,
            "reasoning.effort is served as none alone, which turns reasoning off; leave it out",
            code="unsupported_parameter",
            param="reasoning.effort",
        )
    return None if effort is None else "off"


def _wants_summary(reasoning: Reasoning | None) -> bool:
    return reasoning is not None and (reasoning.summary or reasoning.generate_summary) is not None


def _included(include: Sequence[str], *, of_engines: bool) -> Sequence[str]:
    served = (ENCRYPTED, LOGPROBS) if of_engines else (ENCRYPTED,)
    for name in include:
        if name not in served:
            raise HttpError(400, f"include holds {name[:80]!r}, which is not served", param="include")
    return include


def _logprobs(top: int | None, included: Sequence[str]) -> int | None:
    if LOGPROBS in included:
        return top or 0
    if top:
        raise HttpError(400, f"top_logprobs needs {LOGPROBS!r} in include", param="top_logprobs")
    return None


def _structured(text: TextOptions | None, *, of_engines: bool) -> dict[str, Any] | None:
    form = None if text is None else text.format
    if form is None or form.type == "text":
        return None
    if not of_engines:
        raise HttpError(
            400,
            "text.format is not served, and would change the answer; leave it out",
            code="unsupported_parameter",
            param="text.format",
        )
    if form.type == "json_object":
        return {"json_schema": {"type": "object"}}
    if form.type == "json_schema" and form.schema is not None:
        require_shallow(form.schema, "text.format.schema", "text.format")
        return {"json_schema": form.schema}
    raise HttpError(
        400, "text.format is text, json_object, or json_schema with a schema", param="text.format"
    )
