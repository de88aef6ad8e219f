"""MiMo V2.5 and V2.6: ChatML without line breaks behind turns; calls as tags around values as they are."""

from __future__ import annotations

from codec_agents.dialects.base import SPENT_BUDGET, Openings, ResultForm, ThinkingForm, ToolsForm
from codec_agents.dialects.families.qwen_coder import CALLS, QWEN3_5, WRITTEN

_TOOLS = """\
# Tools

You may call one or more functions to assist with the user query.

You have access to the following functions:

<tools>
{tools}
</tools>

For each function call, output the function name and arguments in the following format:
<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>value_1</parameter>
<parameter=example_parameter_2>This is the value for the second parameter
that can span
multiple lines</parameter>
</function>
</tool_call>

<IMPORTANT>
- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested \
within <tool_call></tool_call> XML tags
- DO NOT use function calls inside <think></think> tags.
- The value enclosed between parameter tags is preserved exactly as-is, including newlines and spaces.
</IMPORTANT>"""

_ASSISTANT = "<|im_start|>assistant\n"
_THOUGHT_NOTHING = f"{_ASSISTANT}<think></think>"

MIMO_V2_6 = QWEN3_5.model_copy(
    update={
        "name": "mimo-v2.6",
        "description": "ChatML without line breaks after turns; calls: <function> and <parameter> tags",
        "system": "<|im_start|>system\n{content}<|im_end|>",
        "default_system": "You are MiMo, a helpful AI assistant engineered by Xiaomi.",
        "user": "<|im_start|>user\n{content}<|im_end|>",
        "assistant": f"{_THOUGHT_NOTHING}{{content}}<|im_end|>",
        "after_turn": "",
        "opening": Openings(default=_ASSISTANT, off=_THOUGHT_NOTHING, forced=f"{_ASSISTANT}<think>"),
        "unverified": (SPENT_BUDGET, "what differs between V2.5, whose template is the reference, and V2.6"),
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="</think>",
            history=_THOUGHT_NOTHING,
            absent={"any": _THOUGHT_NOTHING},
            kept=True,
        ),
        "tools": ToolsForm(form=_TOOLS, between="\n\n", each="xml"),
        "calls": CALLS.model_copy(
            update={
                "grammar": "verbatim",
                "written": WRITTEN.model_copy(
                    update={
                        "argument": "<parameter={key}>{value}</parameter>\n",
                        "join": "",
                        "behind_text": "",
                    }
                ),
            }
        ),
        "results": ResultForm(
            open="<|im_start|>tool\n",
            each="<tool_response>\n{content}\n</tool_response>\n",
            close="<|im_end|>",
        ),
    }
)

DIALECTS = (MIMO_V2_6,)
