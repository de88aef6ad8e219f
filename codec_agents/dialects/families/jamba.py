"""Jamba: role tokens; calls as a JSON list in tags."""

from __future__ import annotations

from codec_agents.dialects.base import (
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)

JAMBA = Dialect(
    name="jamba",
    description="role tokens; calls: a JSON list in <tool_calls>",
    markers=("<|startoftext|>", "<|bom|>", "<|eom|>", "<|system|>", "<|user|>", "<|assistant|>"),
    optional_markers=("<|tool|>", "<|endoftext|>", "<tool_calls>", "</tool_calls>"),
    begin="<|startoftext|>",
    system="<|bom|><|system|> {content}<|eom|>",
    user="<|bom|><|user|> {content}<|eom|>",
    assistant="<|bom|><|assistant|> {content}<|eom|>",
    default_turn="<|bom|><|system|> <|eom|>",
    opening=Openings(default="<|bom|><|assistant|>"),
    turn_starts=("<|bom|>",),
    turn_end="<|eom|>",
    stops=("<|eom|>", "<|endoftext|>"),
    tools=ToolsForm(
        form="<tool_definitions>\n# Tools\n\n## Functions\n\n{tools}\n</tool_definitions>",
        between="\n\n",
        each="function",
        join="\n\n",
        indent=2,
    ),
    calls=CallForm(
        grammar="json",
        starts=("<tool_calls>",),
        ends=("</tool_calls>",),
        text_starts=("<tool_calls>",),
        text_end="</tool_calls>",
        text_anywhere=True,
        keep_text_start=False,
        text_unless_marked=True,
        written=WrittenCalls(
            open="<tool_calls>[\n    ",
            each='{"name": {name_json}, "arguments": {arguments}}',
            join=",\n    ",
            close="\n]</tool_calls>",
        ),
    ),
    results=ResultForm(each="<|bom|><|tool|> {content}<|eom|>"),
)

DIALECTS = (JAMBA,)
