"""Apertus: a developer's turn says whether to reason, and tells the tools or that there are none.

Only text separates results from each other. One that is no JSON and holds the separator is read back as two,
and the last one has what is then left.
"""

from __future__ import annotations

from codec_agents.dialects.base import (
    EARLIER_REASONING,
    SPENT_BUDGET,
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)

_DEVELOPER = "<|developer_start|>Deliberation: {}\n"
_OFF, _ON = _DEVELOPER.format("disabled"), _DEVELOPER.format("enabled")
_ABOUT = "You are Apertus, a helpful assistant created by the SwissAI initiative.\nKnowledge cutoff: 2024-04"

APERTUS = Dialect(
    name="apertus",
    description=(
        "turn tokens; a developer turn; calls: a JSON list of {name: arguments} in <|tools_prefix|>; results "
        "inside the assistant's turn"
    ),
    markers=(
        "<s>",
        "<|system_start|>",
        "<|system_end|>",
        "<|developer_start|>",
        "<|developer_end|>",
        "<|user_start|>",
        "<|user_end|>",
        "<|assistant_start|>",
        "<|assistant_end|>",
        "<|inner_prefix|>",
        "<|inner_suffix|>",
        "<|tools_prefix|>",
        "<|tools_suffix|>",
    ),
    optional_markers=("</s>",),
    begin="<s>",
    system="<|system_start|>{content}<|system_end|>",
    default_turn=f"<|system_start|>{_ABOUT}<|system_end|>",
    user="<|user_start|>{content}<|user_end|>",
    assistant="<|assistant_start|>{content}<|assistant_end|>",
    thinking_turn={"default": _OFF, "on": _ON, "off": _OFF, "forced": _ON},
    thinking_turn_last=True,
    opening=Openings(default="<|assistant_start|>", forced="<|assistant_start|><|inner_prefix|>"),
    turn_starts=("<|system_start|>", "<|developer_start|>", "<|user_start|>", "<|assistant_start|>"),
    turn_end="<|assistant_end|>",
    # `<|tools_suffix|>` too: https://github.com/swiss-ai/Megatron-LM/pull/120 sets these three.
    stops=("<|assistant_end|>", "<|tools_suffix|>", "</s>"),
    unverified=(
        EARLIER_REASONING,
        SPENT_BUDGET,
        "the date line of the system turn, which is omitted",
        "reasoning beside calls (the available template omits the reasoning of messages)",
    ),
    thinking=ThinkingForm(open="<|inner_prefix|>", close="<|inner_suffix|>", closing="<|inner_suffix|>"),
    tools=ToolsForm(
        place="after_system",
        form="Tool Capabilities:\n{tools}<|developer_end|>",
        absent="Tool Capabilities: disabled<|developer_end|>",
        each="apertus",
    ),
    calls=CallForm(
        grammar="keyed-json",
        starts=("<|tools_prefix|>",),
        # No `ends`: the control token behind the calls ends the turn, and the results begin with it.
        written=WrittenCalls(
            open="<|tools_prefix|>[", each="{{name_json}: {arguments}}", join=", ", close="]"
        ),
    ),
    results=ResultForm(
        open="<|tools_suffix|>[",
        each="{content}",
        join=", ",
        close="]",
        in_turn=True,
    ),
)

DIALECTS = (APERTUS,)
