"""gpt-oss: a turn is a sequence of messages, and each message's header says what it is."""

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

_SYSTEM = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\n\n"
    "Reasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message."
)

HARMONY = Dialect(
    name="harmony",
    description="messages with channels: `analysis` is reasoning, a message with a recipient is a call",
    markers=("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"),
    optional_markers=("<|constrain|>", "<|endoftext|>"),
    begin=f"{_SYSTEM}<|end|>",
    begin_with_tools=(
        f"{_SYSTEM}\nCalls to these tools must go to the commentary channel: 'functions'.<|end|>"
    ),
    system="<|start|>developer<|message|>{content}<|end|>",
    system_text="# Instructions\n\n{content}",
    user="<|start|>user<|message|>{content}<|end|>",
    assistant="<|start|>assistant<|channel|>final<|message|>{content}<|end|>",
    answer="<|channel|>final<|message|>{content}<|end|>",
    opening=Openings(default="<|start|>assistant"),
    turn_starts=("<|start|>",),
    unverified=(SPENT_BUDGET, "the date line of the system turn, which is omitted"),
    turn_end="<|end|>",
    also_ends=("<|return|>", "<|call|>"),
    stops=("<|return|>", "<|call|>"),
    tools=ToolsForm(
        form="# Tools\n\n## functions\n\nnamespace functions {\n\n{tools}\n\n} // namespace functions",
        between="\n\n",
        each="typescript",
        join="\n\n",
    ),
    calls=CallForm(
        grammar="harmony",
        written=WrittenCalls(
            each="<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}<|call|>",
            text="<|channel|>commentary<|message|>{content}<|end|><|start|>assistant",
            most=1,  # what marks a call as over ends the turn
        ),
    ),
    results=ResultForm(
        each="<|start|>functions.{name} to=assistant<|channel|>commentary<|message|>{content}<|end|>"
    ),
    # The channel `analysis` is reasoning; what closes it is the header of the answer.
    thinking=ThinkingForm(
        open="<|channel|>",
        close="<|end|>",
        closing="<|end|><|start|>assistant<|channel|>final<|message|>",
        told="<|start|>assistant<|channel|>analysis<|message|>{reasoning}<|end|><|start|>assistant",
    ),
    reader="messages",
)

DIALECTS = (HARMONY,)
