"""A model's own Jinja chat template beside the dialect: which family it is, and where the two disagree.

Templates are foreign code: they are rendered in jinja2's sandbox (the extra `templates`), and only for the
check. Prompts are never made by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.base import Dialect
from codec_agents.dialects.registry import get_dialect
from codec_agents.exceptions import DialectError
from codec_agents.graph.chat import Chat, ChatTurn
from codec_core.detokenizer import Detokenizer

if TYPE_CHECKING:
    from codec_agents.dialects.bound import BoundDialect

MAX_TEMPLATE = 500_000
"""Characters: the longest known templates have 30,000."""

EXCERPT = 40
"""Characters on either side of a disagreement."""

TELLTALES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|channel|>", "<|message|>"), "harmony"),
    (("<minimax:tool_call>",), "minimax-m2"),
    (("<|tool_calls_section_begin|>",), "kimi-k2"),
    (("<|turn>", "<|tool_call>"), "gemma-4"),
    (("<|START_ACTION|>",), "command-a"),
    (("<arg_key>", "<|assistant|>\n"), "glm-4.5"),
    (("<arg_key>",), "glm-4.7"),
    (("<｜tool▁calls▁begin｜>", "```json", "<think>\\n"), "deepseek-r1"),
    (("<｜tool▁calls▁begin｜>", "```json"), "deepseek-v3"),
    (("<｜tool▁calls▁begin｜>",), "deepseek-v3.1"),
    (("<|im_start|>", "<function=", "<think>"), "qwen3.5"),
    (("<|im_start|>", "<function="), "qwen3-coder"),
    (("<|im_start|>", "<tool_call>", "enable_thinking"), "qwen3"),
    (("<|im_start|>", "<tool_call>", "<|im_start|>assistant\\n<think>\\n"), "qwq"),
    (("<|im_start|>", "<tool_call>", "You are Qwen, created by Alibaba Cloud"), "qwen2.5"),
    (("<|im_start|>", "<|im_sep|>"), "phi4"),
    (("<|im_start|>",), "hermes"),
    (("<|start_of_role|>", "</tool_call>"), "granite-4"),
    (("<|start_of_role|>",), "granite-3"),
    (("<|start_header_id|>",), "llama3"),
    (("[TOOL_CALLS]", "[CALL_ID]"), "mistral-v11"),
    (("[TOOL_CALLS]", "[ARGS]"), "mistral-v13"),
    (("[TOOL_CALLS]", "[SYSTEM_PROMPT]"), "mistral-v7"),
    (("[TOOL_CALLS]",), "mistral-v3"),
    (("<|tool_call|>", "<|end|>"), "phi4-mini"),
    (("<|assistant|>", "<|end|>"), "phi3"),
)
"""Strings that only one family's template has, the most telling first."""


def derive_from_config(config: Mapping[str, Any]) -> tuple[Dialect, str]:
    """Return the dialect that a `tokenizer_config.json` shows by its chat template; and why.

    Raises:
        DialectError: there is no chat template, or it is no known family's.
    """
    template = template_of(config)
    for strings, name in TELLTALES:
        if all(string in template for string in strings):
            shown = ", ".join(repr(string) for string in strings)
            return get_dialect(name), f"the chat template holds {shown}"
    raise DialectError("the chat template of tokenizer_config.json is no known family's; name the dialect")


def template_of(config: Mapping[str, Any]) -> str:
    """Return the chat template of a `tokenizer_config.json`, the one for tools where there are several.

    Raises:
        DialectError: there is none.
    """
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, Mapping)}
        template = named.get("tool_use") or named.get("default")
    if not isinstance(template, str) or len(template) > MAX_TEMPLATE:
        raise DialectError("tokenizer_config.json has no chat template that can be read; name the dialect")
    return template


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Where a dialect and a chat template write the same conversation differently.

    Fields:
        conversation: which conversation it was.
        position: the character at which they part.
        dialect: what the dialect writes there.
        template: what the template writes there, or how it failed.
    """

    conversation: str
    position: int
    dialect: str
    template: str

    def __str__(self) -> str:
        return (
            f"{self.conversation}: at character {self.position} the dialect writes {self.dialect!r}, "
            f"the chat template {self.template!r}"
        )


def check_template(
    bound: BoundDialect, config: Mapping[str, Any], chat: Chat | None = None
) -> list[Disagreement]:
    """Compare a dialect with a model's chat template, for usual conversations or for a declared one.

    Args:
        bound: the dialect; its tools take part.
        config: the model's `tokenizer_config.json`.
        chat: a conversation without slots; None for a few usual ones.

    Raises:
        DialectError: jinja2 is not installed, or there is no template.
    """
    chats = {"the declared chat": chat} if chat is not None else _CHATS
    found = [_compare(name, bound, config, each) for name, each in chats.items()]
    return [disagreement for disagreement in found if disagreement is not None]


_CHATS: Mapping[str, Chat] = {
    "user": Chat(user="Hello there"),
    "system and user": Chat(system="Be brief.", user="Hello there"),
    "several turns": Chat(
        system="Be brief.",
        turns=(ChatTurn(role="user", content="Hi"), ChatTurn(role="assistant", content="Hello")),
        user="How are you?",
    ),
}


def _compare(name: str, bound: BoundDialect, config: Mapping[str, Any], chat: Chat) -> Disagreement | None:
    ours = Detokenizer(bound.vocabulary).render(bound.template(chat).render({}), render_special=True)
    try:
        theirs = render(
            config, _messages(chat), [tool.schema() for tool in bound.tools.values()], chat.thinking
        )
    except DialectError:
        raise
    except Exception as error:
        return Disagreement(name, 0, ours[:EXCERPT], f"failed: {type(error).__name__}: {error}")
    if ours == theirs:
        return None
    place = next(
        (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    begin = max(0, place - EXCERPT)
    return Disagreement(name, place, ours[begin : place + EXCERPT], theirs[begin : place + EXCERPT])


def _messages(chat: Chat) -> list[dict[str, str]]:
    turns = [
        ("system", chat.system),
        *((turn.role, turn.content) for turn in chat.turns),
        ("user", chat.user),
    ]
    return [{"role": role, "content": _unescaped(content)} for role, content in turns if content is not None]


def _unescaped(template: str) -> str:
    return template.replace("{{", "{").replace("}}", "}")


def render(
    config: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    thinking: str | None = None,
) -> str:
    """Return what a model's chat template makes of messages, rendered in a sandbox.

    Raises:
        DialectError: jinja2 is not installed, or there is no template.
    """
    try:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise DialectError(
            "checking a chat template needs jinja2; install it with: pip install 'codec-agents[templates]'"
        ) from error
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.now(UTC).strftime(form),
    }
    options = (
        {} if thinking is None else {"enable_thinking": thinking != "off", "thinking": thinking != "off"}
    )
    tokens = {f"{kind}_token": _token(config.get(f"{kind}_token")) for kind in ("bos", "eos", "pad", "unk")}
    return environment.from_string(template_of(config)).render(
        messages=list(messages), tools=list(tools) or None, add_generation_prompt=True, **tokens, **options
    )


def _token(value: Any) -> str:
    return str(value.get("content", "")) if isinstance(value, Mapping) else str(value or "")


def _tojson(value: Any, indent: int | None = None, **_options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> str:
    raise ValueError(message)
