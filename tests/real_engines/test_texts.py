"""Maps encode as the real engines do: 2,600 texts, as content and as templates write them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

import httpx
import pytest

from codec_agents.engines.stock.probes import spells_control
from codec_core.tokenizer import pick_tokenizer
from tests.natural import OTHER_SCRIPTS, prose
from tests.real_engines.conftest import Place, place
from tests.texts import random_text

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

MANY = 2600
EACH = 40
"""Of that many texts, one is also asked for by itself, with the call that a client's comparison makes."""
AT_ONCE = 200
SEPARATOR = -1
"""No id. llama.cpp passes on numbers between texts."""

Encode = Callable[[str], list[int]]
Ask = Callable[[httpx.AsyncClient, Sequence[str], bool], Awaitable[list[list[int]]]]


def texts(control: Sequence[str]) -> list[str]:
    """Return random texts, stretches of prose and of other scripts, and texts with control tokens."""
    random, natural = Random(7), prose() + "".join(OTHER_SCRIPTS)
    found = [random_text(random) or " " for _ in range(MANY // 2)]  # no request is made of no ids
    while len(found) < MANY:
        start = random.randrange(len(natural))
        text = natural[start : start + random.randrange(1, 300)]
        middle = random.randrange(len(text))
        name = random.choice(control) if len(found) % 4 == 0 else ""
        found.append(text[:middle] + name + text[middle:])
    # White space of all kinds before digits, letters and ends: where pre-tokenizers differ.
    spaces = [" ", "  ", "\t", "\n", "\n\n", "\r\n", " \n ", "   "]
    return found + [f"a{space}{what}" for space in spaces for what in ("1", "b", ":", "é", "日", "")]


async def ask_each(client: httpx.AsyncClient, sent: Sequence[str], control: bool) -> list[list[int]]:
    """Return the ids of texts by vLLM's and SGLang's `/tokenize`, which always reads control tokens."""
    common = {"add_special_tokens": False, "model": "smol"}
    answers = [await client.post("/tokenize", json={"prompt": text, **common}) for text in sent]
    return [answer.json()["tokens"] for answer in answers]


async def ask_vllm(client: httpx.AsyncClient, sent: Sequence[str], control: bool) -> list[list[int]]:
    """Return the same by the call that shows what a completion would read, which takes many."""
    asked = {"prompt": sent, "add_special_tokens": False, "model": "smol", "max_tokens": 1}
    answer = await client.post("/v1/completions/render", json=asked)
    assert answer.status_code == 200, answer.text
    return [request["token_ids"] for request in answer.json()]


async def ask_llamacpp(client: httpx.AsyncClient, sent: Sequence[str], control: bool) -> list[list[int]]:
    """Return the ids of texts by llama.cpp's `/tokenize`, which takes many."""
    content = [part for text in sent for part in (text, SEPARATOR)]
    asked = {"content": content, "add_special": False, "parse_special": control}
    found: list[list[int]] = [[]]
    for token in (await client.post("/tokenize", json=asked)).json()["tokens"]:
        if token == SEPARATOR:
            found.append([])
        else:
            found[-1].append(token)
    return found[:-1]


MANY_AT_ONCE: Mapping[str, Ask] = {"vllm": ask_vllm, "llamacpp": ask_llamacpp}


async def differing(url: str, ask: Ask, sent: Sequence[str], encode: Encode, *, control: bool) -> list[str]:
    """Return the texts that a server encodes otherwise."""
    found: list[str] = []
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        for begin in range(0, len(sent), AT_ONCE):
            some = sent[begin : begin + AT_ONCE]
            answers = await ask(client, some, control)
            found += [text for text, ids in zip(some, answers, strict=True) if ids != encode(text)]
    return found


async def check(served: Place) -> None:
    tokenizer = pick_tokenizer(served.vocabulary)
    sent = texts(list(served.vocabulary.special_tokens))
    if served.kind == "llamacpp":
        content, ask_one = sent, ask_llamacpp
    else:  # always reads control tokens
        content, ask_one = [text for text in sent if not spells_control(text, served.vocabulary)], ask_each
    for some, encode, control in (
        (content, tokenizer.encode_ordinary, False),
        (sent, tokenizer.encode, True),
    ):
        many = MANY_AT_ONCE.get(served.kind, ask_each)
        assert await differing(served.url, many, some, encode, control=control) == []
        assert await differing(served.url, ask_one, some[::EACH], encode, control=control) == []


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
