"""Mistral, by the version of its tokenizer: v3, v7, v11, v13."""

from __future__ import annotations

from codec_agents.dialects.base import (
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

_TOOLS = ToolsForm(form="[AVAILABLE_TOOLS]{tools}[/AVAILABLE_TOOLS]", place="before_user", list_of=True)

_LISTED = WrittenCalls(
    open="[TOOL_CALLS][",
    each='{"name": {name_json}, "arguments": {arguments}, "id": {id_json}}',
    join=", ",
    close="]",
)

MISTRAL_V3 = Dialect(
    name="mistral-v3",
    description="[INST] turns; calls: one JSON list after [TOOL_CALLS]",
    markers=(
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "[TOOL_CALLS]",
        "[AVAILABLE_TOOLS]",
        "[/AVAILABLE_TOOLS]",
        "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
    ),
    begin="<s>",
    system="",
    system_in_user="{content}\n\n",
    user="[INST]{content}[/INST]",
    assistant="{content}</s>",
    opening=Openings(default=""),
    turn_starts=("[INST]",),
    turn_end="</s>",
    stops=("</s>",),
    tools=_TOOLS,
    calls=CallForm(grammar="mistral", starts=("[TOOL_CALLS]",), written=_LISTED),
    results=ResultForm(
        each='[TOOL_RESULTS]{"content": {content}, "call_id": {id_json}}[/TOOL_RESULTS]',
        content="json",
        then="nothing",
        id_form="{index:09d}",
        id_pattern="[A-Za-z0-9]{9}",
    ),
)

MISTRAL_V7 = MISTRAL_V3.model_copy(
    update={
        "name": "mistral-v7",
        "description": "as mistral-v3, with system turns",
        "markers": (*MISTRAL_V3.markers, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
        "unverified": (),
        "system": "[SYSTEM_PROMPT]{content}[/SYSTEM_PROMPT]",
        "system_in_user": None,
        "results": ResultForm(
            each="[TOOL_RESULTS]{id}[TOOL_CONTENT]{content}[/TOOL_RESULTS]",
            then="nothing",
            id_form="{index:09d}",
            id_pattern="[A-Za-z0-9]{9}",
        ),
    }
)

MISTRAL_V11 = MISTRAL_V7.model_copy(
    update={
        "name": "mistral-v11",
        "description": "calls: name[CALL_ID]id[ARGS]{...}, each after a [TOOL_CALLS]",
        "unverified": (),
        "markers": (*MISTRAL_V7.markers, "[CALL_ID]", "[ARGS]"),
        "calls": CallForm(
            grammar="mistral",
            starts=("[TOOL_CALLS]",),
            inner=("[CALL_ID]", "[ARGS]"),
            written=WrittenCalls(each="[TOOL_CALLS]{name}[CALL_ID]{id}[ARGS]{arguments}"),
        ),
    }
)

MISTRAL_V13 = MISTRAL_V7.model_copy(
    update={
        "name": "mistral-v13",
        "description": "calls: name[ARGS]{...}; results in the order of the calls; reasoning in [THINK]",
        "markers": (*MISTRAL_V7.markers[:-1], "[ARGS]"),
        "optional_markers": ("[THINK]", "[/THINK]"),
        "unverified": (EARLIER_REASONING, SPENT_BUDGET),
        "tools": _TOOLS.model_copy(update={"place": "after_system"}),
        "thinking": ThinkingForm(open="[THINK]", close="[/THINK]", closing="[/THINK]", kept=True),
        "calls": CallForm(
            grammar="mistral",
            starts=("[TOOL_CALLS]",),
            inner=("[ARGS]",),
            written=WrittenCalls(each="[TOOL_CALLS]{name}[ARGS]{arguments}"),
        ),
        "results": ResultForm(each="[TOOL_RESULTS]{content}[/TOOL_RESULTS]", then="nothing"),
    }
)

DIALECTS = (MISTRAL_V3, MISTRAL_V7, MISTRAL_V11, MISTRAL_V13)
