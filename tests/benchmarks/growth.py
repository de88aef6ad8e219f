"""The cost a character or id from 1 KB to 4 MB, for natural and adversarial texts: linear is a flat line."""

from collections.abc import Callable
from random import Random

from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from tests.benchmarks.rows import spell, timed
from tests.conftest import load_shared_map
from tests.natural import prose

SIZES = (2**10, 2**14, 2**18, 2**20, 2**22)
IDS_A_FEED = 8

SHAPES: dict[str, Callable[[int], str]] = {
    "prose": lambda size: (prose() * 12)[:size],
    "one word": lambda size: "x" * size,
    "random letters": lambda size: "".join(Random(3).choices("abcdefghij", k=size)),
    "spaces": lambda size: " " * size,
    "newlines": lambda size: "\n" * size,
    "alternating scripts": lambda size: ("aяא漢" * size)[:size],
    "astral": lambda size: ("𝔘🧳" * size)[:size],
    "marks": lambda size: ("\u0301\u0323" * size)[:size],
}


def print_growth(byte_level: str, metaspace: str) -> None:
    """Print encoding, detokenizing and translating, each by the size of the text."""
    print("growth: 1 KB, 16 KB, 256 KB, 1 MB, 4 MB")
    for map_id in (byte_level, metaspace, "qwen/qwen2"):
        encode = pick_tokenizer(load_shared_map(map_id)).encode_ordinary
        _print(f"encode {map_id}, a character", lambda text, e=encode: timed(lambda: e(text), len(text)))
    for map_id in (byte_level, metaspace):
        _print(f"detokenize {map_id}, an id", lambda text, m=map_id: _detokenizing(m, text))
    for source, target in ((byte_level, metaspace), (metaspace, byte_level)):
        name = f"translate {source} to {target}, {IDS_A_FEED} ids a feed, an id"
        _print(name, lambda text, s=source, t=target: _translating(s, t, text))


def _print(name: str, contestant: Callable[[str], Callable[[], float]]) -> None:
    for shape, make in SHAPES.items():
        cells = [spell(contestant(make(size))()) for size in SIZES]
        print(f"{name}, {shape}: {', '.join(cells)}", flush=True)


def _detokenizing(map_id: str, text: str) -> Callable[[], float]:
    tokenizer_map = load_shared_map(map_id)
    ids = pick_tokenizer(tokenizer_map).encode_ordinary(text)
    return timed(lambda: Detokenizer(tokenizer_map).render(ids), len(ids))


def _translating(source_id: str, target_id: str, text: str) -> Callable[[], float]:
    source, target = load_shared_map(source_id), load_shared_map(target_id)
    ids = pick_tokenizer(source).encode_ordinary(text)

    def translate() -> None:
        translator = Translator(source, target)
        for start in range(0, len(ids), IDS_A_FEED):
            translator.feed(ids[start : start + IDS_A_FEED])
        translator.flush()

    return timed(translate, len(ids))
