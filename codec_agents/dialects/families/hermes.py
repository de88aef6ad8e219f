"""ChatML with Hermes tool calls: Qwen2.5, QwQ, Qwen3, and models trained on the same form."""

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

WRITTEN = WrittenCalls(
    each='<tool_call>\n{"name": {name_json}, "arguments": {arguments}}\n</tool_call>',
    join="\n",
    behind_text="\n",
)
"""Also of models that take the calls over and not the turns."""

_TOOLS = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""

HERMES = Dialect(
    name="hermes",
    description="ChatML; calls: JSON in <tool_call>; reasoning in <think> if the map has that token",
    markers=("<|im_start|>", "<|im_end|>"),
    optional_markers=(
        "<tool_call>",
        "</tool_call>",
        "<tool_response>",
        "</tool_response>",
        "<think>",
        "</think>",
        "<|endoftext|>",
    ),
    system="<|im_start|>system\n{content}<|im_end|>\n",
    user="<|im_start|>user\n{content}<|im_end|>\n",
    assistant="<|im_start|>assistant\n{content}<|im_end|>\n",
    opening=Openings(
        default="<|im_start|>assistant\n",
        off="<|im_start|>assistant\n<think>\n\n</think>\n\n",
        forced="<|im_start|>assistant\n<think>\n",
    ),
    turn_starts=("<|im_start|>",),
    turn_end="<|im_end|>",
    after_turn="\n",
    stops=("<|im_end|>", "<|endoftext|>"),
    thinking=ThinkingForm(
        open="<think>",
        close="</think>",
        closing="\n</think>\n\n",
        history="<|im_start|>assistant\n",
    ),
    unverified=(SPENT_BUDGET,),
    tools=ToolsForm(form=_TOOLS, between="\n\n"),
    calls=CallForm(
        grammar="json",
        starts=("<tool_call>",),
        ends=("</tool_call>",),
        text_starts=("<tool_call>",),
        text_end="</tool_call>",
        text_anywhere=True,
        keep_text_start=False,
        text_unless_marked=True,
        written=WRITTEN,
    ),
    results=ResultForm(
        open="<|im_start|>user\n",
        each="<tool_response>\n{content}\n</tool_response>",
        join="\n",
        close="<|im_end|>\n",
    ),
)

HERMES_3 = HERMES.model_copy(
    update={
        "name": "hermes-3",
        "description": "as hermes, with results in a `tool` turn (Hermes 2 Pro and 3)",
        "results": ResultForm(
            open="<|im_start|>tool\n",
            each="<tool_response>\n{content}\n</tool_response>",
            join="\n",
            close="<|im_end|>\n",
        ),
    }
)

QWEN2_5 = HERMES.model_copy(
    update={
        "name": "qwen2.5",
        "description": "as hermes, with the model's default system text",
        "markers": ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"),
        "default_system": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    }
)

QWEN3 = HERMES.model_copy(
    update={
        "name": "qwen3",
        "description": "as hermes, with reasoning",
        "markers": (
            "<|im_start|>",
            "<|im_end|>",
            "<tool_call>",
            "</tool_call>",
            "<tool_response>",
            "</tool_response>",
            "<think>",
            "</think>",
        ),
        "optional_markers": ("<|endoftext|>",),
    }
)

QWQ = QWEN3.model_copy(
    update={
        "name": "qwq",
        "description": "as qwen3; every answer begins with reasoning (QwQ, Qwen3 Thinking-2507)",
        "tools_system": "",
        "opening": Openings(
            default="<|im_start|>assistant\n<think>\n",
            off="<|im_start|>assistant\n<think>\n\n</think>\n\n",
            forced="<|im_start|>assistant\n<think>\n",
        ),
    }
)

DIALECTS = (HERMES, HERMES_3, QWEN2_5, QWEN3, QWQ)
