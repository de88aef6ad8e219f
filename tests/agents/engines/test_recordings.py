"""What real servers answered, as `python -m tests.real_engines record` keeps it: read, and imitated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from codec_agents.engines.base import WHOLE, GenerationRequest, SamplingOptions
from codec_agents.engines.llamacpp import LlamaCppEngine
from codec_agents.engines.sglang import SglangEngine
from codec_agents.engines.vllm import VllmEngine
from codec_agents.exceptions import EngineError
from codec_agents.vocabularies import bundled_map
from codec_core.maps import parse_map
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.agents.engines.imitations import routes
from tests.agents.engines.stock_servers import StockServer

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[2] / "vectors" / "engines"
RECORDED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}

ENGINES = {
    "vllm completions": lambda url: VllmEngine(url, api="completions", handshake="off"),
    "vllm generate": lambda url: VllmEngine(url, api="generate", handshake="off"),
    "sglang completions": lambda url: SglangEngine(url, api="completions", handshake="off"),
    "sglang generate": lambda url: SglangEngine(url, api="generate", handshake="off"),
    "llamacpp": lambda url: LlamaCppEngine(url, handshake="off", lost_ids="error"),
}
PROMPTS = ("prompt", "token_ids", "input_ids")
END = 2
"""The id that ends a turn of the recorded model."""


@cache
def recorded_vocabulary() -> Vocabulary:
    """Return a vocabulary in which every recorded id is valid; the real one is not in the repository."""
    document = {
        "id": "test/recorded",
        "version": "1",
        "vocab_size": 49152,
        "encoder": "byte_level",
        "vocab": {f"t{number}": number for number in range(3, 49152)},
        "special_tokens": {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": END},
    }
    return vocabulary_of(parse_map(json.dumps(document).encode()))


def exchanges() -> Iterator[Any]:
    for recorded in RECORDED.values():
        for kind in ENGINES:
            for exchange in recorded.get(kind, ()):
                yield pytest.param(kind, exchange, id=f"{kind}: {exchange['name']}")


def documents(body: str) -> list[Any]:
    """Return the events of a stream, or the one document."""
    if not body.startswith("data:"):
        return [json.loads(body)]
    events = [part.removeprefix("data: ") for part in body.strip().split("\n\n")]
    return [json.loads(event) for event in events if event != "[DONE]"]


def of(kind: str, name: str) -> Any:
    """Return a recorded exchange."""
    [found] = [e for e in RECORDED[kind.split(maxsplit=1)[0]][kind] if e["name"] == name]
    return found


def whole_ids(kind: str) -> list[int]:
    [answer] = documents(of(kind, "whole")["body"])
    if kind == "sglang generate":
        return answer["output_ids"]
    return answer["tokens"] if kind == "llamacpp" else answer["choices"][0]["token_ids"]


async def replayed(
    kind: str, exchange: Any, stream_interval: int = 1, **options: Any
) -> tuple[list[int], Any]:
    """Read a recorded answer with the engine's client."""
    headers = {"content-type": exchange["content_type"]}
    answer = (exchange["status"], headers, [exchange["body"].encode()])
    prompt = next(exchange["request"][name] for name in PROMPTS if name in exchange["request"])
    request = GenerationRequest(
        prompt_ids=[token for token in prompt if isinstance(token, int)],
        vocabulary=recorded_vocabulary(),
        options=SamplingOptions(max_tokens=20, **options),
        stream_interval=stream_interval,
    )
    async with StockServer({exchange["path"]: lambda _: answer}) as server:
        engine = ENGINES[kind](server.url)
        try:
            async with engine.stream(request) as stream:
                return [token async for frame in stream for token in frame.ids], stream.stats
        finally:
            await engine.aclose()


KINDS = [kind for kind in ENGINES if kind.split()[0] in RECORDED]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recorded_stream_has_the_ids_of_the_whole_answer(kind: str) -> None:
    ids, stats = await replayed(kind, of(kind, "limit"))
    assert (ids, stats.finish_reason) == (whole_ids(kind), "length")
    assert stats.prompt_tokens == 17


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recorded_answer_that_is_not_streamed_is_read(kind: str) -> None:
    ids, stats = await replayed(kind, of(kind, "whole"), WHOLE)
    assert (ids, stats.finish_reason, stats.format) == (whole_ids(kind), "length", "json")
    assert stats.prompt_tokens == 17


@pytest.mark.parametrize("kind", KINDS)
async def test_recorded_ends(kind: str) -> None:
    ids, stats = await replayed(kind, of(kind, "end of turn"))
    assert (ids, stats.finish_reason) == ([END], "stop")
    ids, stats = await replayed(kind, of(kind, "stop text"), stop=(" three",))
    assert stats.finish_reason == "stop_sequence"
    assert ids[:3] == whole_ids(kind)[:3]
    if kind != "llamacpp":
        ids, stats = await replayed(kind, of(kind, "stop id"), stop_token_ids=(1296,))
        assert (ids[-1], stats.finish_reason) == (1296, "stop")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recorded_refusal_is_an_error_that_is_not_tried_again(kind: str) -> None:
    refused = ("too long", "unknown id", "wrong model")
    named = [e for e in RECORDED[kind.split(maxsplit=1)[0]][kind] if e["name"] in refused]
    assert named
    for exchange in named:
        with pytest.raises(EngineError) as error:
            await replayed(kind, exchange)
        assert not error.value.transient


def shape(value: Any) -> Any:
    """Return the fields of a document; a list by its first item, and values by nothing."""
    if isinstance(value, dict):
        return {name: shape(field) for name, field in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def lacking(imitated: Any, real: Any, at: str = "") -> list[str]:
    """Return the places of fields that an imitation has and the real answer has not."""
    if isinstance(imitated, dict) and isinstance(real, dict):
        return [
            place
            for name, field in imitated.items()
            for place in (lacking(field, real[name], f"{at}.{name}") if name in real else [f"{at}.{name}"])
        ]
    if isinstance(imitated, list) and isinstance(real, list):
        return lacking(imitated[0], real[0], f"{at}[]")
    return []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["limit", "whole", "end of turn", "wrong model", "too long"])
def test_an_imitation_answers_as_the_real_server_did(kind: str, name: str) -> None:
    """The status, the content type, how the events follow each other, and no field that is not there."""
    if not any(e["name"] == name for e in RECORDED[kind.split(maxsplit=1)[0]][kind]):
        pytest.skip("not recorded: the server does not look at it")
    real = of(kind, name)
    vocabulary = vocabulary_of(bundled_map("demo/words"))
    asked = translated(real["request"], vocabulary, name)
    status, headers, pieces = routes(kind.split(maxsplit=1)[0], vocabulary)[real["path"]](asked)
    body = b"".join(pieces).decode()
    assert (status, headers["content-type"]) == (real["status"], real["content_type"])
    ours, theirs = documents(body), documents(real["body"])
    assert len(ours) == len(theirs)
    assert body.endswith("[DONE]\n\n") == real["body"].endswith("[DONE]\n\n")
    for one, other in zip(ours, theirs, strict=True):
        assert lacking(shape(one), shape(other)) == []


def translated(request: Any, vocabulary: Vocabulary, name: str) -> Any:
    """Return a recorded request with a prompt in the imitation's vocabulary."""
    from codec_core.tokenizer import pick_tokenizer
    from tests.agents.engines.imitations import WORDS

    [field] = [field for field in PROMPTS if field in request]
    encode = pick_tokenizer(vocabulary).encode_ordinary
    prompt = encode(WORDS) if name == "end of turn" else encode("Count.")
    return {**request, field: prompt * 3000 if name == "too long" else prompt}
