"""Llama 3.1, 3.2 and 3.3: calls are JSON, or Python-like, and fill the turn; nothing marks them.

The models' own templates also write the date into the system turn; here it is written only where declared.
"""

from __future__ import annotations

from codec_agents.dialects.base import (
    CallForm,
    Dialect,
    Openings,
    ResultForm,
    ToolsForm,
    WrittenCalls,
)

_TOOLS = """\
Given the following functions, please respond with a JSON for a function call with its proper arguments that \
best answers the given prompt.

Respond in the format {"name": function name, "parameters": dictionary of argument name and its \
value}.\
Do not use variables.

{tools}

"""

_PYTHONIC_TOOLS = """\
You are given a question and a set of possible functions. If they can answer it, respond with nothing but \
the calls, in the format [func_name1(params_name1=params_value1, params_name2=params_value2...), \
func_name2(params)].

Here is a list of functions in JSON format that you can invoke.
{tools}
"""

_WORDS = "the text around tool definitions, which is shorter than in an engine's template"

LLAMA3 = Dialect(
    name="llama3",
    description="turns with headers; one call: JSON as the whole turn, or after <|python_tag|>",
    markers=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    optional_markers=("<|python_tag|>", "<|eom_id|>", "<|end_of_text|>"),
    begin="<|begin_of_text|>",
    system="<|start_header_id|>system<|end_header_id|>\n\n{content}<|eot_id|>",
    user="<|start_header_id|>user<|end_header_id|>\n\n{content}<|eot_id|>",
    assistant="<|start_header_id|>assistant<|end_header_id|>\n\n{content}<|eot_id|>",
    opening=Openings(default="<|start_header_id|>assistant<|end_header_id|>\n\n"),
    turn_starts=("<|start_header_id|>",),
    unverified=("the date line of the system turn, which is omitted",),
    turn_end="<|eot_id|>",
    also_ends=("<|eom_id|>",),
    stops=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    tools=ToolsForm(form=_TOOLS, place="first_user", join="\n\n", indent=4),
    calls=CallForm(
        grammar="llama",
        starts=("<|python_tag|>",),
        text_starts=("{",),
        speculative=True,
        # The models' own template refuses a turn with more than one, and writes no text beside it.
        written=WrittenCalls(each='{"name": {name_json}, "parameters": {arguments}}', text=None, most=1),
    ),
    results=ResultForm(
        each="<|start_header_id|>ipython<|end_header_id|>\n\n{content}<|eot_id|>", content="json_string"
    ),
)

_PYTHONIC = WrittenCalls(
    open="[",
    each="{name}({arguments})",
    join=", ",
    close="]",
    literals="python",
    argument="{key}={value}",
    argument_join=", ",
    text=None,
)

LLAMA3_PYTHONIC = LLAMA3.model_copy(
    update={
        "name": "llama3-pythonic",
        "description": "as llama3; calls: a Python list, [name(key=value)]",
        "unverified": (*LLAMA3.unverified, _WORDS),
        "tools": ToolsForm(form=_PYTHONIC_TOOLS, place="system", between="\n\n", list_of=True, indent=4),
        "calls": CallForm(
            grammar="llama",
            starts=("<|python_tag|>",),
            text_starts=("[", "{"),
            speculative=True,
            written=_PYTHONIC,
        ),
        "results": ResultForm(
            each='<|start_header_id|>ipython<|end_header_id|>\n\n{"output": {content}}<|eot_id|>',
            content="json_string",
        ),
    }
)

_TOOLS_4 = """\
Given the following functions, please respond with a JSON for a function call with its proper arguments that \
best answers the given prompt.

Respond in the format {"name": function name, "parameters": dictionary of argument name and its \
value}.Do not use variables.

{tools}

"""

LLAMA_4_PYTHONIC = LLAMA3_PYTHONIC.model_copy(
    update={
        "name": "llama4-pythonic",
        "description": "as llama4; calls: a Python list, [name(key=value)]",
        "markers": ("<|begin_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>"),
        "optional_markers": ("<|python_start|>", "<|python_end|>", "<|eom|>", "<|end_of_text|>"),
        "system": "<|header_start|>system<|header_end|>\n\n{content}<|eot|>",
        "user": "<|header_start|>user<|header_end|>\n\n{content}<|eot|>",
        "assistant": "<|header_start|>assistant<|header_end|>\n\n{content}<|eot|>",
        "opening": Openings(default="<|header_start|>assistant<|header_end|>\n\n"),
        "turn_starts": ("<|header_start|>",),
        "unverified": (_WORDS,),
        "turn_end": "<|eot|>",
        "also_ends": ("<|eom|>",),
        "stops": ("<|eot|>", "<|eom|>", "<|end_of_text|>"),
        "calls": CallForm(
            grammar="llama",
            starts=("<|python_start|>",),
            ends=("<|python_end|>",),
            text_starts=("[", "{"),
            speculative=True,
            written=_PYTHONIC,
        ),
        "results": ResultForm(
            each="<|header_start|>ipython<|header_end|>\n\n{content}<|eot|>", content="json_string"
        ),
    }
)

LLAMA_4 = LLAMA_4_PYTHONIC.model_copy(
    update={
        "name": "llama4",
        "description": "turns with headers; calls: JSON as the whole turn, or between control tokens",
        "unverified": ("text before calls (its template writes it between the control tokens of the call)",),
        "tools": ToolsForm(form=_TOOLS_4, place="first_user", join="\n\n", indent=4),
        "calls": CallForm(
            grammar="llama",
            starts=("<|python_start|>",),
            ends=("<|python_end|>",),
            text_starts=("{", "["),
            speculative=True,
            written=WrittenCalls(each='{"name": {name_json}, "parameters": {arguments}}', text=None),
        ),
    }
)

DIALECTS = (LLAMA3, LLAMA3_PYTHONIC, LLAMA_4, LLAMA_4_PYTHONIC)
