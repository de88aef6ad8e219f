"""Conversations with calls, results and reasoning, beside a chat template in a family's form."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the extra `templates` is not installed")

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.dialects.templates.chat_template import check_template
from tests.agents.dialects.families import TOOLS, small_map_of

KIMI = """\
{%- if tools %}{{- '<|im_system|>tool_declare<|im_middle|>' }}
{{- tools | tojson(separators=(',', ':'), sort_keys=true) + '<|im_end|>' }}{% endif %}
{%- if messages[0].role != 'system' %}
{{- '<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_system|>tool<|im_middle|>## Return of ' + message.tool_call_id + '\\n' }}
{{- message.content + '<|im_end|>' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_assistant|>assistant<|im_middle|>' }}
{%- if message.reasoning_content and 'user' not in messages[loop.index:] | map(attribute='role') %}
{{- '<think>' + message.reasoning_content + '</think>' }}
{%- endif %}
{{- message.content }}
{%- if message.tool_calls %}{{- '<|tool_calls_section_begin|>' }}
{%- for call in message.tool_calls %}
{{- '<|tool_call_begin|>' + call.id + '<|tool_call_argument_begin|>' }}
{{- call.function.arguments | tojson }}{{- '<|tool_call_end|>' }}
{%- endfor %}
{{- '<|tool_calls_section_end|>' }}{% endif %}
{{- '<|im_end|>' }}
{%- else %}
{{- '<|im_' + message.role + '|>' + message.role + '<|im_middle|>' + message.content + '<|im_end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_assistant|>assistant<|im_middle|>' }}{% endif %}"""

CALLED = {
    "calls and their results",
    "text before calls",
    "reasoning before calls",
    "reasoning of an earlier exchange",
}


def disagreements(template: str) -> list[Any]:
    bound = BoundDialect(get_dialect("kimi-k2"), small_map_of("kimi-k2"), TOOLS)
    return check_template(bound, {"chat_template": template})


def test_template_in_the_familys_form_agrees() -> None:
    assert [str(each) for each in disagreements(KIMI)] == []


@pytest.mark.parametrize(
    ("written", "otherwise", "parting"),
    [
        ("## Return of ", "## Result of ", CALLED),
        ("{{- '<|tool_calls_section_end|>' }}", "", CALLED),
        ("+ call.id +", "+ call.function.name +", CALLED),
        ("+ '</think>'", "+ '\\n</think>'", {"reasoning before calls"}),
        (" and 'user' not in", " and 'none' not in", {"reasoning of an earlier exchange"}),
        ("{{- message.content }}\n{%- if", "{%- if", {"text before calls", "several turns"}),
    ],
)
def test_what_a_template_writes_otherwise_is_told_with_its_place(
    written: str, otherwise: str, parting: set[str]
) -> None:
    assert KIMI.count(written) == 1
    found = {each.conversation: each for each in disagreements(KIMI.replace(written, otherwise))}
    assert parting <= found.keys()
    assert all(found[each].dialect != found[each].template for each in parting)
