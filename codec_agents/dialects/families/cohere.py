"""Command R7B and Command A: calls as an action, answers as a response, results in a system turn."""

from __future__ import annotations

from codec_agents.dialects.base import (
    EARLIER_REASONING,
    NO_REFERENCE,
    SPENT_BUDGET,
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)

_ASSISTANT = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"

COMMAND = Dialect(
    name="command-a",
    description="role tokens; calls: a JSON list in <|START_ACTION|>; reasoning in <|START_THINKING|>",
    markers=(
        "<BOS_TOKEN>",
        "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|SYSTEM_TOKEN|>",
        "<|USER_TOKEN|>",
        "<|CHATBOT_TOKEN|>",
        "<|START_ACTION|>",
        "<|END_ACTION|>",
        "<|START_TOOL_RESULT|>",
        "<|END_TOOL_RESULT|>",
        "<|START_RESPONSE|>",
        "<|END_RESPONSE|>",
        "<|START_THINKING|>",
        "<|END_THINKING|>",
    ),
    optional_markers=("<|START_TEXT|>", "<|END_TEXT|>"),
    begin="<BOS_TOKEN>",
    system="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{content}<|END_OF_TURN_TOKEN|>",
    user="<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{content}<|END_OF_TURN_TOKEN|>",
    assistant=f"{_ASSISTANT}<|START_RESPONSE|>{{content}}<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    answer="<|START_RESPONSE|>{content}<|END_RESPONSE|>",
    opening=Openings(
        default=_ASSISTANT,
        off=f"{_ASSISTANT}<|START_THINKING|><|END_THINKING|>",
        forced=f"{_ASSISTANT}<|START_THINKING|>",
    ),
    turn_starts=("<|START_OF_TURN_TOKEN|>",),
    unverified=(NO_REFERENCE, EARLIER_REASONING, SPENT_BUDGET),
    turn_end="<|END_OF_TURN_TOKEN|>",
    stops=("<|END_OF_TURN_TOKEN|>",),
    wrappers=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    thinking=ThinkingForm(
        open="<|START_THINKING|>", close="<|END_THINKING|>", closing="<|END_THINKING|>", kept=True
    ),
    tools=ToolsForm(
        form="# Available Tools\n```json\n{tools}\n```",
        between="\n\n",
        each="function",
        list_of=True,
        indent=4,
    ),
    calls=CallForm(
        grammar="json",
        starts=("<|START_ACTION|>",),
        ends=("<|END_ACTION|>",),
        written=WrittenCalls(
            open="<|START_ACTION|>[\n",
            each=('    {"tool_call_id": {id_json}, "tool_name": {name_json}, "parameters": {arguments}}'),
            join=",\n",
            close="\n]<|END_ACTION|>",
            text=None,
        ),
    ),
    results=ResultForm(
        open="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><|START_TOOL_RESULT|>[\n",
        each='    {"tool_call_id": {id_json}, "results": {"0": {content}}, "is_error": null}',
        join=",\n",
        close="\n]<|END_TOOL_RESULT|><|END_OF_TURN_TOKEN|>",
        content="json",
    ),
)

COMMAND_R7B = COMMAND.model_copy(
    update={
        "name": "command-r7b",
        "description": "as command-a, with results as indented JSON",
        "unverified": (
            SPENT_BUDGET,
            "the text around tool definitions, which is shorter than in its template",
        ),
        "results": ResultForm(
            open="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><|START_TOOL_RESULT|>[\n",
            each=(
                '    {\n        "tool_call_id": {id_json},\n        "results": {\n'
                '            "0": {content}\n        },\n        "is_error": null\n    }'
            ),
            join=",\n",
            close="\n]<|END_TOOL_RESULT|><|END_OF_TURN_TOKEN|>",
            content="json_string",
        ),
    }
)

DIALECTS = (COMMAND, COMMAND_R7B)
