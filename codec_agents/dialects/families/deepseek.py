"""DeepSeek V3, R1 and V3.1: blocks of calls in control tokens of their own."""

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

_TOLD_TOOLS = "the format of tool definitions (absent from the models' own templates)"

_THINKING = ThinkingForm(
    open="<think>", close="</think>", closing="\n</think>\n\n", history="<｜Assistant｜>"
)

DEEPSEEK_V3 = Dialect(
    name="deepseek-v3",
    description="calls: a block of control tokens, JSON in code fences",
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
    unverified=(EARLIER_REASONING, SPENT_BUDGET, _TOLD_TOOLS),
    thinking=_THINKING,
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
        "description": "as deepseek-v3; every answer begins with reasoning",
        # The template takes it out of every earlier turn, those of calls included.
        "thinking": _THINKING.model_copy(update={"kept": "never"}),
        "unverified": (SPENT_BUDGET, _TOLD_TOOLS),
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
        "description": "calls: a block of control tokens, plain JSON; optional reasoning",
        "opening": Openings(
            default="<｜Assistant｜></think>",
            on="<｜Assistant｜><think>",
            off="<｜Assistant｜></think>",
            forced="<｜Assistant｜><think>",
        ),
        "unverified": (EARLIER_REASONING, SPENT_BUDGET, "calls within reasoning"),
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

DIALECTS = (DEEPSEEK_V3, DEEPSEEK_R1, DEEPSEEK_V3_1)
