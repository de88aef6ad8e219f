"""Render a model's chat template, which is foreign code, in jinja2's sandbox (the extra `templates`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from codec_agents.exceptions import DialectError

MAX_TEMPLATE = 500_000
"""Characters: the longest known templates have 30,000."""


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


def render(
    config: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    thinking: str | None = None,
    *,
    opening: bool = True,
) -> str:
    """Return what a model's chat template makes of messages, rendered in a sandbox.

    Args:
        config: the model's `tokenizer_config.json`.
        messages: the conversation.
        tools: what the model may call.
        thinking: `on`, `off` or `forced`; None for what the template does by itself.
        opening: whether the assistant's turn is opened.

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
        messages=list(messages), tools=list(tools) or None, add_generation_prompt=opening, **tokens, **options
    )


def _token(value: Any) -> str:
    return str(value.get("content", "")) if isinstance(value, Mapping) else str(value or "")


def _tojson(value: Any, indent: int | None = None, **_options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> str:
    raise ValueError(message)
