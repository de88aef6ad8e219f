"""ERNIE 4.5 with thinking: ChatML with two line breaks behind turns; calls as JSON."""

from __future__ import annotations

from codec_agents.dialects.base import NO_REFERENCE, SPENT_BUDGET, Openings, ResultForm
from codec_agents.dialects.families.hermes import QWEN3

_SETTING = "<global_setting>\nthink_mode=True\n</global_setting>"

ERNIE_4_5 = QWEN3.model_copy(
    update={
        "name": "ernie-4.5",
        "description": "ChatML, two line breaks after turns; calls: JSON; answers begin with reasoning",
        "markers": ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"),
        "optional_markers": ("<response>", "</response>", "<tool_output>", "</tool_output>", "</s>"),
        "wrappers": ("<response>", "</response>"),
        "system": f"<|im_start|>system\n{{content}}\n\n{_SETTING}<|im_end|>\n\n",
        "system_text": "<system_setting>\n{content}\n</system_setting>",
        "default_turn": f"<|im_start|>system\n{_SETTING}<|im_end|>\n\n",
        "user": "<|im_start|>user\n{content}<|im_end|>\n\n",
        "assistant": "<|im_start|>assistant\n{content}<|im_end|>\n\n",
        "after_turn": "\n\n",
        "stops": ("<|im_end|>", "</s>"),
        "opening": Openings(
            default="<|im_start|>assistant\n<think>\n", forced="<|im_start|>assistant\n<think>\n"
        ),
        "unverified": (SPENT_BUDGET, NO_REFERENCE),
        "results": ResultForm(
            open="<|im_start|>tool\n",
            each="<tool_output>\n{content}\n</tool_output>",
            join="\n",
            close="<|im_end|>\n\n",
        ),
    }
)

DIALECTS = (ERNIE_4_5,)
