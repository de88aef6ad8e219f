"""OLMo 3: ChatML with Python-like calls, one a line, in tags of ordinary text."""

from __future__ import annotations

from codec_agents.dialects.base import (
    SPENT_BUDGET,
    CallForm,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.families.hermes import HERMES

_IDENTITY = (
    "You are Olmo, a helpful AI assistant built by Ai2. Your date cutoff is December 2024, and your model "
    "weights are available at https://huggingface.co/allenai. "
)
_NO_TOOLS = "You do not currently have access to any functions. <functions></functions>"
_INSTRUCTION = (
    "You are provided with function signatures within <functions></functions> XML tags. You may call one or "
    "more functions to assist with the user query. Output any function calls within "
    "<function_calls></function_calls> XML tags. Do not make assumptions about what values to plug into "
    "functions."
)

OLMO_3 = HERMES.model_copy(
    update={
        "name": "olmo-3",
        "description": "ChatML; calls: Python calls in <function_calls>; results in an `environment` turn",
        "optional_markers": ("<think>", "</think>", "<|endoftext|>"),
        "unverified": (SPENT_BUDGET,),
        "default_system": _IDENTITY + _NO_TOOLS,
        "tools_system": _IDENTITY + _INSTRUCTION,
        "tools": ToolsForm(form="<functions>{tools}</functions>", list_of=True),
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
