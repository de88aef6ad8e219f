"""OLMo 3: ChatML with Python-like calls, one a line, in tags of ordinary text."""

from __future__ import annotations

from codec_agents.dialects.base import (
    NO_REFERENCE,
    SPENT_BUDGET,
    CallForm,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.families.hermes import HERMES

OLMO_3 = HERMES.model_copy(
    update={
        "name": "olmo-3",
        "description": "ChatML; Python-like calls in <function_calls>; results in a turn `environment`",
        "optional_markers": ("<think>", "</think>", "<|endoftext|>"),
        "unverified": (SPENT_BUDGET, NO_REFERENCE),
        "tools": ToolsForm(form="<functions>{tools}</functions>", between=" ", list_of=True, each="function"),
        "calls": CallForm(
            grammar="python-lines",
            text_starts=("<function_calls>",),
            text_end="</function_calls>",
            text_anywhere=True,
            keep_text_start=False,
            written=WrittenCalls(
                open="<function_calls>",
                each="{name}({arguments})",
                join="\n",
                close="</function_calls>",
                literals="json",
                argument="{key}={value}",
                argument_join=", ",
            ),
        ),
        "results": ResultForm(each="<|im_start|>environment\n{content}<|im_end|>\n"),
    }
)

DIALECTS = (OLMO_3,)
