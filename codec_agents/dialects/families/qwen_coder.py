"""Qwen3-Coder and Qwen3.5 to 3.8: ChatML, with calls as tagged parameters typed by the tool's schema."""

from __future__ import annotations

from codec_agents.dialects.base import (
    SPENT_BUDGET,
    CallForm,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.families.hermes import QWEN3, QWQ

WRITTEN = WrittenCalls(
    each="<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
    argument="<parameter={key}>\n{value}\n</parameter>\n",
    bare_strings=True,
    python_words=True,
    join="\n",
    behind_text="\n\n",
)

CALLS = CallForm(
    grammar="tagged",
    starts=("<tool_call>",),
    ends=("</tool_call>",),
    # The opening marker is left out at times; the inner tags are ordinary text in every vocabulary.
    text_starts=("<function=",),
    text_end="</function>",
    text_anywhere=True,
    speculative=True,
    written=WRITTEN,
)

TOOLS_TEXT = """\
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
        "description": "ChatML; calls: <function> and <parameter> tags; no reasoning",
        "markers": ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"),
        "optional_markers": ("<tool_response>", "</tool_response>", "<|endoftext|>"),
        "thinking": None,
        "opening": Openings(default="<|im_start|>assistant\n"),
        "tools": ToolsForm(form=TOOLS_TEXT, between="\n\n", each="xml"),
        "tools_system": (
            "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks."
        ),
        "calls": CALLS,
        "unverified": (),
        "results": ResultForm(
            open="<|im_start|>user\n",
            each="<tool_response>\n{content}\n</tool_response>\n",
            close="<|im_end|>\n",
        ),
    }
)

_THINKING = ThinkingForm(
    open="<think>",
    close="</think>",
    closing="\n</think>\n\n",
    history="<|im_start|>assistant\n",
    absent={"any": "<|im_start|>assistant\n<think>\n\n</think>\n\n"},
)

QWEN3_5 = QWQ.model_copy(
    update={
        "name": "qwen3.5",
        "description": "ChatML; calls: <function> and <parameter> tags; every answer begins with reasoning",
        "tools": ToolsForm(form=TOOLS_TEXT, place="before_text", between="\n\n"),
        "tools_system": None,
        "calls": CALLS,
        "unverified": (SPENT_BUDGET,),
        "thinking": _THINKING,
    }
)

QWEN3_6 = QWEN3_5.model_copy(
    update={
        "name": "qwen3.6",
        "description": "as qwen3.5, with true, false and null as in JSON",
        "calls": CALLS.model_copy(update={"written": WRITTEN.model_copy(update={"python_words": False})}),
    }
)

_EFFORT = (
    "Reasoning effort is set to xhigh. Please think carefully through the task, validate key assumptions, "
    "consider plausible alternatives, and prioritize correctness, consistency, and clarity in the final "
    "answer."
)

QWEN3_8 = QWEN3_6.model_copy(
    update={
        "name": "qwen3.8",
        "description": "as qwen3.6; earlier reasoning is kept, the system turn states the reasoning effort",
        "thinking": _THINKING.model_copy(update={"kept": True}),
        "thinking_system": dict.fromkeys(("default", "on", "forced"), _EFFORT),
        "thinking_between": "\n\n",
    }
)

DIALECTS = (QWEN3_CODER, QWEN3_5, QWEN3_6, QWEN3_8)
