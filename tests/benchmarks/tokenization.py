"""Maps, tokenizer, detokenizer and translator against their peers: the rows this part of the library
answers for.

`python -m tests.benchmarks core`. Set `CODECAI_PYTHON` to an interpreter that has the existing client
installed to have it take part.
"""

import os
import subprocess
import sys
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
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from tests.benchmarks.peers import Interpreter
from tests.benchmarks.rows import Row, report, spell, timed
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


def parts_of_fresh(count: int = 12) -> list[list[str]]:
    """Return the fresh texts in parts: each text is new to each contestant."""
    fresh = texts()[1]
    size = len(fresh) // count
    return [fresh[at * size : (at + 1) * size] for at in range(count)]


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
    parts = iter(range(12))
    size = len(parts_of_fresh()[0])
    return lambda: codecai.ask(action="encode", map=map_id, part=next(parts)) / size


def rows(codecai: Interpreter | None) -> list[Row]:
    """Return the rows."""
    return [
        *_loading(codecai), *_opening(codecai), *_encoding(codecai), *_detokenizing(codecai),
        *_translating(codecai)
    ]  # fmt: skip


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


def print_memory(codecai: Interpreter | None) -> None:
    """Print what a loaded map with tokenizer and detokenizer holds, and what 1,000 open streams add."""
    script = (
        "from tests.benchmarks.tokenization import *\n"
        "import gc\n"
        "def resident(): gc.collect(); return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "warm = texts()[0]; before = resident()\n"
        f"m = load_shared_map({BYTES!r}); t = pick_tokenizer(m); d = Detokenizer(m)\n"
        "for text in warm: d.render(t.encode(text))\n"
        "print(before, resident())\n"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    before, after = map(int, output.split())
    line = f"memory of {BYTES} with tokenizer and detokenizer: {(after - before) / 2**20:.0f} MB"
    if codecai is not None:
        line += f" (codecai's whole process {codecai.ask(action='memory', map=BYTES) / 2**20:.0f} MB)"
    print(line)
    print(f"an open translator: {stream_bytes()} bytes")


def stream_bytes() -> int:
    """Return what one more open translator and detokenizer cost."""
    import tracemalloc

    source, target = load_shared_map(BYTES), load_shared_map(WORDS)
    Translator(source, target).translate(natural_ids(BYTES)[:100])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    streams = [(Translator(source, target), Detokenizer(source)) for _ in range(1000)]
    for translator, detokenizer in streams:
        translator.feed(natural_ids(BYTES)[:5])
        detokenizer.feed(natural_ids(BYTES)[:5])
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used // 1000


def print_growth() -> None:
    """Print the cost per character from 1 KB to 4 MB, for natural and adversarial texts."""
    repeated = prose() * 12
    shapes = {
        "prose": lambda size: repeated[:size],
        "one word": lambda size: "x" * size,
        "random letters": lambda size: "".join(Random(3).choices("abcdefghij", k=size)),
        "spaces": lambda size: " " * size,
        "alternating scripts": lambda size: ("aяא漢" * size)[:size],
        "astral": lambda size: ("𝔘🧳" * size)[:size],
        "marks": lambda size: ("\u0301\u0323" * size)[:size],
    }
    for map_id in (BYTES, WORDS, "qwen/qwen2"):
        encode = pick_tokenizer(load_shared_map(map_id)).encode_ordinary
        for name, make in shapes.items():
            cells = []
            for size in (2**10, 2**14, 2**18, 2**20, 2**22):
                text = make(size)
                cells.append(spell(timed(lambda t=text, e=encode: e(t), size)()))
            print(
                f"encode {map_id}, {name}, a character, 1 KB, 16 KB, 256 KB, 1, 4 MB: {', '.join(cells)}",
                flush=True,
            )


def main(growth: bool = False) -> bool:
    """Print all rows; tell whether every bar is reached."""
    python = os.environ.get("CODECAI_PYTHON")
    codecai = Interpreter(python, "codecai_peer.py") if python else None
    if codecai is not None:
        codecai.ask(
            action="setup",
            folder=str(maps_directory()),
            texts={"warm": texts()[0], "fresh": parts_of_fresh()},
            ids={name: natural_ids(name) for name in (BYTES, WORDS)},
        )
    reached = [report(row) for row in rows(codecai)]
    print_memory(codecai)
    if growth:
        print_growth()
    if codecai is not None:
        codecai.close()
    return all(reached)
