"""Inkling: messages of blocks, whose kind a control token says; calls are JSON behind the tool's name."""

from __future__ import annotations

from codec_agents.dialects.base import (
    SPENT_BUDGET,
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)


def _effort(level: str) -> str:
    return f"<|message_system|><|content_text|>Thinking effort level: {level}<|end_message|>"


_TEXT = "<|content_text|>{content}<|end_message|>"

INKLING = Dialect(
    name="inkling",
    description="typed blocks, each headed by a control token; calls: JSON in separate blocks",
    markers=(
        "<|message_user|>",
        "<|message_model|>",
        "<|message_system|>",
        "<|message_tool|>",
        "<|content_text|>",
        "<|content_thinking|>",
        "<|content_xml|>",
        "<|content_invoke_tool_json|>",
        "<|content_model_end_sampling|>",
        "<|end_message|>",
    ),
    optional_markers=("<|content_invoke_tool_text|>", "<|endoftext|>"),
    system=f"<|message_system|>{_TEXT}",
    user=f"<|message_user|>{_TEXT}",
    assistant=f"<|message_model|>{_TEXT}<|content_model_end_sampling|>",
    answer=_TEXT,
    thinking_turn={
        "default": _effort("0.9"),
        "on": _effort("0.9"),
        "forced": _effort("0.9"),
        "off": _effort("0"),
    },
    thinking_turn_last=True,
    opening=Openings(default="<|message_model|>", forced="<|message_model|><|content_thinking|>"),
    turn_starts=("<|message_user|>", "<|message_model|>", "<|message_system|>", "<|message_tool|>"),
    turn_end="<|content_model_end_sampling|>",
    stops=("<|content_model_end_sampling|>", "<|endoftext|>"),
    unverified=(SPENT_BUDGET,),
    thinking=ThinkingForm(
        open="<|content_thinking|>",
        close="<|end_message|>",
        closing="<|end_message|><|message_model|><|content_text|>",
        kept=True,
        told="<|message_model|><|content_thinking|>{reasoning}<|end_message|><|message_model|>",
    ),
    tools=ToolsForm(
        form="<|message_system|>tool_declare<|content_xml|>{tools}<|end_message|>",
        place="before_system",
        each="flat",
        list_of=True,
        canonical=True,
    ),
    calls=CallForm(
        grammar="blocks",
        inner=("<|content_invoke_tool_json|>",),
        written=WrittenCalls(
            each='{name}<|content_invoke_tool_json|>{"name":{name_json},"args":{arguments}}<|end_message|>',
            join="<|message_model|>",
            literals="canonical",
            text=f"{_TEXT}<|message_model|>",
        ),
    ),
    results=ResultForm(each="<|message_tool|>{name}<|content_text|>{content}<|end_message|>"),
    reader="blocks",
)

DIALECTS = (INKLING,)
