"""Kimi K2 and K2.5: a section of calls; a call's id names its tool and must come back with its result."""

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

_INNER = ("<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_call_argument_begin|>")

KIMI_K2 = Dialect(
    name="kimi-k2",
    description="role tokens; calls in a section, with ids that count over the conversation",
    markers=(
        "<|im_system|>",
        "<|im_user|>",
        "<|im_assistant|>",
        "<|im_middle|>",
        "<|im_end|>",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        *_INNER,
    ),
    optional_markers=(
        "[BOS]",
        "[EOS]",
        "<think>",
        "</think>",
        "<|tool_call_section_begin|>",
        "<|tool_call_section_end|>",
    ),
    system="<|im_system|>system<|im_middle|>{content}<|im_end|>",
    user="<|im_user|>user<|im_middle|>{content}<|im_end|>",
    assistant="<|im_assistant|>assistant<|im_middle|>{content}<|im_end|>",
    default_turn=(
        "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>\n"
    ),
    opening=Openings(
        default="<|im_assistant|>assistant<|im_middle|>",
        off="<|im_assistant|>assistant<|im_middle|><think></think>",
        forced="<|im_assistant|>assistant<|im_middle|><think>",
    ),
    turn_starts=("<|im_system|>", "<|im_user|>", "<|im_assistant|>"),
    unverified=(EARLIER_REASONING, SPENT_BUDGET),
    turn_end="<|im_end|>",
    stops=("<|im_end|>", "[EOS]"),
    thinking=ThinkingForm(open="<think>", close="</think>", closing="</think>"),
    tools=ToolsForm(
        form="<|im_system|>tool_declare<|im_middle|>{tools}<|im_end|>",
        place="before_system",
        list_of=True,
        canonical=True,
    ),
    calls=CallForm(
        grammar="kimi",
        # Some turns hold the singular, where the vocabulary has it.
        starts=("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>"),
        ends=("<|tool_calls_section_end|>", "<|tool_call_section_end|>"),
        inner=_INNER,
        written=WrittenCalls(
            open="<|tool_calls_section_begin|>",
            each="<|tool_call_begin|>{id}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>",
            close="<|tool_calls_section_end|>",
        ),
    ),
    results=ResultForm(
        each="<|im_system|>tool<|im_middle|>## Return of {id}\n{content}<|im_end|>",
        id_form="functions.{name}:{index}",
        id_pattern=r"functions\.{name}:\d+",
    ),
)

KIMI_K2_5 = KIMI_K2.model_copy(
    update={
        "name": "kimi-k2.5",
        "description": "as kimi-k2; every turn opens with reasoning",
        "markers": (*KIMI_K2.markers, "<think>", "</think>"),
        "default_turn": None,
        "tools": ToolsForm(
            form=(
                "<|im_system|>tool_declare<|im_middle|># Tools\n\n## functions\nnamespace functions {\n"
                "{tools}\n}\n<|im_end|>"
            ),
            place="before_system",
            each="kimi",
        ),
        "unverified": (SPENT_BUDGET,),
        "assistant": "<|im_assistant|>assistant<|im_middle|><think></think>{content}<|im_end|>",
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="</think>",
            history="<|im_assistant|>assistant<|im_middle|><think></think>",
        ),
        "opening": Openings(
            default="<|im_assistant|>assistant<|im_middle|><think>",
            off="<|im_assistant|>assistant<|im_middle|><think></think>",
            forced="<|im_assistant|>assistant<|im_middle|><think>",
        ),
    }
)

DIALECTS = (KIMI_K2, KIMI_K2_5)
