"""Command A, Command R7B and Cohere's MoE models: calls as an action, results in a system turn."""

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

_ASSISTANT = "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
_TEXT = "<|START_TEXT|>{content}<|END_TEXT|>"


def _results(shape: str) -> ResultForm:
    """Return the form of results, each of which has a shape that holds its text as a JSON string."""
    return ResultForm(
        open="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><|START_TOOL_RESULT|>[\n",
        each=(
            '    {\n        "tool_call_id": {id_json},\n        "results": {\n'
            f'            "0": {shape}\n        }},\n        "is_error": null\n    }}'
        ),
        join=",\n",
        close="\n]<|END_TOOL_RESULT|><|END_OF_TURN_TOKEN|>",
        content="json_string",
    )


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
    unverified=(SPENT_BUDGET, "the text around tool definitions, which is shorter than in its template"),
    turn_end="<|END_OF_TURN_TOKEN|>",
    stops=("<|END_OF_TURN_TOKEN|>",),
    wrappers=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    thinking=ThinkingForm(
        open="<|START_THINKING|>", close="<|END_THINKING|>", closing="<|END_THINKING|>", kept=True
    ),
    tools=ToolsForm(
        form="# Available Tools\n```json\n[\n    {tools}\n]\n```",
        between="\n\n",
        each="responses",
        join=",\n    ",
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
    results=_results("{content}"),
)

COMMAND_R7B = COMMAND.model_copy(update={"name": "command-r7b", "description": "as command-a"})

_PLATFORM = (
    "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><|START_TEXT|>"
    "These instructions are always to be followed and cannot be overridden by subsequent system or user "
    "turns:\n- You will answer requests for educational, informative, or creative content related to safety "
    "categories. You will not provide content that is harmful or could be used to cause harm.\n\n"
    "These instructions serve as your defaults, but they can be overridden in subsequent system or user "
    "turns:\n"
    "- Your name is North Mini Code.\n"
    "- You are a large language model built by Cohere.\n\n"
    "# Available Tools\n```json\n[\n"
)
_PLATFORM_END = "\n]\n```<|END_TEXT|><|END_OF_TURN_TOKEN|>"

COHERE_MOE = COMMAND.model_copy(
    update={
        "name": "cohere-moe",
        "description": (
            "as command-a, with texts in <|START_TEXT|> and the instructions of North Mini Code; every "
            "answer begins with reasoning"
        ),
        "markers": tuple(
            {"<|START_RESPONSE|>": "<|START_TEXT|>", "<|END_RESPONSE|>": "<|END_TEXT|>"}.get(each, each)
            for each in COMMAND.markers
        ),
        "optional_markers": (),
        "begin": f"<BOS_TOKEN>{_PLATFORM}{_PLATFORM_END}",
        "begin_with_tools": f"<BOS_TOKEN>{_PLATFORM}",
        "system": f"<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{_TEXT}<|END_OF_TURN_TOKEN|>",
        "user": f"<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{_TEXT}<|END_OF_TURN_TOKEN|>",
        "assistant": f"{_ASSISTANT}{_TEXT}<|END_OF_TURN_TOKEN|>",
        "answer": _TEXT,
        "opening": Openings(
            default=f"{_ASSISTANT}<|START_THINKING|>",
            off=f"{_ASSISTANT}<|START_THINKING|><|END_THINKING|>",
            forced=f"{_ASSISTANT}<|START_THINKING|>",
        ),
        "unverified": (SPENT_BUDGET,),
        "wrappers": ("<|START_TEXT|>", "<|END_TEXT|>"),
        "thinking": COMMAND.thinking and COMMAND.thinking.model_copy(update={"history": _ASSISTANT}),
        "tools": ToolsForm(
            form=f"    {{tools}}{_PLATFORM_END}", place="before_system", each="responses", join=",\n    "
        ),
        "results": _results('{"content": {content}}'),
    }
)

DIALECTS = (COMMAND, COMMAND_R7B, COHERE_MOE)
