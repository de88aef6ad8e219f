"""EXAONE 4: role turns between brackets; calls as JSON in <tool_call>."""

from __future__ import annotations

from codec_agents.dialects.base import (
    SPENT_BUDGET,
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)

_THINKING = "[|assistant|]\n<think>\n"
_UNTHOUGHT = "[|assistant|]\n<think>\n\n</think>\n\n"

_TOOLS = """\
# Available Tools
You can use none, one, or multiple of the following tools by calling them as functions to help with the \
user’s query.
Here are the tools available to you in JSON format within <tool> and </tool> tags:
<tool>{tools}</tool>

For each function call you want to make, return a JSON object with function name and arguments within \
<tool_call> and </tool_call> tags, like:
<tool_call>{"name": function_1_name, "arguments": {argument_1_name: argument_1_value, argument_2_name: \
argument_2_value}}</tool_call>
<tool_call>{"name": function_2_name, "arguments": {...}}</tool_call>
...
Note that if no argument name is specified for a tool, you can just print the argument value directly, \
without the argument name or JSON formatting."""

_WRITTEN = WrittenCalls(
    each='<tool_call>{"name": {name_json}, "arguments": {arguments}}</tool_call>',
    join="\n",
    behind_text="\n",
)

EXAONE_4 = Dialect(
    name="exaone-4",
    description="roles in brackets, as [|user|]; calls: JSON in <tool_call>",
    markers=("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
    optional_markers=("[|tool|]", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    system="[|system|]\n{content}[|endofturn|]\n",
    user="[|user|]\n{content}[|endofturn|]\n",
    assistant=_UNTHOUGHT + "{content}[|endofturn|]\n",
    opening=Openings(default=_UNTHOUGHT, on=_THINKING, forced=_THINKING),
    turn_starts=("[|system|]", "[|user|]", "[|assistant|]", "[|tool|]"),
    turn_end="[|endofturn|]",
    after_turn="\n",
    stops=("[|endofturn|]",),
    unverified=(SPENT_BUDGET,),
    thinking=ThinkingForm(open="<think>", close="</think>", closing="\n</think>\n\n", history=_UNTHOUGHT),
    tools=ToolsForm(form=_TOOLS, between="\n\n", join="</tool>\n<tool>"),
    calls=CallForm(
        grammar="json",
        starts=("<tool_call>",),
        ends=("</tool_call>",),
        text_starts=("<tool_call>",),
        text_end="</tool_call>",
        text_anywhere=True,
        keep_text_start=False,
        text_unless_marked=True,
        written=_WRITTEN,
    ),
    results=ResultForm(
        open="[|tool|]\n",
        each='<tool_result>{"result": {content}}</tool_result>',
        join="\n",
        close="[|endofturn|]\n",
        content="json_string",
    ),
)

DIALECTS = (EXAONE_4,)
