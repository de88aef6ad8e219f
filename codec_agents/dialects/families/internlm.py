"""InternLM 2.5 and 3: ChatML; a call is JSON between control tokens of actions."""

from __future__ import annotations

from codec_agents.dialects.base import (
    NO_REFERENCE,
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
        "markers": ("<|im_start|>", "<|im_end|>", "<|action_start|>", "<|action_end|>", "<|plugin|>"),
        "optional_markers": ("<|interpreter|>", "<s>"),
        "wrappers": ("<|plugin|>",),
        "thinking": None,
        "opening": Openings(default="<|im_start|>assistant\n"),
        "unverified": (NO_REFERENCE,),
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
                each=(
                    '<|action_start|><|plugin|>\n{"name": {name_json}, "parameters": {arguments}}'
                    "<|action_end|>\n"
                ),
                most=1,
            ),
        ),
        "results": ResultForm(each="<|im_start|>environment name=<|plugin|>\n{content}<|im_end|>\n"),
    }
)

DIALECTS = (INTERNLM,)
