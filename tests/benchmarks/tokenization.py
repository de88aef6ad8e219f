"""Maps, tokenizer, detokenizer and translator against their peers: `python -m tests.benchmarks tokenization`.

The existing client runs in an interpreter of its own (`peers.py`). `--only WORD` measures the groups of rows
whose name holds the word: import, load, open, encode, detokenize, translate, cache,
memory.
"""

import time
from collections.abc import Callable
from functools import cache
from random import Random

import msgspec
import tiktoken
from tokenizers.decoders import DecodeStream

from codec_core.byte_level import decode_byte_level_token
from codec_core.detokenizer import Detokenizer
from codec_core.maps import parse_map
from codec_core.merging.pieces import MAX_PIECES, PieceCache
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from tests.benchmarks.footprint import import_row, map_memory, stream_memory
from tests.benchmarks.growth import print_growth
from tests.benchmarks.peers import Interpreter, peer_python
from tests.benchmarks.rows import REPETITIONS, Row, report, timed
from tests.conftest import load_shared_map, maps_directory
from tests.natural import code, prose
from tests.oracle import reference_tokenizer

BYTES = "microsoft/phi-4"
WORDS = "meta-llama/llama-2"
TEXT_SIZE = 2000


@cache
def texts() -> tuple[list[str], list[str]]:
    """Return texts to warm caches with, and fresh ones: prose and code, 2 KB each."""
    everything = prose() + code()
    cut = [everything[at : at + TEXT_SIZE] for at in range(0, len(everything) - TEXT_SIZE, TEXT_SIZE)]
    Random(1).shuffle(cut)
    return cut[: len(cut) // 2], cut[len(cut) // 2 :]


def parts_of_fresh() -> list[list[str]]:
    """Return the fresh texts, a part a repetition: each text is new to each contestant."""
    fresh = texts()[1]
    size = len(fresh) // REPETITIONS
    return [fresh[at * size : (at + 1) * size] for at in range(REPETITIONS)]


@cache
def natural_ids(map_id: str) -> list[int]:
    """Return the ids of natural text."""
    return pick_tokenizer(load_shared_map(map_id)).encode_ordinary(prose()[:200_000] + code()[:50_000])


def encoding(encode: Callable[[str], object]) -> Callable[[], float]:
    """Return a contestant that encodes texts it has never seen, after seeing half of the corpus."""
    for text in texts()[0]:
        encode(text)
    parts = iter(parts_of_fresh())

    def run() -> float:
        fresh = next(parts)
        started = time.process_time()
        for text in fresh:
            encode(text)
        return (time.process_time() - started) / len(fresh)

    return run


def codecai_encoding(codecai: Interpreter, map_id: str) -> Callable[[], float]:
    """Return the existing client as a contestant in encoding."""
    parts = iter(range(REPETITIONS))
    size = len(parts_of_fresh()[0])
    return lambda: codecai.ask(action="encode", map=map_id, part=next(parts)) / size


def _peer(codecai: Interpreter | None, units: int = 1, **request: object) -> dict[str, Callable[[], float]]:
    return {} if codecai is None else {"codecai": lambda: codecai.ask(**request) / units}


def _loading(codecai: Interpreter | None) -> list[Row]:
    data = (maps_directory() / f"{BYTES}.json").read_bytes()
    return [
        Row(
            "map load, 100k entries",
            timed(lambda: parse_map(data)),
            {"msgspec": timed(lambda: msgspec.json.decode(data)), **_peer(codecai, action="load", map=BYTES)},
            {"msgspec": 0.83},  # no slower than its decode + 20%
        )
    ]


def _opening(codecai: Interpreter | None) -> list[Row]:
    source, target = load_shared_map(BYTES), load_shared_map(WORDS)
    Translator(source, target)
    times = range(1000)
    return [
        Row(
            "open a translator on loaded maps",
            timed(lambda: [Translator(source, target) for _ in times], 1000),
            _peer(codecai, action="open_translator", map=BYTES, to=WORDS),
            limit=50e-6,
        ),
        Row(
            "open a detokenizer on a loaded map",
            timed(lambda: [Detokenizer(source) for _ in times], 1000),
            _peer(codecai, action="open_detokenizer", map=BYTES),
            limit=50e-6,
        ),
    ]


def _encoding(codecai: Interpreter | None) -> list[Row]:
    byte_level, metaspace = load_shared_map(BYTES), load_shared_map(WORDS)
    special = set(byte_level.special_tokens)
    ranks = {
        decode_byte_level_token(token): n for token, n in byte_level.vocab.items() if token not in special
    }
    rival = tiktoken.Encoding(
        "rival", pat_str=byte_level.pre_tokenizer_pattern, mergeable_ranks=ranks, special_tokens={}
    )
    reference, by_words = reference_tokenizer(byte_level), reference_tokenizer(metaspace)
    client = {
        name: {"codecai": codecai_encoding(codecai, name)} if codecai else {} for name in (BYTES, WORDS)
    }
    return [
        Row(
            "encode, new 2 KB texts, byte level",
            encoding(pick_tokenizer(parse_again(BYTES)).encode_ordinary),
            {
                "tiktoken": encoding(rival.encode_ordinary),
                "HF": encoding(lambda text: reference.encode(text).ids),
                **client[BYTES],
            },
            {"tiktoken": 1.0, "HF": 5.0},
        ),
        Row(
            "encode, new 2 KB texts, metaspace",
            encoding(pick_tokenizer(parse_again(WORDS)).encode_ordinary),
            {"HF": encoding(lambda text: by_words.encode(text).ids), **client[WORDS]},
            {"HF": 2.0},
        ),
    ]


def parse_again(map_id: str):
    """Return a map with nothing in its caches."""
    return parse_map((maps_directory() / f"{map_id}.json").read_bytes())


def _detokenizing(codecai: Interpreter | None) -> list[Row]:
    found = []
    for map_id, kind in ((BYTES, "byte level"), (WORDS, "metaspace")):
        tokenizer_map, ids = load_shared_map(map_id), natural_ids(map_id)
        reference = reference_tokenizer(tokenizer_map)
        reference.decoder = _reference_decoder(kind)
        found += [
            Row(
                f"detokenize, 1 id a call, {kind}, an id",
                timed(lambda m=tokenizer_map, i=ids: detokenize_each(m, i), len(ids)),
                {
                    "HF": timed(
                        lambda r=reference, i=ids: decode_stream(r, i[:20_000]), min(len(ids), 20_000)
                    ),
                    **_peer(codecai, len(ids), action="detokenize_each", map=map_id),
                },
                {"codecai": 7.0, "HF": 2.5} if kind == "byte level" else {"HF": 2.5},
            ),
            Row(
                f"detokenize, bulk, {kind}, an id",
                timed(lambda m=tokenizer_map, i=ids: Detokenizer(m).render(i), len(ids)),
                {
                    "HF": timed(lambda r=reference, i=ids: r.decode(i), len(ids)),
                    **_peer(codecai, len(ids), action="detokenize_bulk", map=map_id),
                },
                {"codecai": 30.0, "HF": 3.0} if kind == "byte level" else {"HF": 3.0},
            ),
        ]
    return found


def _reference_decoder(kind: str):
    from tokenizers import decoders

    if kind == "byte level":
        return decoders.ByteLevel()
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )


def detokenize_each(tokenizer_map, ids: list[int]) -> None:
    """Detokenize one id a call."""
    feed = Detokenizer(tokenizer_map).feed
    for token_id in ids:
        feed([token_id])


def decode_stream(reference, ids: list[int]) -> None:
    """Decode one id a call with the reference."""
    stream = DecodeStream()
    step = stream.step
    for token_id in ids:
        step(reference, token_id)


def _translating(codecai: Interpreter | None) -> list[Row]:
    found = []
    for source, target in ((BYTES, WORDS), (WORDS, BYTES), (BYTES, "meta-llama/llama-3")):
        ids = natural_ids(source)
        translator = Translator(load_shared_map(source), load_shared_map(target))
        translator.translate(ids)
        found.append(
            Row(
                f"translate {source} to {target}, 8 ids a call, warm, an id",
                timed(lambda t=translator, i=ids: translate_by_eights(t, i), len(ids)),
                _peer(codecai, len(ids), action="translate", map=source, to=target),
                {"codecai": 2.0},
            )
        )
    return found


def translate_by_eights(translator: Translator, ids: list[int]) -> None:
    """Translate eight ids a call."""
    for start in range(0, len(ids), 8):
        translator.feed(ids[start : start + 8])


def _caching(codecai: Interpreter | None) -> list[Row]:
    """Return what the bound of the piece cache costs: new pieces only, before and after it is reached."""
    half = MAX_PIECES // 2
    words = iter([[f"w{turn}-{number}" for number in range(half)] for turn in range(2 * REPETITIONS)])

    def cache(full: bool) -> Callable[[], float]:
        pieces = PieceCache(lambda piece: (len(piece),))

        def run() -> float:
            new = next(words)
            if not full:
                pieces.clear()
            return timed(lambda: [pieces[word] for word in new], half)()

        return run

    return [Row("piece cache, new pieces at its bound, a piece", cache(True), {"below it": cache(False)})]


GROUPS = {
    "load": _loading, "open": _opening, "encode": _encoding, "detokenize": _detokenizing,
    "translate": _translating, "cache": _caching,
}  # fmt: skip


def report_memory(python: str | None) -> list[bool]:
    """Print what loaded maps and open streams hold."""
    sizes = [*map_memory(BYTES, texts()[0], python), *map_memory(WORDS, texts()[0], python)]
    return [size.report() for size in (*sizes, stream_memory(BYTES, WORDS))]


def report_rows(python: str | None, groups: list[str]) -> list[bool]:
    """Print the rows of some groups."""
    codecai = Interpreter(python, "codecai_peer.py") if python and groups else None
    if codecai is not None:
        codecai.ask(
            action="setup",
            folder=str(maps_directory()),
            texts={"warm": texts()[0], "fresh": parts_of_fresh()},
            ids={name: natural_ids(name) for name in (BYTES, WORDS)},
        )
    reached = [report(row) for group in groups for row in GROUPS[group](codecai)]
    if codecai is not None:
        codecai.close()
    return reached


def main(growth: bool = False, only: str = "") -> bool:
    """Print the rows; tell whether every bar is reached."""
    python = peer_python()
    reached = [report(import_row(python))] if only in "import" else []
    reached += report_rows(python, [group for group in GROUPS if only in group])
    if only in "memory":
        reached += report_memory(python)
    if growth:
        print_growth(BYTES, WORDS)
    return all(reached)
