"""Build maps from real tokenizer files and compare them: `python -m tests.real_files [--small]`.

The files come from packages. Each map is compared with the tokenizer that its file is for, over 5,000 texts,
in ids and in text; llama.cpp's vocabularies with the encodings that lie beside them. A difference, or a file
that cannot be built, makes the command fail. `make real-files` runs it in an environment of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from codec_core.building import build_from_gguf
from codec_core.detokenizer import detokenize
from codec_core.exceptions import CodecError, UnencodableTextError
from codec_core.maps import parse_map
from codec_core.tokenizer import BPETokenizer, pick_tokenizer
from tests.natural import OTHER_SCRIPTS, prose
from tests.real_files.packages import LLAMA_CPP, PACKAGES
from tests.real_files.references import (
    UNIGRAM_GGUF,
    Reference,
    kind_of,
    model_with_symbols,
    precompiled_files,
)
from tests.real_files.sources import NotFetchedError, Package, files_of
from tests.texts import random_text

TEXTS = 5000
REFUSED = ("bert-bge",)
"""Vocabularies of llama.cpp that have no form in a map, by a part of their names."""


def texts(count: int) -> list[str]:
    """Return varied texts: fragments of all kinds, and stretches of prose, code and other scripts."""
    random, natural = Random(1), prose() + "".join(OTHER_SCRIPTS)
    found = [random_text(random) for _ in range(count * 4 // 5)]
    while len(found) < count:
        start = random.randrange(len(natural))
        found.append(natural[start : start + random.randrange(400)])
    return found


def compare(path: Path, label: str, samples: list[str]) -> tuple[str, bool]:
    """Return a row of the table for a file, and whether it shows a difference."""
    kind = kind_of(path)
    assert kind is not None
    started = time.perf_counter()
    try:
        data = kind.build(path)
    except CodecError as error:
        return f"{label:<63}  refused: {error}", True
    took = time.perf_counter() - started
    tokenizer_map = parse_map(data)
    tokenizer, reference = pick_tokenizer(tokenizer_map), kind.reference(path)
    ids_differ = text_differs = 0
    if isinstance(tokenizer, BPETokenizer) and path.suffix == ".gguf":
        # Beside a byte without a token `tokenizers` merges, and llama.cpp, which the map follows, does not.
        samples = [text for text in samples if tokenizer.missing_bytes.isdisjoint(text.encode())]
    if reference.unknown is not None:
        samples = known_parts(samples, reference)
    for text in samples:
        try:
            ordinary = tokenizer.encode_ordinary(text)
        except UnencodableTextError:
            # Its characters have a token alone, but not what they become together.
            ids_differ += reference.unknown not in reference.encode(text)
            continue
        ids = tokenizer.encode(text) if reference.reads_control else ordinary
        ids_differ += ids != reference.encode(text)
        text_differs += detokenize(tokenizer_map, ordinary) != reference.decode(ordinary)
    row = f"{label:<63}{reference.name:<16}{took:>6.1f}{len(data) / 2**20:>7.1f}{len(samples):>7}"
    return f"{row}{ids_differ:>7}{text_differs:>7}", bool(ids_differ or text_differs)


def known_parts(samples: list[str], reference: Reference) -> list[str]:
    """Return the texts without the characters that have no token in a vocabulary."""
    known = {each for each in set("".join(samples)) if reference.unknown not in reference.encode(each)}
    return ["".join(filter(known.__contains__, text)) for text in samples]


def rows_of(package: Package, path: Path, samples: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield the rows of a file: its own, and one for each other format that its tokenizer is written in."""
    if package == LLAMA_CPP and not path.name.endswith(UNIGRAM_GGUF):
        yield compare_pairs(path)
        return
    yield compare(path, f"{package.name} {path.name}"[-62:], samples)
    with TemporaryDirectory() as folder:
        if path.suffix == ".model":
            yield compare(model_with_symbols(path, Path(folder)), "with symbols of the user", samples)
        if path.name.endswith(UNIGRAM_GGUF):
            for written in precompiled_files(path, Path(folder)):
                yield compare(written, f"its tokenizer.json, {written.parent.name}", samples)


def compare_pairs(path: Path) -> tuple[str, bool]:
    """Return a row for a vocabulary of llama.cpp, and whether an encoding beside it is another one."""
    started = time.perf_counter()
    refused = any(name in path.name for name in REFUSED)
    try:
        data = build_from_gguf(path, map_id="real/file")
    except CodecError as error:
        return f"{path.name[-62:]:<63}  refused: {str(error).rpartition(': ')[2]}", not refused
    took = time.perf_counter() - started
    tokenizer = pick_tokenizer(parse_map(data))
    pairs = reference_pairs(path)
    differ = sum(tokenizer.encode(text) != ids for text, ids in pairs)
    row = f"{path.name[-62:]:<63}{'llama.cpp':<16}{took:>6.1f}{len(data) / 2**20:>7.1f}{len(pairs):>7}"
    return f"{row}{differ:>7}", bool(differ)


def reference_pairs(path: Path) -> list[tuple[str, list[int]]]:
    """Return the texts and ids that lie beside a vocabulary of llama.cpp; none for some."""
    beside, answers = path.with_name(path.name + ".inp"), path.with_name(path.name + ".out")
    if not beside.exists():
        return []
    found = beside.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    ids = [[int(number) for number in line.split()] for line in answers.read_text().split("\n")]
    return list(zip(found, ids, strict=False))


def main() -> int:
    """Print the table; return whether anything is different."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="the small files alone, in under two minutes")
    small = parser.parse_args().small
    samples = texts(TEXTS)
    print(f"{'file':<63}{'reference':<16}{'build':>6}{'MB':>7}{'texts':>7}{'ids':>7}{'text':>7}")
    failed = False
    for package in [p for p in PACKAGES if p.small] if small else [*PACKAGES, LLAMA_CPP]:
        try:
            paths = files_of(package)
        except NotFetchedError as error:
            print(error)
            failed = True
            continue
        for path in paths:
            if package == LLAMA_CPP and path.suffix != ".gguf":
                continue
            if package != LLAMA_CPP and kind_of(path) is None:
                continue
            if small and not path.name.endswith(package.small):
                continue
            for row, differs in rows_of(package, path, samples):
                print(row, flush=True)
                failed = failed or differs
    print("there are differences" if failed else "0 differences")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
