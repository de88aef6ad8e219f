"""Phi-4-mini, Phi-4 and Phi-3.

How Phi-4-mini wants results is not settled by its documents: they stand here in a turn `<|tool_response|>`,
as the templates in use write them.
"""

from __future__ import annotations

from codec_agents.dialects.base import (
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)

PHI4_MINI = Dialect(
    name="phi4-mini",
    description="role tokens; calls: a JSON list in <|tool_call|>, or after `functools`",
    markers=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    optional_markers=(
        "<|tool|>",
        "<|/tool|>",
        "<|tool_call|>",
        "<|/tool_call|>",
        "<|tool_response|>",
        "<|endoftext|>",
    ),
    system="<|system|>{content}<|end|>",
    user="<|user|>{content}<|end|>",
    assistant="<|assistant|>{content}<|end|>",
    opening=Openings(default="<|assistant|>"),
    turn_starts=("<|system|>", "<|user|>", "<|assistant|>"),
    unverified=("the format of calls and tool results, for which its template has none",),
    turn_end="<|end|>",
    stops=("<|end|>", "<|endoftext|>"),
    tools=ToolsForm(form="<|tool|>{tools}<|/tool|>", each="function", list_of=True),
    calls=CallForm(
        grammar="json",
        starts=("<|tool_call|>",),
        ends=("<|/tool_call|>",),
        text_starts=("functools[",),
        text_anywhere=True,
        speculative=True,
        written=WrittenCalls(
            open="<|tool_call|>[",
            each='{"name": {name_json}, "arguments": {arguments}}',
            join=", ",
            close="]<|/tool_call|>",
        ),
    ),
    results=ResultForm(each="<|tool_response|>{content}<|end|>"),
)

PHI4 = Dialect(
    name="phi4",
    description="ChatML with <|im_sep|>; no tools",
    markers=("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    optional_markers=("<|endoftext|>",),
    system="<|im_start|>system<|im_sep|>{content}<|im_end|>",
    user="<|im_start|>user<|im_sep|>{content}<|im_end|>",
    assistant="<|im_start|>assistant<|im_sep|>{content}<|im_end|>",
    opening=Openings(default="<|im_start|>assistant<|im_sep|>"),
    turn_starts=("<|im_start|>",),
    turn_end="<|im_end|>",
    stops=("<|im_end|>", "<|endoftext|>"),
)

PHI3 = Dialect(
    name="phi3",
    description="role tokens with line breaks; no tools",
    markers=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    optional_markers=("<|endoftext|>",),
    system="<|system|>\n{content}<|end|>\n",
    user="<|user|>\n{content}<|end|>\n",
    assistant="<|assistant|>\n{content}<|end|>\n",
    opening=Openings(default="<|assistant|>\n"),
    turn_starts=("<|system|>", "<|user|>", "<|assistant|>"),
    turn_end="<|end|>",
    after_turn="\n",
    stops=("<|end|>", "<|endoftext|>"),
)

DIALECTS = (PHI4_MINI, PHI4, PHI3)
