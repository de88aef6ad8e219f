"""SmolLM3: ChatML with a system turn that is always there and says whether to reason; no tools."""

from __future__ import annotations

from codec_agents.dialects.base import SPENT_BUDGET, Openings
from codec_agents.dialects.families.hermes import QWEN3


def _head(mode: str) -> str:
    return (
        "## Metadata\n\nKnowledge Cutoff Date: June 2025\n"
        f"Reasoning Mode: {mode}\n\n## Custom Instructions\n\n"
    )


SMOLLM3 = QWEN3.model_copy(
    update={
        "name": "smollm3",
        "description": "ChatML; the system turn says whether to reason; no tools",
        "markers": ("<|im_start|>", "<|im_end|>"),
        "optional_markers": ("<think>", "</think>", "<|endoftext|>"),
        "system": "<|im_start|>system\n{content}\n\n<|im_end|>\n",
        "default_system": "You are a helpful AI assistant named SmolLM, trained by Hugging Face.",
        "thinking_system": {
            "default": _head("/think"),
            "on": _head("/think"),
            "forced": _head("/think"),
            "off": _head("/no_think"),
        },
        "opening": Openings(
            default="<|im_start|>assistant\n",
            off="<|im_start|>assistant\n<think>\n\n</think>\n",
            forced="<|im_start|>assistant\n<think>\n",
        ),
        "unverified": (SPENT_BUDGET, "its forms of calls, of which its template says nothing"),
        "tools": None,
        "calls": None,
        "results": None,
    }
)

DIALECTS = (SMOLLM3,)
