"""Nemotron 3 and 3.5: ChatML with calls as tagged parameters; a system turn is always there."""

from __future__ import annotations

from codec_agents.dialects.base import SPENT_BUDGET, Openings, ResultForm, ThinkingForm, ToolsForm
from codec_agents.dialects.families.qwen_coder import CALLS, QWEN3_5, TOOLS_TEXT, WRITTEN

NEMOTRON_3 = QWEN3_5.model_copy(
    update={
        "name": "nemotron-3",
        "description": "as qwen3-coder; answers begin with reasoning (Nano, Super)",
        "assistant": "<|im_start|>assistant\n<think></think>{content}<|im_end|>\n",
        "default_turn": "<|im_start|>system\n<|im_end|>\n",
        "opening": Openings(
            default="<|im_start|>assistant\n<think>\n",
            off="<|im_start|>assistant\n<think></think>",
            forced="<|im_start|>assistant\n<think>\n",
        ),
        "unverified": (SPENT_BUDGET,),
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="\n</think>\n",
            history="<|im_start|>assistant\n<think></think>",
        ),
        "tools": ToolsForm(form=TOOLS_TEXT, between="\n\n", each="xml-types"),
        "calls": CALLS.model_copy(
            update={
                "written": WRITTEN.model_copy(
                    update={"each": f"{WRITTEN.each}\n", "join": "", "behind_text": "\n"}
                )
            }
        ),
        "results": ResultForm(
            open="<|im_start|>user\n",
            each="<tool_response>\n{content}\n</tool_response>\n",
            close="<|im_end|>\n",
        ),
    }
)

NEMOTRON_3_ULTRA = NEMOTRON_3.model_copy(
    update={
        "name": "nemotron-3-ultra",
        "description": "as nemotron-3, without a line break before </think> (also Nemotron 3.5)",
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="</think>",
            history="<|im_start|>assistant\n<think></think>",
            told="<|im_start|>assistant\n<think>\n{reasoning}</think>",
        ),
        "calls": CALLS.model_copy(
            update={
                "written": WRITTEN.model_copy(
                    update={"open": "\n", "each": f"{WRITTEN.each}\n", "join": "", "behind_text": ""}
                )
            }
        ),
    }
)

DIALECTS = (NEMOTRON_3, NEMOTRON_3_ULTRA)
