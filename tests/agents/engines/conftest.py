"""Prompts, requests and servers for the tests of engines."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of


def load_beside(name: str) -> ModuleType:
    """Import a module that lies beside the tests."""
    qualified = f"engine_tests_{name}"
    if qualified not in sys.modules:
        spec = importlib.util.spec_from_file_location(qualified, Path(__file__).parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[qualified] = module
        spec.loader.exec_module(module)
    return sys.modules[qualified]


@pytest.fixture(params=BUNDLED_MAPS)
def vocabulary(request) -> Vocabulary:
    """Each of the bundled vocabularies."""
    return vocabulary_of(bundled_map(request.param))


@pytest.fixture
def words() -> Vocabulary:
    return vocabulary_of(bundled_map("demo/words"))


@pytest.fixture
def byte_level() -> Vocabulary:
    return vocabulary_of(bundled_map("demo/bytes"))


def chat_ids(vocabulary: Vocabulary, *turns: tuple[str, str], ends_with: str = "") -> list[int]:
    """Return a ChatML prompt that asks for the assistant's turn."""
    encode = pick_tokenizer(vocabulary).encode
    text = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)
    return encode(f"{text}<|im_start|>assistant\n{ends_with}")


@pytest.fixture
def chat() -> Callable[..., list[int]]:
    """Give the function that writes ChatML prompts."""
    return chat_ids


@pytest.fixture
def ask() -> Callable[..., GenerationRequest]:
    """Give a function that makes a request for one user turn."""

    def make(
        vocabulary: Vocabulary,
        user: str = "hello",
        *,
        timeouts=None,
        headers=None,
        model=None,
        node="",
        **options,
    ):
        extra = {} if timeouts is None else {"timeouts": timeouts}
        return GenerationRequest(
            prompt_ids=chat_ids(vocabulary, ("user", user)),
            vocabulary=vocabulary,
            model=model,
            headers=headers or {},
            node=node,
            options=SamplingOptions(**options),
            **extra,
        )

    return make


@pytest.fixture
def stock() -> ModuleType:
    """Give the servers that behave as the documented engines do."""
    return load_beside("stock_servers")
