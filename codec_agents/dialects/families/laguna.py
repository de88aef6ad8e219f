"""Laguna: turns in tags, of which the model's own are control tokens; keys of calls are plain tags."""

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

_DEFAULT = (
    "You are a helpful, conversationally-fluent assistant made by Poolside. You are here to be helpful to "
    "users through natural language conversations."
)

_LISTED = """\

### Tools

You may call functions to assist with the user query.
All available function signatures are listed below:
<available_tools>
{tools}
</available_tools>"""

_FORMAT = """

For each function call, return an unescaped XML-like object with function name and arguments within \
'<tool_call>' and '</tool_call>' tags, like here:
<tool_call>function-name
<arg_key>argument-key</arg_key>
<arg_value>value-of-argument-key</arg_value>
</tool_call>"""

_MARKERS = ("〈|EOS|〉", "<assistant>", "</assistant>", "<think>", "</think>", "<tool_call>", "</tool_call>")

LAGUNA_XS_2 = Dialect(
    name="laguna-xs.2",
    description="turns in tags on separate lines; calls: <arg_key> and <arg_value> tags",
    markers=_MARKERS,
    begin="〈|EOS|〉",
    system="<system>\n\n{content}\n</system>\n",
    user="<user>\n{content}\n</user>\n",
    assistant="<assistant>\n</think>\n{content}\n</assistant>\n",
    answer="{content}\n",
    default_system=_DEFAULT,
    opening=Openings(
        default="<assistant>\n</think>",
        on="<assistant>\n<think>",
        off="<assistant>\n</think>",
        forced="<assistant>\n<think>",
    ),
    turn_starts=("<assistant>",),
    turn_end="</assistant>",
    after_turn="\n",
    stops=("</assistant>", "〈|EOS|〉"),
    unverified=(SPENT_BUDGET, "the note on reasoning next to tool definitions, which is omitted"),
    thinking=ThinkingForm(
        open="<think>",
        close="</think>",
        closing="\n</think>\n",
        kept=True,
        history="<assistant>\n</think>\n",
        told="<assistant>\n<think>\n{reasoning}\n</think>\n",
    ),
    tools=ToolsForm(form=_LISTED + _FORMAT, between="\n"),
    calls=CallForm(
        grammar="keyed",
        starts=("<tool_call>",),
        ends=("</tool_call>",),
        written=WrittenCalls(
            each="<tool_call>{name}\n{arguments}</tool_call>\n",
            argument="<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n",
            bare_strings=True,
            behind_text="\n",
        ),
    ),
    results=ResultForm(each="<tool_response>\n{content}\n</tool_response>\n"),
)

LAGUNA_M_1 = LAGUNA_XS_2.model_copy(
    update={
        "name": "laguna-m.1",
        "description": "as laguna-xs.2, without a default system text",
        "default_system": None,
    }
)

_THINKING = ThinkingForm(
    open="<think>", close="</think>", closing="</think>", kept=True, history="<assistant></think>"
)

LAGUNA_XS_2_1 = LAGUNA_XS_2.model_copy(
    update={
        "name": "laguna-xs-2.1",
        "description": "turns in tags; calls: <arg_key> and <arg_value> tags; optional reasoning",
        "system": "<system>{content}</system>\n",
        "user": "<user>{content}</user>\n",
        "assistant": "<assistant></think>{content}</assistant>\n",
        "answer": "{content}",
        "opening": Openings(
            default="<assistant></think>",
            on="<assistant><think>",
            off="<assistant></think>",
            forced="<assistant><think>",
        ),
        "unverified": (SPENT_BUDGET,),
        "thinking": _THINKING.model_copy(
            update={"absent": dict.fromkeys(("on", "forced"), "<assistant><think></think>")}
        ),
        "tools": ToolsForm(form=_LISTED.removeprefix("\n"), between="\n\n"),
        "calls": CallForm(
            grammar="keyed",
            starts=("<tool_call>",),
            ends=("</tool_call>",),
            written=WrittenCalls(
                each="<tool_call>{name}{arguments}</tool_call>",
                argument="<arg_key>{key}</arg_key><arg_value>{value}</arg_value>",
                bare_strings=True,
            ),
        ),
        "results": ResultForm(each="<tool_response>{content}</tool_response>\n"),
    }
)

LAGUNA_S_2_1 = LAGUNA_XS_2_1.model_copy(
    update={
        "name": "laguna-s-2.1",
        "description": "as laguna-xs-2.1; every answer begins with reasoning",
        "opening": Openings(
            default="<assistant><think>", off="<assistant></think>", forced="<assistant><think>"
        ),
        "thinking": _THINKING.model_copy(
            update={"absent": dict.fromkeys(("default", "on", "forced"), "<assistant><think></think>")}
        ),
    }
)

DIALECTS = (LAGUNA_XS_2, LAGUNA_M_1, LAGUNA_XS_2_1, LAGUNA_S_2_1)
