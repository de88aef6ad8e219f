"""Qwen3-Coder and Qwen3.5: ChatML, with calls as tagged parameters whose types are the tool's schema's."""

from __future__ import annotations

from codec_agents.dialects.base import (
    BETWEEN,
    EARLIER_REASONING,
    SPENT_BUDGET,
    CallForm,
    Openings,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.families.hermes import QWEN3, QWQ

_CALLS = CallForm(
    grammar="tagged",
    starts=("<tool_call>",),
    ends=("</tool_call>",),
    # The opening marker is left out at times; the inner tags are ordinary text in every vocabulary.
    text_starts=("<function=",),
    text_end="</function>",
    text_anywhere=True,
    speculative=True,
    written=WrittenCalls(
        each="<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
        argument="<parameter={key}>\n{value}\n</parameter>\n",
        bare_strings=True,
        join="\n",
        behind_text="\n\n",
    ),
)

_VALUES = "how true, false and null stand in declared calls: here as in JSON"

_TOOLS = """\
# Tools

You have access to the following functions:

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
- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested \
within <tool_call></tool_call> XML tags
- Required parameters MUST be specified
- You may provide optional reasoning for your function call in natural language BEFORE the function call, \
but NOT after
- If there is no function call available, answer the question like normal with your current knowledge and \
do not tell the user about function calls
</IMPORTANT>"""

QWEN3_CODER = QWEN3.model_copy(
    update={
        "name": "qwen3-coder",
        "description": "ChatML turns; calls as tagged parameters; no reasoning",
        "markers": ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"),
        "optional_markers": ("<tool_response>", "</tool_response>", "<|endoftext|>"),
        "thinking": None,
        "opening": Openings(default="<|im_start|>assistant\n"),
        "tools": ToolsForm(form=_TOOLS, between="\n\n", each="xml"),
        "tools_system": (
            "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks."
        ),
        "calls": _CALLS,
        "unverified": (BETWEEN, _VALUES),
        "results": ResultForm(
            open="<|im_start|>user\n",
            each="<tool_response>\n{content}\n</tool_response>\n",
            close="<|im_end|>\n",
        ),
    }
)

QWEN3_5 = QWQ.model_copy(
    update={
        "name": "qwen3.5",
        "description": "ChatML turns; calls as tagged parameters; every turn opens with reasoning",
        "tools": ToolsForm(form=_TOOLS, between="\n\n"),
        "calls": _CALLS,
        "unverified": (EARLIER_REASONING, SPENT_BUDGET, BETWEEN, _VALUES),
    }
)

DIALECTS = (QWEN3_CODER, QWEN3_5)
