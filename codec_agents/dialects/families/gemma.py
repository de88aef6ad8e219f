"""Gemma 2 and 3, without tools; Gemma 4 and FunctionGemma, with literals of their own in calls."""

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

GEMMA_4 = Dialect(
    name="gemma-4",
    description="turn tokens; calls: call:name{...}; results inside the assistant's turn",
    markers=(
        "<bos>",
        "<|turn>",
        "<turn|>",
        "<|tool>",
        "<tool|>",
        "<|tool_call>",
        "<tool_call|>",
        "<|tool_response>",
        "<tool_response|>",
        '<|"|>',
    ),
    optional_markers=("<eos>", "<|think|>", "<|channel>", "<channel|>"),
    begin="<bos>",
    system="<|turn>system\n{content}<turn|>\n",
    user="<|turn>user\n{content}<turn|>\n",
    assistant="<|turn>model\n{content}<turn|>\n",
    thinking_system={"on": "<|think|>\n", "forced": "<|think|>\n"},
    opening=Openings(
        default="<|turn>model\n<|channel>thought\n<channel|>",
        on="<|turn>model\n",
        forced="<|turn>model\n<|channel>thought\n",
    ),
    turn_starts=("<|turn>",),
    unverified=(SPENT_BUDGET,),
    turn_end="<turn|>",
    after_turn="\n",
    stops=("<turn|>", "<|tool_response>", "<eos>"),
    thinking=ThinkingForm(
        open="<|channel>",
        close="<channel|>",
        closing="<channel|>",
        history="<|turn>model\n",
        told="<|turn>model\n<|channel>thought\n{reasoning}\n<channel|>",
    ),
    tools=ToolsForm(form="{tools}", each="gemma", join=""),
    calls=CallForm(
        grammar="gemma",
        starts=("<|tool_call>",),
        ends=("<tool_call|>",),
        inner=('<|"|>',),
        written=WrittenCalls(each="<|tool_call>call:{name}{arguments}<tool_call|>", literals="gemma"),
    ),
    results=ResultForm(
        each='<|tool_response>response:{name}{value:<|"|>{content}<|"|>}<tool_response|>',
        then="nothing",
        in_turn=True,
    ),
)

GEMMA_4_E = GEMMA_4.model_copy(
    update={
        "name": "gemma-4-e",
        "description": "as gemma-4, without an empty reasoning block when thinking is off (E2B, E4B)",
        "opening": Openings(default="<|turn>model\n", forced="<|turn>model\n<|channel>thought\n"),
    }
)

GEMMA_3 = Dialect(
    name="gemma-3",
    description="turn tokens; system text at the start of the first user turn; no tools (Gemma 2 and 3)",
    markers=("<bos>", "<start_of_turn>", "<end_of_turn>"),
    optional_markers=("<eos>",),
    begin="<bos>",
    system="",
    system_in_user="{content}\n\n",
    system_in_first_user=True,
    unverified=("the place of the system text (the available template rejects one)",),
    user="<start_of_turn>user\n{content}<end_of_turn>\n",
    assistant="<start_of_turn>model\n{content}<end_of_turn>\n",
    opening=Openings(default="<start_of_turn>model\n"),
    turn_starts=("<start_of_turn>",),
    turn_end="<end_of_turn>",
    after_turn="\n",
    stops=("<end_of_turn>", "<eos>"),
)

FUNCTION_GEMMA = Dialect(
    name="function-gemma",
    description="as gemma-3, with a developer turn; calls: call:name{...} in <start_function_call>",
    markers=(
        "<bos>",
        "<start_of_turn>",
        "<end_of_turn>",
        "<start_function_declaration>",
        "<end_function_declaration>",
        "<start_function_call>",
        "<end_function_call>",
        "<start_function_response>",
        "<end_function_response>",
        "<escape>",
    ),
    optional_markers=("<eos>",),
    begin="<bos>",
    system="<start_of_turn>developer\n{content}<end_of_turn>\n",
    user="<start_of_turn>user\n{content}<end_of_turn>\n",
    assistant="<start_of_turn>model\n{content}<end_of_turn>\n",
    opening=Openings(default="<start_of_turn>model\n"),
    turn_starts=("<start_of_turn>",),
    turn_end="<end_of_turn>",
    after_turn="\n",
    stops=("<end_of_turn>", "<start_function_response>", "<eos>"),
    unverified=(
        "conversations other than the one that Google's documents show",
        "the format of tool results (its documents show fields; a result is one text here)",
    ),
    tools=ToolsForm(
        form="You are a model that can do function calling with the following functions{tools}",
        between="\n",
        each="function-gemma",
        join="",
    ),
    calls=CallForm(
        grammar="function-gemma",
        starts=("<start_function_call>",),
        ends=("<end_function_call>",),
        inner=("<escape>",),
        written=WrittenCalls(
            each="<start_function_call>call:{name}{arguments}<end_function_call>",
            literals="function-gemma",
        ),
    ),
    results=ResultForm(
        each=(
            "<start_function_response>response:{name}{value:<escape>{content}<escape>}<end_function_response>"
        ),
        then="nothing",
        in_turn=True,
    ),
)

DIALECTS = (GEMMA_3, GEMMA_4, GEMMA_4_E, FUNCTION_GEMMA)
