"""SmolLM3: ChatML with a system turn that is always there and says whether to reason; calls as in Hermes."""

from __future__ import annotations

from codec_agents.dialects.base import SPENT_BUDGET, Openings, ResultForm, ToolsForm
from codec_agents.dialects.families.hermes import QWEN3

_TOOLS = """\
### Tools

You may call one or more functions to assist with the user query.
You are provided with function signatures within <tools></tools> XML tags:

<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


def _head(mode: str) -> str:
    return (
        "## Metadata\n\nKnowledge Cutoff Date: June 2025\n"
        f"Reasoning Mode: {mode}\n\n## Custom Instructions\n\n"
    )


SMOLLM3 = QWEN3.model_copy(
    update={
        "name": "smollm3",
        "description": "ChatML; the system turn switches reasoning on or off; calls: JSON in <tool_call>",
        "markers": ("<|im_start|>", "<|im_end|>"),
        "optional_markers": ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|endoftext|>"),
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
        "unverified": (
            SPENT_BUDGET,
            "tool definitions, calls and results (absent from the available template)",
        ),
        "tools": ToolsForm(form=_TOOLS, between="\n\n", each="repr"),
        "results": ResultForm(each="<|im_start|>user\n{content}<|im_end|>\n"),
    }
)

DIALECTS = (SMOLLM3,)
