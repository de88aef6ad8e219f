"""GLM 4.5 to 5.3: keys and values of calls in control tokens; a turn ends where the next one begins."""

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
<|system|>
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, output the function name and arguments within the following XML format:
"""

_CALL = """\
<tool_call>{function-name}
<arg_key>{arg-key-1}</arg_key>
<arg_value>{arg-value-1}</arg_value>
<arg_key>{arg-key-2}</arg_key>
<arg_value>{arg-value-2}</arg_value>
...
</tool_call>"""

_INNER = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")

_WRITTEN = WrittenCalls(
    each="<tool_call>{name}\n{arguments}</tool_call>",
    argument="<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n",
    bare_strings=True,
    join="\n",
    behind_text="\n",
)
_WRITTEN_CLOSE = WrittenCalls(
    each="<tool_call>{name}{arguments}</tool_call>",
    argument="<arg_key>{key}</arg_key><arg_value>{value}</arg_value>",
    bare_strings=True,
)

GLM_4_5 = Dialect(
    name="glm-4.5",
    description="role tokens; calls: <arg_key> and <arg_value> tags; the model opens its reasoning itself",
    markers=(
        "[gMASK]",
        "<sop>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
        "<|observation|>",
        "<tool_call>",
        "</tool_call>",
        *_INNER,
        "<think>",
        "</think>",
    ),
    optional_markers=("<|endoftext|>", "<tool_response>", "</tool_response>", "/nothink"),
    begin="[gMASK]<sop>",
    system="<|system|>\n{content}",
    user="<|user|>\n{content}",
    assistant="<|assistant|>\n<think></think>\n{content}",
    thinking_user={"off": "/nothink"},
    opening=Openings(
        default="<|assistant|>",
        off="<|assistant|>\n<think></think>",
        forced="<|assistant|>\n<think>",
    ),
    turn_starts=("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    unverified=(SPENT_BUDGET,),
    turn_end=None,
    stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
    thinking=ThinkingForm(
        open="<think>",
        close="</think>",
        closing="</think>\n",
        history="<|assistant|>\n<think></think>\n",
    ),
    tools=ToolsForm(form=_TOOLS + _CALL, place="before_system"),
    calls=CallForm(
        grammar="glm", starts=("<tool_call>",), ends=("</tool_call>",), inner=_INNER, written=_WRITTEN
    ),
    results=ResultForm(open="<|observation|>", each="\n<tool_response>\n{content}\n</tool_response>"),
)

GLM_4_7 = GLM_4_5.model_copy(
    update={
        "name": "glm-4.7",
        "description": "as glm-4.5, without line breaks; every answer begins with reasoning",
        "system": "<|system|>{content}",
        "user": "<|user|>{content}",
        "assistant": "<|assistant|></think>{content}",
        "thinking_user": {},
        "thinking": ThinkingForm(
            open="<think>", close="</think>", closing="</think>", history="<|assistant|></think>"
        ),
        "opening": Openings(
            default="<|assistant|><think>", off="<|assistant|></think>", forced="<|assistant|><think>"
        ),
        "tools": ToolsForm(form=_TOOLS + _CALL.replace("\n", ""), place="before_system"),
        "calls": CallForm(
            grammar="glm",
            starts=("<tool_call>",),
            ends=("</tool_call>",),
            inner=_INNER,
            written=_WRITTEN_CLOSE,
        ),
        "results": ResultForm(open="<|observation|>", each="<tool_response>{content}</tool_response>"),
    }
)

GLM_5 = GLM_4_7.model_copy(update={"name": "glm-5", "description": "as glm-4.7"})

_FUNCTIONS = ToolsForm(form=_TOOLS + _CALL.replace("\n", ""), place="before_system", each="function")
_THOUGHT_NOTHING = "<|assistant|><think></think>"

GLM_5_1 = GLM_5.model_copy(
    update={
        "name": "glm-5.1",
        "description": "as glm-5; tools as bare functions; turns without reasoning have an empty block",
        "tools": _FUNCTIONS,
        "thinking": ThinkingForm(
            open="<think>",
            close="</think>",
            closing="</think>",
            history="<|assistant|></think>",
            absent=dict.fromkeys(("default", "on", "forced"), _THOUGHT_NOTHING),
        ),
    }
)

_EFFORT = "<|system|>Reasoning Effort: Max"

GLM_5_2 = GLM_5_1.model_copy(
    update={
        "name": "glm-5.2",
        "description": "as glm-5.1; the prompt states the reasoning effort, unless thinking is off",
        "thinking_turn": dict.fromkeys(("default", "on", "forced"), _EFFORT),
        "thinking_turn_first": True,
        "assistant": f"{_THOUGHT_NOTHING}{{content}}",
        "opening": Openings(
            default="<|assistant|><think>", off=_THOUGHT_NOTHING, forced="<|assistant|><think>"
        ),
        "thinking": ThinkingForm(
            open="<think>", close="</think>", closing="</think>", history=_THOUGHT_NOTHING
        ),
    }
)

GLM_5_3 = GLM_5_1.model_copy(
    update={
        "name": "glm-5.3",
        "description": "as glm-5.1; earlier reasoning is kept, the prompt states the reasoning effort",
        "begin": f"[gMASK]<sop>{_EFFORT}",
        "assistant": f"{_THOUGHT_NOTHING}{{content}}",
        "opening": Openings(default="<|assistant|><think>", forced="<|assistant|><think>"),
        "thinking": ThinkingForm(
            open="<think>", close="</think>", closing="</think>", history=_THOUGHT_NOTHING, kept=True
        ),
    }
)

DIALECTS = (GLM_4_5, GLM_4_7, GLM_5, GLM_5_1, GLM_5_2, GLM_5_3)
