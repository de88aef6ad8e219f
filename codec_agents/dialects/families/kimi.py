"""Kimi K2, K2 Thinking and K2.5, whose calls have ids that name tools; K3, whose messages are elements."""

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

_INNER = ("<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_call_argument_begin|>")

KIMI_K2 = Dialect(
    name="kimi-k2",
    description="role tokens; calls: a section of control tokens, with ids numbered over the conversation",
    markers=(
        "<|im_system|>",
        "<|im_user|>",
        "<|im_assistant|>",
        "<|im_middle|>",
        "<|im_end|>",
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_end|>",
        *_INNER,
    ),
    optional_markers=(
        "[BOS]",
        "[EOS]",
        "<think>",
        "</think>",
        "<|tool_call_section_begin|>",
        "<|tool_call_section_end|>",
    ),
    system="<|im_system|>system<|im_middle|>{content}<|im_end|>",
    user="<|im_user|>user<|im_middle|>{content}<|im_end|>",
    assistant="<|im_assistant|>assistant<|im_middle|>{content}<|im_end|>",
    default_turn=(
        "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>\n"
    ),
    opening=Openings(
        default="<|im_assistant|>assistant<|im_middle|>",
        off="<|im_assistant|>assistant<|im_middle|><think></think>",
        forced="<|im_assistant|>assistant<|im_middle|><think>",
    ),
    turn_starts=("<|im_system|>", "<|im_user|>", "<|im_assistant|>"),
    unverified=(EARLIER_REASONING, SPENT_BUDGET),
    turn_end="<|im_end|>",
    stops=("<|im_end|>", "[EOS]"),
    thinking=ThinkingForm(open="<think>", close="</think>", closing="</think>"),
    tools=ToolsForm(
        form="<|im_system|>tool_declare<|im_middle|>{tools}<|im_end|>",
        place="before_system",
        list_of=True,
        canonical=True,
    ),
    calls=CallForm(
        grammar="kimi",
        # Some turns hold the singular, where the vocabulary has it.
        starts=("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>"),
        ends=("<|tool_calls_section_end|>", "<|tool_call_section_end|>"),
        inner=_INNER,
        alone=_INNER[:2],
        written=WrittenCalls(
            open="<|tool_calls_section_begin|>",
            each="<|tool_call_begin|>{id}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>",
            close="<|tool_calls_section_end|>",
        ),
    ),
    results=ResultForm(
        each="<|im_system|>tool<|im_middle|>## Return of {id}\n{content}<|im_end|>",
        id_form="functions.{name}:{index}",
        id_pattern=r"functions\.{name}:\d+",
    ),
)

_OPENED = ThinkingForm(
    open="<think>",
    close="</think>",
    closing="</think>",
    history="<|im_assistant|>assistant<|im_middle|><think></think>",
)

KIMI_K2_THINKING = KIMI_K2.model_copy(
    update={
        "name": "kimi-k2-thinking",
        "description": "as kimi-k2; turns without reasoning have an empty block",
        "markers": (*KIMI_K2.markers, "<think>", "</think>"),
        "default_turn": (
            "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>"
        ),
        "unverified": (SPENT_BUDGET, "the JSON of tool definitions, which is that of kimi-k2"),
        "assistant": "<|im_assistant|>assistant<|im_middle|><think></think>{content}<|im_end|>",
        "thinking": _OPENED,
    }
)

KIMI_K2_5 = KIMI_K2_THINKING.model_copy(
    update={
        "name": "kimi-k2.5",
        "description": "as kimi-k2-thinking; every answer begins with reasoning, tools are in TypeScript",
        "default_turn": None,
        "tools": ToolsForm(
            form=(
                "<|im_system|>tool_declare<|im_middle|># Tools\n\n## functions\nnamespace functions {\n"
                "{tools}\n}\n<|im_end|>"
            ),
            place="before_system",
            each="kimi",
        ),
        "unverified": (SPENT_BUDGET,),
        "opening": Openings(
            default="<|im_assistant|>assistant<|im_middle|><think>",
            off="<|im_assistant|>assistant<|im_middle|><think></think>",
            forced="<|im_assistant|>assistant<|im_middle|><think>",
        ),
    }
)

_MESSAGE = '<|open|>message role="assistant"<|sep|>'
_TEXT = "<|open|>response<|sep|>{content}<|close|>response<|sep|>"
_END = "<|close|>message<|sep|><|end_of_msg|>"
_EFFORT = (
    '<|open|>message role="system" type="thinking-effort"<|sep|>'
    "`thinking_effort` guides on how much to think in your thinking channel (not including the response "
    "channel), supported values include `low`, `medium`, `high`, and `max`.\n"
    f"Now the system is invoked with `thinking_effort=max`.{_END}"
)
_THINKS = ("default", "on", "forced")

KIMI_K3 = Dialect(
    name="kimi-k3",
    description="messages and channels as tags between control tokens; typed arguments",
    markers=("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
    thinking_turn=dict.fromkeys(_THINKS, _EFFORT),
    system=f'<|open|>message role="system"<|sep|>{{content}}{_END}',
    user=f'<|open|>message role="user"<|sep|>{{content}}{_END}',
    assistant=f"{_MESSAGE}{_TEXT}{_END}",
    answer=_TEXT,
    opening=Openings(
        default=f"{_MESSAGE}<|open|>think<|sep|>",
        off=f"{_MESSAGE}<|open|>response<|sep|>",
        forced=f"{_MESSAGE}<|open|>think<|sep|>",
    ),
    turn_starts=("<|open|>",),
    turn_end="<|end_of_msg|>",
    stops=("<|end_of_msg|>",),
    unverified=(SPENT_BUDGET,),
    # Tags are names between control tokens, which the reader of channels knows.
    thinking=ThinkingForm(
        open="<|open|>",
        close="<|close|>",
        closing="<|close|>think<|sep|><|open|>response<|sep|>",
        kept=True,
        history=_MESSAGE,
        absent=dict.fromkeys(_THINKS, f"{_MESSAGE}<|open|>think<|sep|><|close|>think<|sep|>"),
        told=f"{_MESSAGE}<|open|>think<|sep|>{{reasoning}}<|close|>think<|sep|>",
        calls_end_it=False,
    ),
    tools=ToolsForm(
        form=(
            '<|open|>message role="system" type="tool-declare"<|sep|># Tools\n'
            f"Here are the available tools, described in JSONSchema.\n\n```json\n{{tools}}\n```{_END}"
        ),
        place="before_system",
        list_of=True,
        canonical=True,
    ),
    calls=CallForm(
        grammar="channels",
        inner=("<|open|>", "<|close|>", "<|sep|>"),
        written=WrittenCalls(
            open="<|open|>tools<|sep|>",
            each=(
                '<|open|>call tool="{name_attribute}" index="{number}"<|sep|>{arguments}<|close|>call<|sep|>'
            ),
            close="<|close|>tools<|sep|>",
            argument=(
                '<|open|>argument key="{key_attribute}" type="{type}"<|sep|>{value}<|close|>argument<|sep|>'
            ),
            bare_strings=True,
            text=_TEXT,
            text_always=True,
        ),
    ),
    results=ResultForm(
        each=('<|open|>message role="tool" tool="{name_attribute}" index="{number}"<|sep|>{content}' + _END),
    ),
    reader="channels",
)

DIALECTS = (KIMI_K2, KIMI_K2_THINKING, KIMI_K2_5, KIMI_K3)
