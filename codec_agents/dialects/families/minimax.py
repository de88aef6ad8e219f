"""MiniMax M2: several calls in one block of tags; every turn opens with reasoning."""

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

_TOOLS = """\
# Tools
You may call one or more tools to assist with the user query.
Here are the tools available in JSONSchema format:

<tools>
<tool>{tools}</tool>
</tools>

When making tool calls, use XML format to invoke tools and pass parameters:

<minimax:tool_call>
<invoke name="tool-name-1">
<parameter name="param-key-1">param-value-1</parameter>
<parameter name="param-key-2">param-value-2</parameter>
...
</invoke>
</minimax:tool_call>"""

MINIMAX_M2 = Dialect(
    name="minimax-m2",
    description="role turns; calls as <invoke> tags in <minimax:tool_call>",
    markers=(
        "]~!b[",
        "]~b]",
        "[e~[",
        "<minimax:tool_call>",
        "</minimax:tool_call>",
        "<think>",
        "</think>",
    ),
    begin="]~!b[",
    system="]~b]system\n{content}[e~[\n",
    user="]~b]user\n{content}[e~[\n",
    assistant="]~b]ai\n{content}[e~[\n",
    default_system="You are a helpful assistant.",
    opening=Openings(default="]~b]ai\n<think>\n", forced="]~b]ai\n<think>\n"),
    turn_starts=("]~b]",),
    unverified=(SPENT_BUDGET,),
    turn_end="[e~[",
    after_turn="\n",
    stops=("[e~[",),
    thinking=ThinkingForm(open="<think>", close="</think>", closing="\n</think>\n\n", history="]~b]ai\n"),
    tools=ToolsForm(form=_TOOLS, between="\n\n", each="function", join="</tool>\n<tool>"),
    calls=CallForm(
        grammar="invoke",
        starts=("<minimax:tool_call>",),
        ends=("</minimax:tool_call>",),
        written=WrittenCalls(
            open="\n<minimax:tool_call>\n",
            each='<invoke name="{name}">\n{arguments}</invoke>\n',
            close="</minimax:tool_call>",
            argument='<parameter name="{key}">{value}</parameter>\n',
            bare_strings=True,
        ),
    ),
    results=ResultForm(open="]~b]tool\n", each="<response>{content}</response>", join="\n", close="[e~[\n"),
)

MINIMAX_M2_5 = MINIMAX_M2.model_copy(
    update={
        "name": "minimax-m2.5",
        "description": "as minimax-m2, with another system text where none is declared",
        "default_system": ("You are a helpful assistant. Your name is MiniMax-M2.5 and is built by MiniMax."),
    }
)

DIALECTS = (MINIMAX_M2, MINIMAX_M2_5)
