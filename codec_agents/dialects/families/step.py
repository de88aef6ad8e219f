"""Step 3.5 and 5: ChatML with calls as tagged parameters, and results in a turn of their own."""

from __future__ import annotations

from codec_agents.dialects.base import NO_REFERENCE, SPENT_BUDGET, ResultForm, ThinkingForm, ToolsForm
from codec_agents.dialects.families.qwen_coder import CALLS, QWEN3_5, WRITTEN

_TOOLS = """\
# Tools

You have access to the following functions in JSONSchema format:

<tools>
{tools}
</tools>

If you choose to call a function ONLY reply in the following format with NO suffix:

<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>
value_1
</parameter>
<parameter=example_parameter_2>
This is the value for the second parameter
that can span
multiple lines
</parameter>
</function>
</tool_call>

<IMPORTANT>
Reminder:
- Function calls MUST follow the specified format: an inner <function=...>
...
</function> block must be nested within <tool_call>
...
</tool_call> XML tags
- Required parameters MUST be specified
</IMPORTANT>"""

STEP_3_5 = QWEN3_5.model_copy(
    update={
        "name": "step-3.5",
        "description": "ChatML; calls: <function> and <parameter> tags; results in a `tool_response` turn",
        "opening": QWEN3_5.opening.model_copy(update={"off": None}),
        "unverified": (SPENT_BUDGET,),
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="\n</think>\n",
            history="<|im_start|>assistant\n",
            absent={"any": "<|im_start|>assistant\n<think>\n\n</think>\n"},
        ),
        "tools": ToolsForm(form=_TOOLS, between="\n\n"),
        "calls": CALLS.model_copy(
            update={"written": WRITTEN.model_copy(update={"join": "", "behind_text": ""})}
        ),
        "results": ResultForm(
            open="<|im_start|>tool_response\n",
            each="<tool_response>{content}</tool_response>",
            close="<|im_end|>\n",
        ),
    }
)

STEP_5 = STEP_3_5.model_copy(
    update={
        "name": "step-5",
        "description": "as step-3.5",
        "unverified": (SPENT_BUDGET, f"{NO_REFERENCE}; those of Step 3.5 are used"),
    }
)

DIALECTS = (STEP_3_5, STEP_5)
