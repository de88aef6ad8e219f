"""ERNIE 4.5 with thinking: ChatML with two line breaks behind turns; calls as JSON."""

from __future__ import annotations

from codec_agents.dialects.base import (
    SPENT_BUDGET,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.families.hermes import QWEN3

_SETTING = "<global_setting>\nthink_mode=True\n</global_setting>"
_ASSISTANT = "<|im_start|>assistant\n"
_RESPONSE = "<response>\n{content}\n</response>\n"

ERNIE_4_5 = QWEN3.model_copy(
    update={
        "name": "ernie-4.5",
        "description": (
            "ChatML, two line breaks after turns; calls: JSON; answers in <response>, begin with reasoning"
        ),
        "markers": ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"),
        "optional_markers": ("<response>", "</response>", "<tool_response>", "</tool_response>", "</s>"),
        "wrappers": ("<response>", "</response>"),
        "system": "<|im_start|>system\n{content}<|im_end|>\n\n",
        "system_text": f"<system_setting>\n{{content}}\n</system_setting>\n\n{_SETTING}",
        "default_system": _SETTING,
        "user": "<|im_start|>user\n{content}<|im_end|>\n\n",
        "assistant": f"{_ASSISTANT}{_RESPONSE}<|im_end|>\n\n",
        "answer": _RESPONSE,
        "after_turn": "\n\n",
        "stops": ("<|im_end|>", "</s>"),
        "opening": Openings(default=f"{_ASSISTANT}<think>\n", forced=f"{_ASSISTANT}<think>\n"),
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="\n</think>\n\n",
            history=_ASSISTANT,
            told=f"{_ASSISTANT}<think>\n{{reasoning}}\n</think>\n",
        ),
        "unverified": (SPENT_BUDGET, "several results (the reference writes one)"),
        "tools": ToolsForm(form="<tool_list>\n[{tools}]\n</tool_list>", between="\n\n", join=", "),
        "calls": QWEN3.calls
        and QWEN3.calls.model_copy(
            update={
                "written": WrittenCalls(
                    open="\n",
                    each='<tool_call>\n{"name": {name_json}, "arguments": {arguments}}\n</tool_call>\n',
                    join="\n",
                    text=_RESPONSE,
                )
            }
        ),
        "results": ResultForm(
            open="<|im_start|>user\n",
            each="<tool_response>\n{content}\n</tool_response>",
            join="\n",
            close="<|im_end|>\n\n",
        ),
    }
)

DIALECTS = (ERNIE_4_5,)
