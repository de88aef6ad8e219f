"""Maps encode as the real engines do: 2,600 texts, as content and as templates write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import anyio
import httpx
import pytest

from codec_agents.engines.stock.probes import spells_control
from codec_core.tokenizer import pick_tokenizer
from tests.natural import OTHER_SCRIPTS, prose
from tests.real_engines.conftest import Place, place
from tests.texts import random_text

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

MANY = 2600
AT_ONCE = 8


def texts(control: Sequence[str]) -> list[str]:
    """Return random texts, stretches of prose and of other scripts, and texts with control tokens."""
    random, natural = Random(7), prose() + "".join(OTHER_SCRIPTS)
    found = [random_text(random) for _ in range(MANY // 2)]
    while len(found) < MANY:
        start = random.randrange(len(natural))
        text = natural[start : start + random.randrange(1, 300)]
        middle = random.randrange(len(text))
        name = random.choice(control) if len(found) % 4 == 0 else ""
        found.append(text[:middle] + name + text[middle:])
    # White space of all kinds before digits, letters and ends: where pre-tokenizers differ.
    spaces = [" ", "  ", "\t", "\n", "\n\n", "\r\n", " \n ", "   "]
    return found + [f"a{space}{what}" for space in spaces for what in ("1", "b", ":", "é", "日", "")]


async def differing(
    url: str, sent: Sequence[str], encode: Callable[[str], list[int]], field: str, **options: Any
) -> list[str]:
    """Return the texts that a server encodes otherwise."""
    found: list[str] = []
    waiting = iter(sent)

    async def asking(client: httpx.AsyncClient) -> None:
        for text in waiting:
            answer = await client.post("/tokenize", json={field: text, **options})
            if answer.json()["tokens"] != encode(text):
                found.append(text)

    async with httpx.AsyncClient(base_url=url, timeout=120) as client, anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(asking, client)
    return found


async def check(served: Place) -> None:
    tokenizer = pick_tokenizer(served.vocabulary)
    sent = texts(list(served.vocabulary.special_tokens))
    if served.kind == "vllm":  # always reads control tokens
        content = [text for text in sent if not spells_control(text, served.vocabulary)]
        field, of_content, of_templates = "prompt", {}, {}
        common: dict[str, Any] = {"add_special_tokens": False, "model": "smol"}
    else:
        content, field, common = sent, "content", {"add_special": False}
        of_content, of_templates = {"parse_special": False}, {"parse_special": True}
    modes = ((content, tokenizer.encode_ordinary, of_content), (sent, tokenizer.encode, of_templates))
    for some, encode, options in modes:
        assert await differing(served.url, some, encode, field, **common, **options) == []


@pytest.mark.engines
async def test_texts_are_encoded_as_the_engine_does(smol: Place) -> None:
    await check(smol)


@pytest.mark.engines
async def test_texts_of_another_kind_of_vocabulary(gemma: Place) -> None:
    """Gemma's, from its GGUF: scores instead of merges, tokens for white space and markup."""
    await check(gemma)


@pytest.mark.sglang
async def test_texts_are_encoded_as_sglang_does() -> None:
    await check(place("sglang"))
