"""The cost a character, id or byte from 1 KB to 4 MB, natural and adversarial: linear is a flat line."""

from collections.abc import Callable, Iterator
from random import Random

from msgspec.structs import replace

from codec_core.compression import compressor, decompressor
from codec_core.detokenizer import Detokenizer
from codec_core.frames import decoder, encoder
from codec_core.maps import parse_map
from codec_core.regions import RegionKind, RegionScanner
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from codec_core.vocabulary import vocabulary_of
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
    for name, units, run in _bodies():
        print(f"{name}: {', '.join(spell(timed(run(size), units(size))()) for size in SIZES)}", flush=True)
    for map_id in (byte_level, metaspace, "qwen/qwen2"):
        encode = pick_tokenizer(load_shared_map(map_id)).encode_ordinary
        _print(f"encode {map_id}, a character", lambda text, e=encode: timed(lambda: e(text), len(text)))
    special = pick_tokenizer(load_shared_map(byte_level)).encode
    looks = SHAPES | {
        "look-alikes": lambda size: ("<|im_st" * size)[:size],
        "brackets": lambda size: "<|" * (size // 2),
    }
    _print(
        f"encode with special tokens {byte_level}, a character",
        lambda text: timed(lambda: special(text), len(text)),
        looks,
    )
    unmerged = pick_tokenizer(replace(load_shared_map("openai/cl100k_base"), merges=None)).encode_ordinary
    _print("the longest match, a character", lambda text: timed(lambda: unmerged(text), len(text)))
    for map_id in (byte_level, metaspace):
        _print(f"detokenize {map_id}, an id", lambda text, m=map_id: _detokenizing(m, text))
    for source, target in ((byte_level, metaspace), (metaspace, byte_level)):
        name = f"translate {source} to {target}, {IDS_A_FEED} ids a feed, an id"
        _print(name, lambda text, s=source, t=target: _translating(s, t, text))


def _bodies() -> Iterator[tuple[str, Callable[[int], int], Callable[[int], Callable[[], None]]]]:
    """Yield what reads bodies and ids: a name, the units of a size, and the reading of that much."""
    for fmt in ("msgpack", "protobuf", "msgpack-delta", "protobuf-delta"):
        for name, ids, step in ((f"frames of {IDS_A_FEED} ids", IDS_A_FEED, 2**16), ("one frame", 0, 1000)):
            yield (
                f"{fmt}, {name}, {step} bytes a feed, an id",
                lambda size: size // 4,
                lambda size, f=fmt, i=ids, s=step: _reading(f, size // 4, i or size // 4, s),
            )
    yield "regions, 64 ids a feed, an id", lambda size: size // 4, lambda size: _scanning(size // 4)
    yield "maps, parse and make the vocabulary, a byte", lambda size: size, _parsing
    for encoding in ("gzip", "deflate", "br"):
        name = f"{encoding}, compress and decompress, 1000 bytes a feed, a byte"
        yield name, lambda size: size, lambda size, e=encoding: _packing(size, e)


def _reading(fmt: str, count: int, ids_a_frame: int, step: int) -> Callable[[], None]:
    random = Random(1)
    ids = [random.randrange(150_000) for _ in range(count)]
    out = encoder(fmt)
    body = b"".join(out.encode(ids[at : at + ids_a_frame]) for at in range(0, count, ids_a_frame))

    def read() -> None:
        frames = decoder(fmt, max_frame_ids=2 * max(SIZES))
        for at in range(0, len(body), step):
            frames.feed(body[at : at + step])

    return read


def _scanning(count: int) -> Callable[[], None]:
    random = Random(3)
    kinds = [RegionKind(f"kind{n}", ((n, n),), ((n + 10,),)) for n in range(4)]
    batches = [tuple(random.randrange(40) for _ in range(64)) for _ in range(count // 64)]

    def scan() -> None:
        scanner = RegionScanner(kinds)
        for batch in batches:
            scanner.feed(batch)
        scanner.flush()

    return scan


def _parsing(size: int) -> Callable[[], None]:
    entries = ",".join(f'"t{number:07}":{number}' for number in range(size // 18))
    document = f'{{"id":"a/b","version":"1","vocab_size":{size // 18},"vocab":{{{entries}}}}}'.encode()

    def parse() -> None:
        vocabulary_of(parse_map(document))

    return parse


def _packing(size: int, encoding: str) -> Callable[[], None]:
    data = Random(5).randbytes(size // 2).hex().encode()

    def pack() -> None:
        packed, unpacked = compressor(encoding), decompressor(encoding, budget=max(SIZES))
        for at in range(0, size, 1000):
            unpacked.feed(packed.feed(data[at : at + 1000]))
        unpacked.feed(packed.flush())

    return pack


def _print(
    name: str,
    contestant: Callable[[str], Callable[[], float]],
    shapes: dict[str, Callable[[int], str]] = SHAPES,
) -> None:
    for shape, make in shapes.items():
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
