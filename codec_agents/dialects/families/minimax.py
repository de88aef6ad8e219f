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
    description="role tokens; calls: <invoke> tags in <minimax:tool_call>",
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
        "description": "as minimax-m2, with a different default system text",
        "default_system": ("You are a helpful assistant. Your name is MiniMax-M2.5 and is built by MiniMax."),
    }
)

_MARK = "]<]minimax[>["

_IDENTITY = (
    "Your model version is MiniMax-M3, developed by MiniMax. Knowledge cutoff: January 2026. Founded in "
    "early 2022, MiniMax is a global AI foundation model company committed to advancing the frontiers of AI "
    "towards AGI."
)

_THINKING = """

<thinking_instructions>
You have a thinking capability that allows you to reason step by step before responding. When thinking is \
enabled, wrap your reasoning in <mm:think></mm:think> tags before your response. When thinking is disabled, \
begin your response directly after the </mm:think> prefix. When thinking is adaptive, decide on your own \
whether to think for the current turn.
Current thinking mode: """

_MODES = {
    "default": (
        "adaptive. You are encouraged to think for complex decision-making, multi-step reasoning, or when "
        "analyzing function/tool results."
    ),
    "on": (
        "enabled. You MUST think step by step before every response, including after receiving function/tool "
        "results."
    ),
    "off": "disabled. Do not output any thinking process.",
}

_SYSTEM_TURNS = {
    mode: f"]~b]system\n{_IDENTITY}{_THINKING}{told}\n</thinking_instructions>[e~[\n"
    for mode, told in {**_MODES, "forced": _MODES["on"]}.items()
}

_TOOLS_M3 = """\
# Tools
You may call one or more tools to assist with the user query.
Here are the tools available in JSONSchema format:

<tools>
<tool>{tools}</tool>
</tools>

To call tools, wrap all invocations in a single ~<tool_call>~</tool_call> block. Parameter values containing \
nested objects or arrays are recursively expanded into XML elements. Example:

~<tool_call>
~<invoke name="tool-name-1">~<param-1>value-1~</param-1>~<param-2>~<item>~<key-a>val-a~</key-a>\
~<key-b>val-b~</key-b>~</item>~</param-2>~</invoke>
~<invoke name="tool-name-2">~<param-1>value-1~</param-1>~</invoke>
~</tool_call>""".replace("~", _MARK)

MINIMAX_M3 = Dialect(
    name="minimax-m3",
    description="role tokens; calls: nested elements, a control token before each tag",
    markers=("]~!b[", "]~b]", "[e~[", _MARK, "<mm:think>", "</mm:think>"),
    optional_markers=("<tool_call>", "</tool_call>"),
    begin="]~!b[",
    thinking_turn=_SYSTEM_TURNS,
    system="]~b]developer\n{content}[e~[\n",
    user="]~b]user\n{content}[e~[\n",
    assistant="]~b]ai\n</mm:think>{content}[e~[\n",
    default_system="You are a helpful assistant.",
    opening=Openings(
        default="]~b]ai\n",
        on="]~b]ai\n<mm:think>",
        off="]~b]ai\n</mm:think>",
        forced="]~b]ai\n<mm:think>",
    ),
    turn_starts=("]~b]",),
    unverified=(SPENT_BUDGET,),
    turn_end="[e~[",
    after_turn="\n",
    stops=("[e~[",),
    thinking=ThinkingForm(
        open="<mm:think>",
        close="</mm:think>",
        closing="</mm:think>",
        kept=True,
        history="]~b]ai\n</mm:think>",
    ),
    tools=ToolsForm(form=_TOOLS_M3, between="\n\n", each="function", join="</tool>\n<tool>"),
    calls=CallForm(
        grammar="elements",
        starts=(_MARK,),
        nested=True,
        inner=(_MARK,),
        written=WrittenCalls(
            open=f"{_MARK}<tool_call>\n",
            each=f'{_MARK}<invoke name="{{name}}">{{arguments}}{_MARK}</invoke>\n',
            close=f"{_MARK}</tool_call>",
            literals="elements",
            writes_null=False,
            argument=f"{_MARK}<{{key}}>{{value}}{_MARK}</{{key}}>",
            bare_strings=True,
        ),
    ),
    results=ResultForm(open="]~b]tool", each="\n<response>{content}</response>", close="[e~[\n"),
)

DIALECTS = (MINIMAX_M2, MINIMAX_M2_5, MINIMAX_M3)
