"""Read `POST /v1/messages`, Anthropic's chat API, and `/v1/messages/count_tokens`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.engines.base import SamplingOptions
from codec_agents.server.apis.request import (
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
from codec_agents.server.bodies import DEFAULTS, check_stops
from codec_agents.server.fields import KnownFields, check_entries, check_fields, decode
from codec_agents.server.http import HttpError

if TYPE_CHECKING:
    from codec_agents.dialects.values import ThinkingMode
    from codec_agents.server.settings import ServerSettings

EMPTY = msgspec.Raw(b"{}")


class TextBlock(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Text, in a system text or the result of a tool."""

    type: str
    text: str | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a message: text, reasoning, a call, or its result."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = EMPTY
    tool_use_id: str | None = None
    content: str | list[TextBlock] | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message of a conversation."""

    role: str
    content: str | list[Block]


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """Reasoning before the answer. A budget is a target of the API, and not enforced here."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that may or must be called."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The form that the answer has to have."""

    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the answer."""

    format: OutputFormat | None = None


class MessagesBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a Messages request that are read."""

    messages: list[Turn]
    model: str | None = None
    max_tokens: int | None = None
    system: str | list[TextBlock] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Choice | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "container": (),
    "context_management": (),
    "diagnostics": (),
    "mcp_servers": ([],),
    "output_format": (),
    "inference_geo": (),
    "speed": ("standard",),
    "user_profile_id": (),
    "workspace_id": (),
}
"""Known fields that are not read, and the values at which they ask for nothing."""

NESTED = {
    "thinking": Thinking.__struct_fields__,
    "tool_choice": Choice.__struct_fields__,
    "output_config": OutputConfig.__struct_fields__,
    "cache_control": ("type", "ttl"),
}
FIELDS = KnownFields(
    frozenset({*MessagesBody.__struct_fields__, "cache_control"}),
    {"messages": None, "system": None, "tools": MAX_TOOLS},
    NESTED,
    HARMLESS,
)

_BODY = msgspec.json.Decoder(MessagesBody)


def read_messages(
    body: bytes,
    settings: ServerSettings = DEFAULTS,
    headers: Mapping[str, str] | None = None,
    *,
    of_engines: bool = False,
    counts: bool = False,
) -> ConversationRequest:
    """Read a Messages request.

    Args:
        body: the JSON.
        settings: the limits.
        headers: the request's head, names in lower case.
        of_engines: whether structured answers and single calls are taken; they are refused otherwise.
        counts: whether the request only asks for its number of ids, and has no limit of its own.

    Raises:
        HttpError: 400, naming the field.
    """
    # Each message has a role. Before anything is decoded, as in `read_chat`.
    check_entries(body, b'"role"', settings.max_messages, "messages", "messages")
    check_fields(body, FIELDS)
    asked = decode(_BODY, body)
    _check(asked, settings, counts=counts)
    conversation = _Conversation()
    if asked.system:
        conversation.messages.append(Message(role="system", content=_text("system", asked.system)))
    for place, turn in enumerate(asked.messages):
        conversation.take(f"messages[{place}]", turn)
    check_results(conversation.messages, "messages")
    choice, name = _tool_choice(asked.tool_choice)
    return ConversationRequest(
        api="messages",
        messages=tuple(conversation.messages),
        model=asked.model,
        tools=distinct(_tools(asked.tools or ())),
        tool_choice=choice,
        tool_name=name,
        parallel_calls=_parallel(asked.tool_choice, of_engines=of_engines),
        thinking=_thinking(asked.thinking),
        sampling=SamplingOptions(
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            stop=tuple(asked.stop_sequences or ()),
            structured=_structured(asked.output_config, of_engines=of_engines),
        ),
        max_tokens=asked.max_tokens,
        stream=bool(asked.stream),
        hides_reasoning=asked.thinking is not None and asked.thinking.display == "omitted",
        hints=hints_of(headers or {}, minted=conversation.minted),
    )


read_count = partial(read_messages, counts=True)
"""Read a request that only asks for the number of its ids."""


def _check(asked: MessagesBody, settings: ServerSettings, *, counts: bool) -> None:
    check_stops(asked.stop_sequences or (), settings, "stop_sequences")
    check_count(asked.messages, settings.max_messages, "messages")
    check_count(asked.tools or (), settings.max_tools, "tools")
    if not asked.messages:
        raise HttpError(400, "messages is empty", param="messages")
    if asked.max_tokens is None and not counts:
        raise HttpError(400, "max_tokens is required", param="max_tokens")
    # This API continues such a turn, so answering it as a whole one would be another answer.
    if asked.messages[-1].role == "assistant":
        raise HttpError(
            400,
            "the last message is the assistant's, and a turn that the client has begun is not continued; end "
            "with a message of the user",
            param="messages",
        )


class _Conversation:
    """Makes messages of turns: a user's turn may be several results, and text after them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.minted: dict[int, tuple[str, ...]] = {}

    def take(self, place: str, turn: Turn) -> None:
        """Take the next turn."""
        if turn.role not in ("user", "assistant"):
            raise HttpError(400, f"{place} has the role {turn.role[:40]!r}", param="messages")
        if isinstance(turn.content, str):
            self.messages.append(Message(role=turn.role, content=turn.content))
        elif turn.role == "assistant":
            self._take_assistant(place, turn.content)
        else:
            self._take_user(place, turn.content)

    def _take_assistant(self, place: str, blocks: Sequence[Block]) -> None:
        for number, block in enumerate(blocks):
            _require_type(f"{place}.content[{number}]", block, ("text", "thinking", "tool_use"))
        # The only ids that clients of this API send back: messages and texts have none in a request.
        given = (given for block in blocks for given in (block.id, block.signature) if given)
        if minted := tuple(given):
            self.minted[len(self.messages)] = minted
        # Joined by kind: templates have one place for each in a turn, whatever the order of the blocks was.
        reasoning = "".join(block.thinking or "" for block in blocks if block.type == "thinking")
        self.messages.append(
            Message(
                role="assistant",
                content="".join(block.text or "" for block in blocks if block.type == "text"),
                reasoning=reasoning_or_none(reasoning),
                calls=tuple(_calls(place, blocks)),
            )
        )

    def _take_user(self, place: str, blocks: Sequence[Block]) -> None:
        texts: list[str] = []
        said = False
        for number, block in enumerate(blocks):
            where = f"{place}.content[{number}]"
            _require_type(where, block, ("text", "tool_result"))
            if block.type == "text":
                texts.append(block.text or "")
                continue
            self._end_text(texts)
            said = True
            if block.tool_use_id is None:
                raise HttpError(400, f"{where} has no tool_use_id", param="messages")
            result = _text(f"{where}.content", block.content)
            self.messages.append(Message(role="tool", content=result, call_id=block.tool_use_id))
        # A turn without blocks is an empty message; one of results alone has no message of the user.
        self._end_text(texts, also_empty=not said)

    def _end_text(self, texts: list[str], *, also_empty: bool = False) -> None:
        if texts or also_empty:
            self.messages.append(Message(role="user", content="".join(texts)))
            texts.clear()


def _require_type(place: str, block: Block, types: Sequence[str]) -> None:
    if block.type not in types:
        kind = block.type[:40]
        raise HttpError(
            400, f"{place} is of type {kind!r}: only {', '.join(types)} are served here", param="messages"
        )
    if block.type in ("text", "thinking") and getattr(block, block.type) is None:
        raise HttpError(400, f"{place} has no {block.type}", param="messages")


def _calls(place: str, blocks: Sequence[Block]) -> Iterator[MessageCall]:
    for number, block in enumerate(blocks):
        if block.type == "tool_use":
            if not block.name or not block.id:
                raise HttpError(400, f"{place}.content[{number}] needs an id and a name", param="messages")
            yield sent_call(block.name, bytes(block.input).decode(), block.id)


def _text(place: str, content: str | Sequence[TextBlock] | None) -> str:
    return text_of(content, place, param=place.partition("[")[0])


def _tools(tools: Sequence[Mapping[str, Any]]) -> Iterator[OfferedTool]:
    for number, tool in enumerate(tools):
        if tool.get("type") not in (None, "custom"):
            kind = str(tool["type"])[:40]
            raise HttpError(
                400, f"tools[{number}] is of type {kind!r}: only the client's own are served", param="tools"
            )
        yield read_tool(f"tools[{number}]", tool, "input_schema")


CHOICES: Mapping[str, ToolChoice] = {"auto": "auto", "none": "none", "any": "required", "tool": "required"}


def _tool_choice(choice: Choice | None) -> tuple[ToolChoice, str | None]:
    if choice is None:
        return "auto", None
    if choice.type not in CHOICES or (choice.type == "tool") != bool(choice.name):
        raise HttpError(
            400, "tool_choice is of type auto, none, any, or tool with a name", param="tool_choice"
        )
    return CHOICES[choice.type], choice.name


def _parallel(choice: Choice | None, *, of_engines: bool) -> bool:
    single = choice is not None and bool(choice.disable_parallel_tool_use)
    if single and not of_engines:
        raise HttpError(
            400,
            "tool_choice.disable_parallel_tool_use is not served, and would change the answer; leave it out",
            param="tool_choice",
        )
    return not single


def _thinking(thinking: Thinking | None) -> ThinkingMode | None:
    if thinking is None:
        return None
    if thinking.type not in ("enabled", "adaptive", "disabled"):
        raise HttpError(400, "thinking is of type enabled, adaptive or disabled", param="thinking")
    # "summarized" is the API's word for reasoning that is shown.
    if thinking.display not in (None, "summarized", "omitted"):
        raise HttpError(400, "thinking.display is summarized or omitted", param="thinking.display")
    # `adaptive` leaves it to the model how much to reason, and so does `on`: no budget is enforced.
    return "off" if thinking.type == "disabled" else "on"


def _structured(config: OutputConfig | None, *, of_engines: bool) -> dict[str, Any] | None:
    form = None if config is None else config.format
    if form is None:
        return None
    if not of_engines or form.type != "json_schema" or form.schema is None:
        remedy = "give json_schema with a schema" if of_engines else "leave it out"
        raise HttpError(
            400,
            f"output_config.format of type {form.type[:40]!r} is not served; {remedy}",
            code="unsupported_parameter",
            param="output_config.format",
        )
    require_shallow(form.schema, "output_config.format.schema", "output_config.format")
    return {"json_schema": form.schema}
