"""DeepSeek V3.2, V4 and V4.1: calls in tags whose names begin with `｜DSML｜`."""

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

_D = "｜DSML｜"
_MODES = ("default", "on", "forced")


def _calls(block: str, prefix: str = "") -> CallForm:
    """Return the form of calls: the name of the block around them, and what begins the names of tags."""
    open_tag, close_tag = f"<{_D}{block}>", f"</{_D}{block}>"
    return CallForm(
        grammar="dsml",
        text_starts=(open_tag,),
        text_end=close_tag,
        inner=(_D,),  # of a tag, this alone is a control token, and only in some vocabularies
        text_anywhere=True,
        text_in_reasoning=True,
        keep_text_start=False,  # the grammar reads the calls, not the block around them
        written=WrittenCalls(
            open=f"\n\n{open_tag}\n",
            each=f'<{_D}{prefix}invoke name="{{name}}">\n{{arguments}}\n</{_D}{prefix}invoke>',
            join="\n",
            close=f"\n{close_tag}",
            argument=(
                f'<{_D}{prefix}parameter name="{{key}}" string="{{is_text}}">{{value}}'
                f"</{_D}{prefix}parameter>"
            ),
            argument_join="\n",
            bare_strings=True,
        ),
    )


def _example(block: str, prefix: str, name: str) -> str:
    return f"""\
<{_D}{block}>
<{_D}{prefix}invoke name="${name}_NAME">
<{_D}{prefix}parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</{_D}{prefix}parameter>
...
</{_D}{prefix}invoke>
<{_D}{prefix}invoke name="${name}_NAME2">
...
</{_D}{prefix}invoke>
</{_D}{block}>

"""


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
    description="calls: DSML tags; optional reasoning, also after tool results",
    markers=(
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "<think>",
        "</think>",
    ),
    optional_markers=(_D,),
    begin="<｜begin▁of▁sentence｜>",
    system="{content}",
    user="<｜User｜>{content}",
    assistant="<｜Assistant｜></think>{content}<｜end▁of▁sentence｜>",
    opening=Openings(
        default="<｜Assistant｜></think>",
        on="<｜Assistant｜><think>",
        off="<｜Assistant｜></think>",
        forced="<｜Assistant｜><think>",
    ),
    reopening=Openings(default="</think>", on="<think>", off="</think>", forced="<think>"),
    turn_starts=("<｜User｜>", "<｜Assistant｜>"),
    turn_end="<｜end▁of▁sentence｜>",
    stops=("<｜end▁of▁sentence｜>",),
    unverified=(SPENT_BUDGET, "the text around tool definitions (its documents show two versions)"),
    thinking=ThinkingForm(
        open="<think>",
        close="</think>",
        closing="</think>",
        history="<｜Assistant｜></think>",
        absent=dict.fromkeys(("on", "forced"), "<｜Assistant｜><think></think>"),
    ),
    tools=ToolsForm(form=_DSML_TOOLS, between="\n\n", each="function"),
    calls=_calls("function_calls"),
    results=ResultForm(
        open="\n\n<function_results>",
        each="\n<result>{content}</result>",
        close="\n</function_results>\n\n",
        then="reopening",
    ),
)

_TOOLS_V4 = """\
## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a \
"<{block}>" block like the following:

{example}\
String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, \
arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside \
<think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

{tools}

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
"""


def _tools_v4(block: str, prefix: str = "") -> ToolsForm:
    form = _TOOLS_V4.replace("{block}", f"{_D}{block}").replace("{example}", _example(block, prefix, "TOOL"))
    return ToolsForm(form=form, between="\n\n", each="function")


_THINKING_V4 = ThinkingForm(
    open="<think>",
    close="</think>",
    closing="</think>",
    history="<｜Assistant｜></think>",
    kept="with_tools",
    absent=dict.fromkeys(("on", "forced"), "<｜Assistant｜><think></think>"),
)

DEEPSEEK_V4 = DEEPSEEK_V3_2.model_copy(
    update={
        "name": "deepseek-v4",
        "description": "calls: DSML tags; results in a user turn; optional reasoning",
        "markers": (*DEEPSEEK_V3_2.markers, _D),
        "optional_markers": (),
        "reopening": None,
        "tools_system": "",
        "unverified": (SPENT_BUDGET,),
        "thinking": _THINKING_V4,
        "tools": _tools_v4("tool_calls"),
        "calls": _calls("tool_calls"),
        "results": ResultForm(
            open="<｜User｜>", each="<tool_result>{content}</tool_result>", join="\n\n", then="opening"
        ),
    }
)

_EFFORT = "Reasoning Effort: 75 (range 1-100, the higher the value, the more thorough the reasoning)\n\n"

DEEPSEEK_V4_1 = DEEPSEEK_V4.model_copy(
    update={
        "name": "deepseek-v4.1",
        "description": "as deepseek-v4; spaces in tag names; a system turn; answers begin with reasoning",
        "markers": (*DEEPSEEK_V4.markers, "<｜System｜>"),
        "system": "<｜System｜>{content}",
        "tools_system": "",
        "thinking_system": dict.fromkeys(_MODES, _EFFORT),
        "opening": Openings(
            default="<｜Assistant｜><think>",
            off="<｜Assistant｜></think>",
            forced="<｜Assistant｜><think>",
        ),
        "turn_starts": ("<｜System｜>", *DEEPSEEK_V4.turn_starts),
        "thinking": _THINKING_V4.model_copy(
            update={"absent": dict.fromkeys(_MODES, "<｜Assistant｜><think></think>")}
        ),
        "tools": _tools_v4(" calls", " "),
        "calls": _calls(" calls", " "),
    }
)

DIALECTS = (DEEPSEEK_V3_2, DEEPSEEK_V4, DEEPSEEK_V4_1)
