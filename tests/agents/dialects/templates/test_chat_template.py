"""A model's own chat template: which family it shows, and where the dialect parts from it."""

from __future__ import annotations

import pytest

pytest.importorskip("jinja2", reason="the extra `templates` is not installed")

from codec_agents.dialects import BoundDialect, get_dialect
from codec_agents.dialects.templates.chat_template import check_template, derive_from_config
from codec_agents.exceptions import DialectError
from tests.agents.dialects.families import Bench, small_map_of

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def bound(name: str = "hermes"):
    return BoundDialect(get_dialect(name), Bench(name, small_map_of(name)).map)


def test_template_that_agrees() -> None:
    assert check_template(bound(), {"chat_template": CHATML}) == []


def test_template_that_disagrees_says_where() -> None:
    disagreements = check_template(bound(), {"chat_template": CHATML.replace("assistant", "model")})
    assert [each.conversation for each in disagreements] == ["user", "system and user", "several turns"]
    assert disagreements[0].dialect.endswith("<|im_start|>assistant\n")
    assert "model" in disagreements[0].template
    assert "at character" in str(disagreements[0])


def test_template_that_refuses_is_a_disagreement() -> None:
    (first, *_) = check_template(bound(), {"chat_template": "{{ raise_exception('no system turns') }}"})
    assert "no system turns" in first.template


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (CHATML, "hermes"),
        (CHATML + "<tool_call> enable_thinking", "qwen3"),
        (CHATML + "'<|im_start|>tool\\n' <tool_response>", "hermes-3"),
        (CHATML + "<tool_call><function=", "qwen3-coder"),
        ("<tool_call>{function-name}\n<arg_key><|assistant|>\n", "glm-4.5"),
        ("<tool_call>{function-name}<arg_key><|assistant|>\n", "glm-4.7"),
        ("{% if enable_thinking %}Reasoning Effort: Max{% endif %}<arg_key><|assistant|>", "glm-5.2"),
        ("[gMASK]<sop><|system|>Reasoning Effort: {{ effort }}<arg_key><|assistant|>", "glm-5.3"),
        ("<|im_start|>tool\n<tool_response><function= engineered by Xiaomi", "mimo-v2.6"),
        ("<|open|><|sep|><|end_of_msg|>", "kimi-k3"),
        ("<|tool_calls_section_begin|>'<think></think>' + content", "kimi-k2-thinking"),
        ("<|START_ACTION|><|START_TEXT|>", "cohere-moe"),
        (CHATML + "'<global_setting>\\nthink_mode=True'", "ernie-4.5"),
        ("<start_of_turn>developer<start_function_call>call:", "function-gemma"),
        ("<|im_start|><function= truncate_history_thinking <think></think>", "nemotron-3-ultra"),
        ("<|im_start|><function= truncate_history_thinking <think></think> '\\n</think>\\n'", "nemotron-3"),
        ("<|start_header_id|> [func_name1(params_name1=params_value1)]", "llama3-pythonic"),
        ("<|header_start|><|eot|> [func_name1(params_name1=params_value1)]", "llama4-pythonic"),
        ("]<]minimax[>[<tool_call>", "minimax-m3"),
        (CHATML + "'<|im_start|>tool_response' <function=", "step-3.5"),
        (CHATML + '"List of tools: ["', "lfm2.5"),
        ("<｜User｜><｜DSML｜tool_calls><tool_result>", "deepseek-v4"),
        ("{{ '<|' + role + '|>' + content + '<|tool|>' + tools + '<|/tool|>' }}", "phi4-mini"),
        ("<|start_header_id|>", "llama3"),
        ("You are developed by Salesforce xLAM team.<|start_header_id|>", "xlam-llama"),
        (CHATML + "You are developed by Salesforce xLAM team.", "xlam-qwen"),
        ("[TOOL_CALLS][ARGS]", "mistral-v13"),
    ],
)
def test_family_is_known_by_its_template(template: str, name: str) -> None:
    config = {
        "chat_template": [{"name": "default", "template": "x"}, {"name": "tool_use", "template": template}]
    }
    dialect, why = derive_from_config(config)
    assert dialect.name == name
    assert "the chat template holds" in why


def test_no_template_is_no_family() -> None:
    with pytest.raises(DialectError, match="chat template"):
        derive_from_config({})
