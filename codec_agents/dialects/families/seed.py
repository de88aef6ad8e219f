"""Seed-OSS: role turns; calls as tagged parameters; tools as Python functions."""

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

_TOOLS = """\
Function:
{tools}
工具调用请遵循如下格式:
<seed:tool_call>
<function=example_function_name>
<parameter=example_parameter_1>value_1</parameter>
<parameter=example_parameter_2>This is the value for the second parameter
that can span
multiple lines</parameter>
</function>
</seed:tool_call>
"""

SEED_OSS = Dialect(
    name="seed-oss",
    description="role tokens; calls: <function> and <parameter> tags; the model opens its reasoning itself",
    markers=(
        "<seed:bos>",
        "<seed:eos>",
        "<seed:think>",
        "</seed:think>",
        "<seed:tool_call>",
        "</seed:tool_call>",
    ),
    system="<seed:bos>system\n{content}<seed:eos>",
    user="<seed:bos>user\n{content}<seed:eos>",
    assistant="<seed:bos>assistant\n{content}<seed:eos>",
    tools_system=(
        "You are Doubao, a helpful AI assistant. You may call one or more functions to assist with the user "
        "query."
    ),
    opening=Openings(default="<seed:bos>assistant\n", forced="<seed:bos>assistant\n<seed:think>"),
    turn_starts=("<seed:bos>",),
    turn_end="<seed:eos>",
    stops=("<seed:eos>",),
    unverified=(SPENT_BUDGET, "the turn that states a reasoning budget, which is omitted"),
    thinking=ThinkingForm(
        open="<seed:think>",
        close="</seed:think>",
        closing="</seed:think>\n",
        kept=True,
        told="<seed:bos>assistant\n<seed:think>{reasoning}</seed:think>\n",
    ),
    tools=ToolsForm(form=_TOOLS, between="\n\n", each="python", join="\n\nFunction:\n"),
    calls=CallForm(
        grammar="verbatim",
        starts=("<seed:tool_call>",),
        ends=("</seed:tool_call>",),
        written=WrittenCalls(
            each="<seed:tool_call>\n<function={name}>\n{arguments}</function>\n</seed:tool_call>",
            argument="<parameter={key}>{value}</parameter>\n",
            bare_strings=True,
            literals="python",
            join="\n",
            behind_text="\n\n",
        ),
    ),
    results=ResultForm(each="<seed:bos>tool\n{content}<seed:eos>"),
)

DIALECTS = (SEED_OSS,)
