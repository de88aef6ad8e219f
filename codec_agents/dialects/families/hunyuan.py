"""Hunyuan Hy3: blocks of calls and of results; the system turn ends with how much to think."""

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


def _named(form: str) -> str:
    """Return a form with the ending that the names of the family's control tokens have."""
    return form.replace("｜>", ":opensource｜>").replace("~>", ":opensource>")


_TAGS = ("think", "tool_calls", "tool_call", "arg_key", "arg_value", "tool_responses", "tool_response")

_TOOLS = _named("""\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For function call returns, you should first print <tool_calls~>
For each function call, you should return object like:
<tool_call~>{function-name}<tool_sep~>
<arg_key~>{arg-key-1}</arg_key~>
<arg_value~>{arg-value-1}</arg_value~>
<arg_key~>{arg-key-2}</arg_key~>
<arg_value~>{arg-value-2}</arg_value~>
...
</tool_call~>
At the end of function call returns, you should print </tool_calls~>""")

_HIGH, _NONE = (_named(f"<｜reasoning_mode｜>reasoning_effort:{word}") for word in ("high", "no_think"))
_PLAIN = _named("<｜hy_Assistant｜><think~></think~>")
_OPENED = _named("<｜hy_Assistant｜><think~>")

HY3 = Dialect(
    name="hy3",
    description="calls: blocks with keys and values between control tokens; optional reasoning",
    markers=tuple(
        map(
            _named,
            (
                "<｜hy_begin_of_sentence｜>",
                "<｜hy_eos｜>",
                "<｜hy_User｜>",
                "<｜hy_Assistant｜>",
                "<｜reasoning_mode｜>",
                "<tool_sep~>",
                *(f"<{tag}~>" for tag in _TAGS),
                *(f"</{tag}~>" for tag in _TAGS),
            ),
        )
    ),
    begin=_named("<｜hy_begin_of_sentence｜>"),
    system="{content}",
    user=_named("<｜hy_User｜>{content}"),
    assistant=_named("<｜hy_Assistant｜><think~></think~>{content}<｜hy_eos｜>"),
    thinking_after={"default": _NONE, "off": _NONE, "on": _HIGH, "forced": _HIGH},
    opening=Openings(default=_PLAIN, on=_OPENED, off=_PLAIN, forced=_OPENED),
    turn_starts=tuple(map(_named, ("<｜hy_User｜>", "<｜hy_Assistant｜>", "<tool_responses~>"))),
    turn_end=_named("<｜hy_eos｜>"),
    stops=(_named("<｜hy_eos｜>"),),
    unverified=(SPENT_BUDGET,),
    thinking=ThinkingForm(
        open=_named("<think~>"),
        close=_named("</think~>"),
        closing=_named("</think~>"),
        history=_PLAIN,
        kept="with_tools",
    ),
    tools=ToolsForm(form=_TOOLS, between="\n\n"),
    calls=CallForm(
        grammar="hunyuan",
        starts=(_named("<tool_calls~>"),),
        ends=(_named("</tool_calls~>"),),
        inner=tuple(
            map(
                _named,
                (
                    "<tool_call~>",
                    "</tool_call~>",
                    "<tool_sep~>",
                    "<arg_key~>",
                    "</arg_key~>",
                    "<arg_value~>",
                    "</arg_value~>",
                ),
            )
        ),
        written=WrittenCalls(
            open=_named("<tool_calls~>\n"),
            each=_named("<tool_call~>{name}<tool_sep~>\n{arguments}</tool_call~>\n"),
            close=_named("</tool_calls~>"),
            argument=_named("<arg_key~>{key}</arg_key~>\n<arg_value~>{value}</arg_value~>\n"),
            bare_strings=True,
        ),
    ),
    results=ResultForm(
        open=_named("<tool_responses~>\n"),
        each=_named("<tool_response~>\n{content}\n</tool_response~>\n"),
        close=_named("</tool_responses~>"),
    ),
)

DIALECTS = (HY3,)
