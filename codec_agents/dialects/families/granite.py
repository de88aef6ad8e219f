"""Granite 3 and 4. Reasoning that Granite 3 writes in plain words or plain tags is answer here."""

from __future__ import annotations

from codec_agents.dialects.base import (
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.families.hermes import WRITTEN

GRANITE_3 = Dialect(
    name="granite-3",
    description="role tokens; calls: a JSON list from <|tool_call|> to the end of the turn",
    markers=("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    optional_markers=("<|tool_call|>", "<tool_call>"),
    system="<|start_of_role|>system<|end_of_role|>{content}<|end_of_text|>\n",
    user="<|start_of_role|>user<|end_of_role|>{content}<|end_of_text|>\n",
    assistant="<|start_of_role|>assistant<|end_of_role|>{content}<|end_of_text|>\n",
    opening=Openings(default="<|start_of_role|>assistant<|end_of_role|>"),
    turn_starts=("<|start_of_role|>",),
    turn_end="<|end_of_text|>",
    after_turn="\n",
    stops=("<|end_of_text|>",),
    tools=ToolsForm(
        form="<|start_of_role|>available_tools<|end_of_role|>{tools}<|end_of_text|>\n",
        place="after_system",
        list_of=True,
        indent=4,
    ),
    calls=CallForm(
        grammar="json",
        starts=("<|tool_call|>", "<tool_call>"),
        text_starts=("<|tool_call|>", "<tool_call>"),
        keep_text_start=False,
        text_unless_marked=True,
        speculative=True,
        written=WrittenCalls(
            open="<|tool_call|>[",
            each='{"name": {name_json}, "arguments": {arguments}}',
            join=", ",
            close="]",
        ),
    ),
    results=ResultForm(each="<|start_of_role|>tool<|end_of_role|>{content}<|end_of_text|>\n"),
)

_TOOLS = """\
You are a helpful assistant with access to the following tools. You may call one or more tools to assist \
with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each tool call, return a json object with function name and arguments within <tool_call></tool_call> \
XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>. If a tool does not exist in the provided list of tools, notify the user that you do not have \
the ability to fulfill the request."""

GRANITE_4 = GRANITE_3.model_copy(
    update={
        "name": "granite-4",
        "description": "role tokens; calls: JSON in <tool_call>, as hermes",
        "markers": (*GRANITE_3.markers, "<tool_call>", "</tool_call>"),
        "optional_markers": ("<tool_response>", "</tool_response>"),
        "tools": ToolsForm(form=_TOOLS, between="\n\n"),
        "calls": CallForm(grammar="json", starts=("<tool_call>",), ends=("</tool_call>",), written=WRITTEN),
        "results": ResultForm(
            open="<|start_of_role|>user<|end_of_role|>",
            each="\n<tool_response>\n{content}\n</tool_response>",
            close="<|end_of_text|>\n",
        ),
    }
)

DIALECTS = (GRANITE_3, GRANITE_4)
