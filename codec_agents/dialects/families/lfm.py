"""LFM2 and LFM2.5: ChatML with Python-like calls between control tokens."""

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

_WRITTEN = WrittenCalls(
    open="<|tool_call_start|>[",
    each="{name}({arguments})",
    join=", ",
    close="]<|tool_call_end|>",
    literals="python",
    json_objects=True,
    argument="{key}={value}",
    argument_join=", ",
)
_CALLS = CallForm(
    grammar="llama", starts=("<|tool_call_start|>",), ends=("<|tool_call_end|>",), written=_WRITTEN
)

LFM2_5 = Dialect(
    name="lfm2.5",
    description="ChatML; calls: a Python list in <|tool_call_start|>; the model opens its reasoning itself",
    markers=("<|startoftext|>", "<|im_start|>", "<|im_end|>", "<|tool_call_start|>", "<|tool_call_end|>"),
    optional_markers=("<think>", "</think>", "<|endoftext|>"),
    begin="<|startoftext|>",
    system="<|im_start|>system\n{content}<|im_end|>\n",
    user="<|im_start|>user\n{content}<|im_end|>\n",
    assistant="<|im_start|>assistant\n{content}<|im_end|>\n",
    opening=Openings(default="<|im_start|>assistant\n", forced="<|im_start|>assistant\n<think>"),
    turn_starts=("<|im_start|>",),
    turn_end="<|im_end|>",
    after_turn="\n",
    stops=("<|im_end|>", "<|endoftext|>"),
    unverified=(SPENT_BUDGET,),
    thinking=ThinkingForm(
        open="<think>", close="</think>", closing="</think>", history="<|im_start|>assistant\n"
    ),
    tools=ToolsForm(form="List of tools: [{tools}]", between="\n", join=", "),
    calls=_CALLS,
    results=ResultForm(each="<|im_start|>tool\n{content}<|im_end|>\n"),
)

_LISTS = ("<|tool_list_start|>", "<|tool_list_end|>", "<|tool_response_start|>", "<|tool_response_end|>")

LFM2 = LFM2_5.model_copy(
    update={
        "name": "lfm2",
        "description": "as lfm2.5, with control tokens around tool definitions and results",
        "optional_markers": (*LFM2_5.optional_markers, *_LISTS),
        "calls": _CALLS.model_copy(update={"written": _WRITTEN.model_copy(update={"json_lists": True})}),
        "tools": ToolsForm(
            form="List of tools: <|tool_list_start|>[{tools}]<|tool_list_end|>", between="\n", join=", "
        ),
        "results": ResultForm(
            each="<|im_start|>tool\n<|tool_response_start|>{content}<|tool_response_end|><|im_end|>\n"
        ),
    }
)

DIALECTS = (LFM2, LFM2_5)
