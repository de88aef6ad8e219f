"""Check translation over random texts and cuts: `python -m tests.exactness [--cases N] [--pairs A:B ..]`.

For every ordered pair of the shared maps: translating a stream, however it is cut, gives the ids of
translating it at once, and decoding these gives the source's text. Prints the mismatches of each pair and
how much text was held back, after every feed, on natural text.
"""

import argparse
import json
import sys
import time
import unicodedata
from collections.abc import Iterator
from itertools import permutations
from random import Random

from codec_core.detokenizer import detokenize
from codec_core.maps import TokenizerMap
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator, translate
from tests.conftest import load_shared_map, maps_directory
from tests.natural import natural_texts
from tests.texts import random_cuts, random_text


def encodable_maps() -> list[str]:
    """Return the ids of the shared maps that have a vocabulary to speak of."""
    index = json.loads((maps_directory() / "index.json").read_text())
    return [map_id for map_id in sorted(index) if not map_id.startswith("anthropic/")]


def all_pairs() -> list[tuple[str, str]]:
    """Return every ordered pair of the shared maps."""
    return list(permutations(encodable_maps(), 2))


def random_ids(random: Random, source: TokenizerMap) -> list[int]:
    """Return source ids: mostly those of a text, sometimes any ids at all."""
    tokenizer = pick_tokenizer(source)
    if random.random() < 0.85:
        return tokenizer.encode(random_text(random))
    size = tokenizer.vocabulary.size
    return [random.randrange(size + 3) for _ in range(random.randint(1, 40))]


def translate_in_parts(translator: Translator, random: Random, ids: list[int]) -> list[int]:
    """Translate ids that come in random parts."""
    given: list[int] = []
    for part in random_cuts(random, ids):
        given += translator.feed(part)
    return given + translator.flush()


def decoded_as_expected(source: TokenizerMap, target: TokenizerMap, ids: list[int], given: list[int]) -> bool:
    """Tell whether the target's text is the source's, but for what the target cannot spell.

    A target that normalizes gives normalized text. In a metaspace target U+2581 is a space. Bytes
    without a token (two of the published maps) leave none.
    """
    text = detokenize(source, ids)
    tokenizer = pick_tokenizer(target)
    if tokenizer.normalizes:
        text = unicodedata.normalize("NFC", text)
    if target.encoder == "metaspace":
        text = text.replace("▁", " ")
    missing = bytes(getattr(tokenizer, "missing_bytes", ()))
    data = text.encode().translate(None, missing)
    return detokenize(target, given) == data.decode("utf-8", "replace")


def mismatches(source: TokenizerMap, target: TokenizerMap, cases: int, seed: int = 0) -> Iterator[list[int]]:
    """Yield the source ids whose translation depends on the cuts, or does not decode to their text."""
    random = Random(f"{source.id}:{target.id}:{seed}")
    translator = Translator(source, target)
    for _ in range(cases):
        ids = random_ids(random, source)
        whole = translate(source, target, ids)
        in_parts = translate_in_parts(translator, random, ids)
        special = pick_tokenizer(target).vocabulary.special_ids
        if (
            in_parts != whole
            or not special.isdisjoint(whole)
            or not decoded_as_expected(source, target, ids, whole)
        ):
            yield ids


def held_bytes(source: TokenizerMap, target: TokenizerMap) -> list[int]:
    """Return how many bytes were held after each single id of natural text, sorted."""
    held = []
    translator = Translator(source, target)
    for text in natural_texts():
        for token_id in pick_tokenizer(source).encode_ordinary(text):
            translator.feed([token_id])
            held.append(translator.held_bytes)
        translator.flush()
    return sorted(held)


def main(arguments: list[str] | None = None) -> int:
    """Run the check and return 1 if anything differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--pairs", nargs="*", help="source:target, all ordered pairs by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    pairs = [tuple(pair.split(":")) for pair in options.pairs] if options.pairs else all_pairs()
    wrong = 0
    started = time.perf_counter()
    for source_id, target_id in pairs:
        source, target = load_shared_map(source_id), load_shared_map(target_id)
        found = list(mismatches(source, target, options.cases, options.seed))
        wrong += len(found)
        held = held_bytes(source, target)
        shares = " ".join(f"p{share}={held[len(held) * share // 100]}" for share in (50, 90, 99))
        print(
            f"{source_id} -> {target_id}: {len(found)} of {options.cases} differ; "
            f"held bytes {shares} max={held[-1]}",
            flush=True,
        )
        for ids in found[:3]:
            print("   ", repr(detokenize(source, ids))[:200], ids[:40])
    print(f"{wrong} mismatches in {len(pairs)} pairs, {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
