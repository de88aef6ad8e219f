"""DeepSeek V3, R1 and V3.1: blocks of calls in control tokens of their own; V3.2: tags of ordinary text."""

from __future__ import annotations

from codec_agents.dialects.base import (
    EARLIER_REASONING,
    SPENT_BUDGET,
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)

_INTRODUCTION = """\
## Tools
You have access to the following tools:

{tools}
IMPORTANT: ALWAYS adhere to this exact format for tool use:
"""

_RULES = """

Where:

- `tool_call_name` must be an exact match to one of the available tools
- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces"""

_CALL = "<｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜>"
_FENCED = (
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>tool_call_name\n"
    "```json\ntool_call_arguments\n```<｜tool▁call▁end｜>"
)

_INNER = ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>")

DEEPSEEK_V3 = Dialect(
    name="deepseek-v3",
    description="calls in a block, each with its JSON in a code fence",
    markers=(
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        *_INNER,
        "<｜tool▁outputs▁begin｜>",
        "<｜tool▁outputs▁end｜>",
        "<｜tool▁output▁begin｜>",
        "<｜tool▁output▁end｜>",
    ),
    optional_markers=("<think>", "</think>"),
    begin="<｜begin▁of▁sentence｜>",
    system="{content}",
    user="<｜User｜>{content}",
    assistant="<｜Assistant｜>{content}<｜end▁of▁sentence｜>",
    opening=Openings(default="<｜Assistant｜>", forced="<｜Assistant｜><think>\n"),
    turn_starts=("<｜User｜>", "<｜Assistant｜>", "<｜tool▁outputs▁begin｜>"),
    turn_end="<｜end▁of▁sentence｜>",
    stops=("<｜end▁of▁sentence｜>",),
    unverified=(
        EARLIER_REASONING,
        SPENT_BUDGET,
        "how tools are told, of which the models' own templates say nothing",
    ),
    thinking=ThinkingForm(
        open="<think>", close="</think>", closing="\n</think>\n\n", history="<｜Assistant｜>"
    ),
    tools=ToolsForm(
        form=f"{_INTRODUCTION}<｜tool▁calls▁begin｜>{_FENCED}<｜tool▁calls▁end｜>{_RULES}",
        between="\n\n",
        each="headed",
    ),
    calls=CallForm(
        grammar="deepseek",
        starts=("<｜tool▁calls▁begin｜>",),
        ends=("<｜tool▁calls▁end｜>",),
        inner=_INNER,
        written=WrittenCalls(
            open="<｜tool▁calls▁begin｜>",
            each=(
                "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"
                "<｜tool▁call▁end｜>"
            ),
            join="\n",
            close="<｜tool▁calls▁end｜>",
        ),
    ),
    results=ResultForm(
        open="<｜tool▁outputs▁begin｜>",
        each="<｜tool▁output▁begin｜>{content}<｜tool▁output▁end｜>",
        join="\n",
        close="<｜tool▁outputs▁end｜>",
        then="nothing",
    ),
)

DEEPSEEK_R1 = DEEPSEEK_V3.model_copy(
    update={
        "name": "deepseek-r1",
        "description": "as deepseek-v3; every turn opens with reasoning",
        "opening": Openings(
            default="<｜Assistant｜><think>\n",
            off="<｜Assistant｜><think>\n\n</think>\n\n",
            forced="<｜Assistant｜><think>\n",
        ),
    }
)

DEEPSEEK_V3_1 = DEEPSEEK_V3.model_copy(
    update={
        "name": "deepseek-v3.1",
        "assistant": "<｜Assistant｜></think>{content}<｜end▁of▁sentence｜>",
        "description": "calls in a block, plain JSON; reasoning where it is asked for",
        "opening": Openings(
            default="<｜Assistant｜></think>",
            on="<｜Assistant｜><think>",
            off="<｜Assistant｜></think>",
            forced="<｜Assistant｜><think>",
        ),
        "unverified": (EARLIER_REASONING, SPENT_BUDGET, "calls while the model reasons"),
        "thinking": ThinkingForm(
            open="<think>", close="</think>", closing="</think>", history="<｜Assistant｜></think>"
        ),
        "turn_starts": ("<｜User｜>", "<｜Assistant｜>", "<｜tool▁output▁begin｜>"),
        "tools": ToolsForm(
            form=f"{_INTRODUCTION}<｜tool▁calls▁begin｜>{_CALL}<｜tool▁calls▁end｜>{_RULES}",
            between="\n\n",
            each="headed",
        ),
        "calls": CallForm(
            grammar="deepseek",
            starts=("<｜tool▁calls▁begin｜>",),
            ends=("<｜tool▁calls▁end｜>",),
            inner=_INNER,
            written=WrittenCalls(
                open="<｜tool▁calls▁begin｜>",
                each="<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>",
                close="<｜tool▁calls▁end｜>",
            ),
        ),
        "results": ResultForm(each="<｜tool▁output▁begin｜>{content}<｜tool▁output▁end｜>", then="nothing"),
    }
)

_DSML_TOOLS = """\
## Tools
You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your \
reply to the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and \
objects should use JSON format. The "string" attribute should be set to "true" for string type parameters \
and "false" for other types (numbers, booleans, arrays, objects).

Here are the functions available in JSONSchema format:
<functions>
{tools}
</functions>"""

DEEPSEEK_V3_2 = Dialect(
    name="deepseek-v3.2",
    description="calls as tags of ordinary text; reasoning where it is asked for, also behind results",
    markers=(
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "<think>",
        "</think>",
    ),
    begin="<｜begin▁of▁sentence｜>",
    system="{content}",
    user="<｜User｜>{content}",
    assistant="<｜Assistant｜></think>{content}<｜end▁of▁sentence｜>",
    opening=DEEPSEEK_V3_1.opening,
    reopening=Openings(default="</think>", on="<think>", off="</think>", forced="<think>"),
    turn_starts=("<｜User｜>", "<｜Assistant｜>"),
    turn_end="<｜end▁of▁sentence｜>",
    stops=("<｜end▁of▁sentence｜>",),
    unverified=(EARLIER_REASONING, SPENT_BUDGET),
    thinking=DEEPSEEK_V3_1.thinking,
    tools=ToolsForm(form=_DSML_TOOLS, between="\n\n", each="function"),
    calls=CallForm(
        grammar="dsml",
        text_starts=("<｜DSML｜function_calls>",),
        text_end="</｜DSML｜function_calls>",
        text_anywhere=True,
        keep_text_start=False,
        written=WrittenCalls(
            open="\n\n<｜DSML｜function_calls>\n",
            each='<｜DSML｜invoke name="{name}">\n{arguments}\n</｜DSML｜invoke>',
            join="\n",
            close="\n</｜DSML｜function_calls>",
            argument='<｜DSML｜parameter name="{key}" string="{is_text}">{value}</｜DSML｜parameter>',
            argument_join="\n",
            bare_strings=True,
        ),
    ),
    results=ResultForm(
        open="\n\n<function_results>",
        each="\n<result>{content}</result>",
        close="\n</function_results>\n\n",
        then="reopening",
    ),
)

DIALECTS = (DEEPSEEK_V3, DEEPSEEK_R1, DEEPSEEK_V3_1, DEEPSEEK_V3_2)
