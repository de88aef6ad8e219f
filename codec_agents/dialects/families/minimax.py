"""MiniMax M2: several calls in one block of tags; every turn opens with reasoning."""

from __future__ import annotations

from codec_agents.dialects.base import (
    BETWEEN,
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
    opening=Openings(
        default="]~b]ai\n<think>\n", off="]~b]ai\n<think>\n\n</think>\n\n", forced="]~b]ai\n<think>\n"
    ),
    turn_starts=("]~b]",),
    unverified=(EARLIER_REASONING, SPENT_BUDGET, BETWEEN),
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
            open="<minimax:tool_call>\n",
            each='<invoke name="{name}">\n{arguments}</invoke>\n',
            close="</minimax:tool_call>",
            argument='<parameter name="{key}">{value}</parameter>\n',
            bare_strings=True,
            behind_text="\n",
        ),
    ),
    results=ResultForm(open="]~b]tool\n", each="<response>{content}</response>", join="\n", close="[e~[\n"),
)

DIALECTS = (MINIMAX_M2,)
