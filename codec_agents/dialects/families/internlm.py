"""InternLM 2.5 and 3: ChatML; a call is JSON between control tokens of actions."""

from __future__ import annotations

from codec_agents.dialects.base import (
    CallForm,
    Openings,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.families.hermes import HERMES

INTERNLM = HERMES.model_copy(
    update={
        "name": "internlm",
        "description": "ChatML; one call: JSON in <|action_start|>",
        "markers": ("<s>", "<|im_start|>", "<|im_end|>", "<|action_start|>", "<|action_end|>", "<|plugin|>"),
        "optional_markers": ("<|interpreter|>",),
        "begin": "<s>",
        "wrappers": ("<|plugin|>",),
        "thinking": None,
        "opening": Openings(default="<|im_start|>assistant\n"),
        "unverified": ("calls (as its documents show them; the available template writes other names)",),
        "tools": ToolsForm(
            form="<|im_start|>system name=<|plugin|>\n{tools}<|im_end|>\n",
            place="after_system",
            list_of=True,
            each="function",
        ),
        "calls": CallForm(
            grammar="json",
            starts=("<|action_start|>",),
            ends=("<|action_end|>",),
            written=WrittenCalls(
                open="<|action_start|><|plugin|>\n",
                each='{"name": {name_json}, "parameters": {arguments}}',
                close="<|action_end|>",
                most=1,
            ),
        ),
        "results": ResultForm(each="<|im_start|>environment name=<|plugin|>\n{content}<|im_end|>\n"),
    }
)

DIALECTS = (INTERNLM,)
