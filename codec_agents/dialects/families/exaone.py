"""EXAONE 4: role turns between brackets; calls as JSON in <tool_call>."""

from __future__ import annotations

from codec_agents.dialects.base import (
    NO_REFERENCE,
    SPENT_BUDGET,
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
)
from codec_agents.dialects.families.hermes import WRITTEN

EXAONE_4 = Dialect(
    name="exaone-4",
    description="role turns between brackets; calls as JSON in <tool_call>",
    markers=("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
    optional_markers=("[|tool|]", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    system="[|system|]\n{content}[|endofturn|]\n",
    user="[|user|]\n{content}[|endofturn|]\n",
    assistant="[|assistant|]\n{content}[|endofturn|]\n",
    opening=Openings(
        default="[|assistant|]\n",
        off="[|assistant|]\n<think>\n\n</think>\n\n",
        forced="[|assistant|]\n<think>\n",
    ),
    turn_starts=("[|system|]", "[|user|]", "[|assistant|]", "[|tool|]"),
    turn_end="[|endofturn|]",
    after_turn="\n",
    stops=("[|endofturn|]",),
    unverified=(SPENT_BUDGET, NO_REFERENCE),
    thinking=ThinkingForm(
        open="<think>", close="</think>", closing="\n</think>\n\n", history="[|assistant|]\n"
    ),
    tools=ToolsForm(form="# Available Tools\n{tools}", between="\n\n"),
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
        open="[|tool|]\n", each="<tool_result>{content}</tool_result>", join="\n", close="[|endofturn|]\n"
    ),
)

DIALECTS = (EXAONE_4,)
