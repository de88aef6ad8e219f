"""Check a running llama.cpp server: `python -m tests.llamacpp URL MAP [--texts N] [--streams N] [--ids N]`.

The map encodes texts as the server's `/tokenize` does, and greedy streams have the ids of the answers that
are not streamed. Prints how many streams lost ids, and what became of them. MAP is a file; `codec-agents maps
build` makes one from the model's GGUF.
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from random import Random

import anyio

from codec_agents.engines.base import GenerationRequest, SamplingOptions
from codec_agents.engines.llamacpp import LlamaCppEngine, LostIdsError
from codec_agents.engines.stock.handshake import tokenize
from codec_core.maps import read_map
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.texts import random_text


async def differing_texts(url: str, vocabulary: Vocabulary, texts: list[str]) -> list[str]:
    """Return the texts that the server's tokenizer and the map encode differently."""
    engine = LlamaCppEngine(url)
    encode = pick_tokenizer(vocabulary).encode_ordinary
    differing = []
    for text in texts:
        fields = {"content": text, "add_special": False, "parse_special": False}
        found = await tokenize(engine, fields, GenerationRequest(prompt_ids=(), vocabulary=vocabulary))
        if found != encode(text):
            differing.append(text)
    await engine.aclose()
    return differing


async def generated(engine: LlamaCppEngine, request: GenerationRequest) -> list[int] | None:
    """Return the ids of one answer; None where ids were lost and not told by the text."""
    try:
        async with engine.stream(request) as stream:
            return [token async for frame in stream for token in frame.ids]
    except LostIdsError:
        return None


async def check_streams(url: str, vocabulary: Vocabulary, prompts: list[str], ids: int) -> bool:
    """Compare streams with answers that are not streamed; print what was found.

    A stream that asked for its rest may differ: the server computes a prompt in other batches than an answer,
    and where two ids are as good as equal, the last digits decide.
    """
    whole, strict, asking = (LlamaCppEngine(url, lost_ids=mode) for mode in ("no_stream", "error", "ask"))
    lost = wrong = differing = total = 0
    for text in prompts:
        prompt = pick_tokenizer(vocabulary).encode_ordinary(text)
        options = SamplingOptions(max_tokens=ids, temperature=0.0)
        request = GenerationRequest(prompt_ids=prompt, vocabulary=vocabulary, options=options)
        expected = await generated(whole, request)
        assert expected is not None
        found = await generated(strict, request)
        lost += found is None
        wrong += found is not None and found != expected
        differing += found is None and await generated(asking, request) != expected
        total += len(expected)
    for engine in (whole, strict, asking):
        await engine.aclose()
    print(f"streams: {len(prompts)}, {total} ids in all, compared with answers that are not streamed")
    print(f"  {len(prompts) - lost} lost no id, or the text told which; {wrong} of them differ")
    print(
        f"  {lost} lost ids that the text does not tell, and asked for the rest; {differing} of them differ"
    )
    return wrong == 0


async def check(given: argparse.Namespace) -> bool:
    """Run both checks; return whether nothing differs."""
    vocabulary = vocabulary_of(read_map(given.map))
    random = Random(given.seed)
    # llama.cpp normalizes nothing; the tokenizers of some of its models, and so their maps, do.
    texts = [unicodedata.normalize("NFC", random_text(random)) for _ in range(given.texts)]
    differing = await differing_texts(given.url, vocabulary, texts)
    print(f"texts: {len(texts)}; {len(differing)} encoded differently by the map and by /tokenize")
    for text in differing[:5]:
        print(f"  {text!r}")
    prompts = [f"Count from {number} to ten." for number in range(given.streams)]
    return await check_streams(given.url, vocabulary, prompts, given.ids) and not differing


def main() -> int:
    """Return 1 if anything differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.llamacpp", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("url")
    parser.add_argument("map")
    parser.add_argument("--texts", type=int, default=300)
    parser.add_argument("--streams", type=int, default=24)
    parser.add_argument("--ids", type=int, default=64, help="in each answer")
    parser.add_argument("--seed", type=int, default=1)
    return 0 if anyio.run(check, parser.parse_args()) else 1


if __name__ == "__main__":
    sys.exit(main())
