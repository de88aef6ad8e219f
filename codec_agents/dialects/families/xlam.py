"""xLAM 2, in the turns of the models that it was made from; the whole turn is a JSON list of calls."""

from __future__ import annotations

from codec_agents.dialects.base import CallForm, ResultForm, ToolsForm, WrittenCalls
from codec_agents.dialects.families.hermes import HERMES
from codec_agents.dialects.families.llama import LLAMA3

_IDENTITY = "You are a helpful assistant. You are developed by Salesforce xLAM team.\n"

_INSTRUCTION = """\
You have access to a set of tools. When using tools, make calls in a single JSON array:\x20

[{"name": "tool_call_name", "arguments": {"arg1": "value1", "arg2": "value2"}}, ... (additional parallel \
tool calls as needed)]

If no tool is suitable, state that explicitly. If the user's input lacks required parameters, ask for \
clarification. Do not interpret or respond until tool results are returned. Once they are available, process \
them or make additional calls if needed. For tasks that don't require tools, such as casual conversation or \
general advice, respond directly in plain text. The available tools are:

"""

_FORMS = {
    "unverified": (),
    "system_text": "{content}\n",
    "default_system": _IDENTITY,
    "tools_system": _IDENTITY + _INSTRUCTION,
    "tools": ToolsForm(form="{tools}\n\n", join="\n\n", indent=4),
}


def _calls(start: str, *ends: str) -> CallForm:
    return CallForm(
        grammar="json",
        starts=(start,),
        ends=ends,
        text_starts=("[",),
        speculative=True,  # nothing marks the calls: any other list is an answer
        written=WrittenCalls(
            open="[",
            each='{"name": {name_json}, "arguments": {arguments}}',
            join=", ",
            close="]",
            text=None,
        ),
    )


XLAM_LLAMA = LLAMA3.model_copy(
    update={
        **_FORMS,
        "name": "xlam-llama",
        "calls": _calls("<|python_tag|>"),
        "description": "turns with headers; calls: a JSON list as the whole turn (xLAM 2 on Llama 3.1)",
        "results": ResultForm(each="<|start_header_id|>ipython<|end_header_id|>\n\n{content}<|eot_id|>"),
    }
)

XLAM_QWEN = HERMES.model_copy(
    update={
        **_FORMS,
        "name": "xlam-qwen",
        "calls": _calls("<tool_call>", "</tool_call>"),
        "description": "ChatML; calls: a JSON list as the whole turn (xLAM 2 on Qwen 2.5)",
        "optional_markers": ("<tool_call>", "</tool_call>", "<|endoftext|>"),
        "thinking": None,
        "opening": HERMES.opening.model_copy(update={"off": None, "forced": None}),
        "results": ResultForm(each="<|im_start|>tool\n{content}<|im_end|>\n"),
    }
)

DIALECTS = (XLAM_LLAMA, XLAM_QWEN)
