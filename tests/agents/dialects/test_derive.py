"""Which dialect a map names: by its special tokens, or by its `tool_calling`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from codec_agents.dialects import derive_dialect, get_dialect
from codec_agents.dialects.derive import CONVENTIONS, SIGNATURES
from codec_agents.dialects.registry import built_in
from codec_agents.exceptions import DialectError
from codec_core.maps import TokenizerMap
from tests.agents.dialects.families import small_map

SAME_TOKENS = {
    "hermes-3": "hermes",
    "qwen2.5": "hermes",
    "qwq": "qwen3",
    "qwen3-coder": "hermes",
    "qwen3.5": "qwen3",
    "llama3-pythonic": "llama3",
    "llama4-pythonic": "llama4",
    "xlam-llama": "llama3",
    "xlam-qwen": "hermes",
    "deepseek-r1": "deepseek-v3",
    "deepseek-v3.1": "deepseek-v3",
    "glm-4.7": "glm-4.5",
    "kimi-k2.5": "kimi-k2",
    "kimi-k2-thinking": "kimi-k2",
    "command-r7b": "command-a",
    "gemma-4-e": "gemma-4",
    "ernie-4.5": "hermes",
    "mimo-v2.6": "qwen3",
    "olmo-3": "hermes",
    "smollm3": "hermes",
    "step-3.5": "qwen3",
    "step-5": "qwen3",
    "glm-5": "glm-4.5",
    "glm-5.1": "glm-4.5",
    "glm-5.2": "glm-4.5",
    "glm-5.3": "glm-4.5",
    "laguna-m.1": "laguna-xs-2.1",
    "laguna-s-2.1": "laguna-xs-2.1",
    "laguna-xs.2": "laguna-xs-2.1",
    "minimax-m2.5": "minimax-m2",
    "nemotron-3": "qwen3",
    "nemotron-3-ultra": "qwen3",
    "qwen3.6": "qwen3",
    "qwen3.8": "qwen3",
}
"""Dialects whose models have the special tokens of another one, which is what is derived."""

NOT_DERIVED = {"plain", "deepseek-v3.2"}
"""The one is no family, the other one's own tokens are not told apart from those of every chat model."""


@pytest.mark.parametrize("name", sorted(built_in().keys() - NOT_DERIVED))
def test_family_is_known_by_its_tokens(name: str) -> None:
    telling = {
        "phi4-mini": ["<|tool_call|>"],
        "granite-4": ["<tool_response>"],
        "lfm2": ["<|tool_list_start|>"],
    }
    dialect, why = derive_dialect(small_map([*get_dialect(name).markers, *telling.get(name, [])]))
    assert dialect.name == SAME_TOKENS.get(name, name)
    tokens = next(tokens for tokens, found in SIGNATURES if found == dialect.name)
    assert why == f"the map's special tokens {', '.join(tokens)}"


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_convention_decides_where_no_tokens_do(convention: str) -> None:
    calling: Any = {"convention": convention}
    dialect, why = derive_dialect(msgspec.structs.replace(small_map(["<|x|>"]), tool_calling=calling))
    assert dialect.name == CONVENTIONS[convention]
    assert why == f"the map's tool_calling.convention {convention!r}"


def test_map_of_no_family_names_what_would_do() -> None:
    with pytest.raises(DialectError, match="name the dialect, or give the prompt as pieces"):
        derive_dialect(small_map(["<|x|>"]))


@pytest.mark.parametrize(
    ("map_id", "name"),
    [
        ("qwen/qwen2", "hermes"),
        ("qwen/qwen3", "qwen3"),
        ("meta-llama/llama-3", "llama3"),
        ("mistralai/mistral-v3", "mistral-v3"),
        ("microsoft/phi-4", "phi4"),
    ],
)
def test_real_maps(map_id: str, name: str, shared_map: Callable[[str], TokenizerMap]) -> None:
    assert derive_dialect(shared_map(map_id))[0].name == name
