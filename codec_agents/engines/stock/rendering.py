"""A prompt that the engine writes: its own chat template, rendered once, in the pieces of a prompt.

The slots are put in as words that stand for them, the engine renders the conversation, and the words become
slots again. So the template is the engine's, and what fills the slots still cannot become a control id.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from codec_agents.engines.base import Engine, GenerationRequest, replicas_of
from codec_agents.engines.http.pool import HttpPool
from codec_agents.exceptions import PromptError
from codec_agents.graph.chat import Chat, ChatPiece, RawPrompt
from codec_agents.graph.messages import chat_messages
from codec_agents.graph.templates import Slot, Text, parse_template
from codec_core.detokenizer import detokenize
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

STAND_IN = "SLOTxQ{}QxSLOT"
"""Stands for a slot while the engine renders: letters that no template changes."""


@runtime_checkable
class ChatRendering(Protocol):
    """An engine that renders chat templates."""

    pool: HttpPool

    async def render_chat(self, request: GenerationRequest, conversation: Mapping[str, Any]) -> Sequence[int]:
        """Return the ids of a prompt.

        Args:
            request: the model, its vocabulary, and how long it may take; its prompt means nothing.
            conversation: `messages`, and `tools` and `chat_template_kwargs` where there are any.

        Raises:
            EngineError: the engine cannot be asked, or does not render.
        """
        ...


async def engine_prompt(
    engine: Engine,
    chat: Chat,
    vocabulary: Vocabulary,
    *,
    model: str | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> RawPrompt:
    """Return a chat in the pieces of the engine's own chat template.

    Args:
        engine: who is asked; over connections of its own, which are closed.
        chat: the declaration.
        vocabulary: the model's.
        model: what the engine calls the model.
        tools: declarations of the model's tools.

    Raises:
        PromptError: the engine has no such call, or what it renders is not made of pieces and slots.
        EngineError: the engine cannot be asked.
    """
    engine = replicas_of(engine)[0]
    if not isinstance(engine, ChatRendering):
        raise PromptError(f"the engine {engine.name!r} renders no templates; vllm, sglang and llamacpp do")
    if chat.thinking == "forced":
        raise PromptError(
            "`thinking: forced` needs the template of the dialect; an engine's template takes `on` or `off`"
        )
    _refuse_slots_in_calls(chat)
    _refuse_stand_ins(chat, tools)
    request = GenerationRequest(prompt_ids=(), vocabulary=vocabulary, model=model)
    # Rendering happens at build, in an event loop of its own; the engine's connections belong to the runs.
    asked = copy.copy(engine)
    asked.pool = HttpPool(engine.name, engine.pool.url.get_secret_value(), engine.pool.settings)
    try:
        rendering = asked.render_chat(request, _conversation(chat, tools))
        ids = await asked.pool.secrets.sealed(rendering)
    finally:
        await asked.pool.aclose()
    return _as_pieces(ids, chat, vocabulary)


def _refuse_slots_in_calls(chat: Chat) -> None:
    parts = (part for turn in chat.turns for call in turn.calls for part in call.parts())
    slot = next((part.name for part in parts if isinstance(part, Slot)), None)
    if slot is not None:
        raise PromptError(
            f"the slot {slot!r} is inside a call, where an engine's template escapes the value at hand "
            "and not one filled in later; leave `template: engine` out, or declare the call without the slot"
        )


def _refuse_stand_ins(chat: Chat, tools: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a chat that spells the word for a slot, or its beginning: it would become one."""
    told = json.dumps([chat_messages(chat, _literals), list(tools)])
    if (mark := STAND_IN.partition("{}")[0]) in told:
        raise PromptError(
            f"the chat or a tool spells {mark!r}, which stands for slots while an engine renders the chat; "
            "spell it otherwise, or leave `template: engine` out"
        )


def _literals(template: str) -> str:
    return "\n".join(part.text for part in parse_template(template) if isinstance(part, Text))


def _conversation(chat: Chat, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    messages = chat_messages(chat, lambda template: _content(template, chat.slots))
    options: dict[str, Any] = {"tools": list(tools)} if tools else {}
    if chat.thinking is not None:
        wanted = chat.thinking == "on"
        # Qwen's templates read one name, DeepSeek's and Granite's the other; templates ignore unknown ones.
        options["chat_template_kwargs"] = {"enable_thinking": wanted, "thinking": wanted}
    return {"messages": messages, **options}


def _content(template: str, slots: Sequence[str]) -> str:
    parts = parse_template(template)
    return "".join(
        part.text if isinstance(part, Text) else STAND_IN.format(slots.index(part.name)) for part in parts
    )


def _as_pieces(ids: Sequence[int], chat: Chat, vocabulary: Vocabulary) -> RawPrompt:
    parts = [*_parts(ids, chat.slots, vocabulary)]
    missing = set(chat.slots) - {part.name for part in parts if isinstance(part, Slot)}
    if missing:
        raise PromptError(f"the engine's template leaves out, or changes, the slots {sorted(missing)}")
    # A run encodes the pieces anew: where that gives other ids, its prompt would not be the engine's.
    written = _written(parts, chat.slots, vocabulary)
    if written != list(ids):
        least = min(len(written), len(ids))  # one may be the beginning of the other
        at = next((n for n, pair in enumerate(zip(written, ids, strict=False)) if pair[0] != pair[1]), least)
        raise PromptError(
            f"the engine's prompt cannot be written in pieces of {vocabulary.id!r}: it differs at id {at}"
        )
    names = {token: name for name, token in vocabulary.special_tokens.items()}
    return RawPrompt(tuple(_piece(part, names) for part in parts))


Part = int | Text | Slot
"""A control id, text between control ids, or a slot in it."""


def _parts(ids: Sequence[int], slots: Sequence[str], vocabulary: Vocabulary) -> Iterator[Part]:
    ordinary: list[int] = []
    for token in (*ids, None):  # None ends the last text as a control id would
        if token is not None and token not in vocabulary.special_ids:
            ordinary.append(token)
            continue
        yield from _text_parts(detokenize(vocabulary, ordinary), slots)
        ordinary.clear()
        if token is not None:
            yield token


def _text_parts(text: str, slots: Sequence[str]) -> Iterator[Part]:
    stand_ins = {STAND_IN.format(number): name for number, name in enumerate(slots)}
    pattern = "|".join(map(re.escape, stand_ins)) or "(?!)"  # which matches nowhere
    for piece in re.split(f"({pattern})", text):
        if piece in stand_ins:
            yield Slot(stand_ins[piece])
        elif piece:
            yield Text(piece)


def _written(parts: Sequence[Part], slots: Sequence[str], vocabulary: Vocabulary) -> list[int]:
    """Return the ids of the parts with the stand-ins in place: what the engine gave, if nothing is wrong."""
    encode = pick_tokenizer(vocabulary).encode_ordinary
    ids: list[int] = []
    text = ""
    for part in (*parts, None):  # text on both sides of a slot is encoded as one, as the engine did
        if isinstance(part, Text):
            text += part.text
        elif isinstance(part, Slot):
            text += STAND_IN.format(slots.index(part.name))
        else:
            ids += encode(text) if text else ()
            ids += () if part is None else (part,)
            text = ""
    return ids


def _piece(part: Part, names: Mapping[int, str]) -> ChatPiece:
    if isinstance(part, Text):
        return ChatPiece(text=part.text)
    return ChatPiece(slot=part.name) if isinstance(part, Slot) else ChatPiece(token=names[part])
