"""MiMo V2.6: ChatML with calls as tagged parameters, whose values stand between their tags as they are."""

from __future__ import annotations

from codec_agents.dialects.base import NO_REFERENCE, SPENT_BUDGET, Openings, ThinkingForm
from codec_agents.dialects.families.qwen_coder import CALLS, QWEN3_5, WRITTEN

MIMO_V2_6 = QWEN3_5.model_copy(
    update={
        "name": "mimo-v2.6",
        "description": "ChatML; calls: <function> and <parameter> tags, without line breaks around values",
        "opening": Openings(
            default="<|im_start|>assistant\n",
            off="<|im_start|>assistant\n<think></think>",
            forced="<|im_start|>assistant\n<think>",
        ),
        "unverified": (SPENT_BUDGET, f"{NO_REFERENCE}; calls are parsed as in an inference engine's parser"),
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="</think>",
            history="<|im_start|>assistant\n",
            absent={"off": "<|im_start|>assistant\n<think></think>"},
        ),
        "calls": CALLS.model_copy(
            update={
                "grammar": "verbatim",
                "written": WRITTEN.model_copy(update={"argument": "<parameter={key}>{value}</parameter>\n"}),
            }
        ),
    }
)

DIALECTS = (MIMO_V2_6,)
