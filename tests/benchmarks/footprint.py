"""What the library costs before it does anything: time to import, memory of a loaded map, of an open stream.

Each measure is taken in a fresh interpreter, the same script for this project and for the existing client,
whose public names are the same.
"""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

from codec_core.byte_level import ALPHABET
from codec_core.detokenizer import Detokenizer
from codec_core.tokenizer import pick_tokenizer
from codec_core.translator import Translator
from tests.benchmarks.rows import Row
from tests.conftest import load_shared_map, maps_directory

OURS, CLIENT = "codec_core", "codecai"
STREAMS = 1000

_IMPORT = """
import sys, time
started = time.process_time()
__import__(sys.argv[1])
print(time.process_time() - started)
"""

_MEMORY = """
import gc, importlib, json, sys
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def use(data, texts):
    loaded = library.TokenizerMap.from_json(data)
    tokenizer, detokenizer = library.pick_tokenizer(loaded), library.Detokenizer(loaded)
    for text in texts:
        detokenizer.render(tokenizer.encode(text))
    return loaded, tokenizer, detokenizer
def read(path):
    with open(path, "rb") as file:
        return file.read()
request = json.load(sys.stdin)
library = importlib.import_module(sys.argv[1])
small = use(json.dumps(request["small"]), ["ab"])  # what is loaded at the first use is no map's
before = resident()
held = use(read(request["path"]), request["texts"])
after = resident()
print(after - before, after)
"""


@dataclass(frozen=True)
class Footprint:
    """A size in bytes that must not be above a limit, or above what the peer takes."""

    name: str
    ours: int
    limit: int | None
    peer: int | None = None

    def report(self) -> bool:
        """Print it; tell whether it is kept."""
        kept = self.limit is None or self.ours <= self.limit
        kept = kept and (self.peer is None or self.ours <= self.peer)
        against = "" if self.peer is None else f"; codecai {self.peer / self.ours:.2f}x ({_size(self.peer)})"
        bar = "no more than codecai" if self.limit is None else f"at most {_size(self.limit)}"
        verdict = "reached" if kept else "MISSED"
        print(f"{self.name}: {_size(self.ours)}{against}  [{verdict}: {bar}]", flush=True)
        return kept


def import_row(peer_python: str | None) -> Row:
    """Return the row of importing: processor time in a fresh interpreter, its byte code written before."""
    contestants = {name: _importing(python, name) for name, python in _interpreters(peer_python).items()}
    ours = contestants.pop(OURS)
    return Row("import the package", ours, contestants, {CLIENT: 2.0})


def _importing(python: str, name: str) -> Callable[[], float]:
    _run(python, _IMPORT, name)  # writes the byte code
    return lambda: float(_run(python, _IMPORT, name))


def map_memory(map_id: str, texts: list[str], peer_python: str | None) -> list[Footprint]:
    """Return by how much memory grows with a loaded map, tokenizer and detokenizer that have seen texts.

    And what the whole process holds then.
    """
    request = {"path": str(maps_directory() / f"{map_id}.json"), "texts": texts, "small": _small_map()}
    measured = {
        name: list(map(int, _run(python, _MEMORY, name, request).split()))
        for name, python in _interpreters(peer_python).items()
    }
    names = f"memory of {map_id} with tokenizer and detokenizer", "the whole process with it"
    rows = zip(names, measured[OURS], measured.get(CLIENT, (None, None)), strict=True)
    return [Footprint(name, ours, None, peer) for name, ours, peer in rows]


def _small_map() -> dict[str, object]:
    tokens = [*ALPHABET, "ab"]
    return {
        "id": "bench/small", "version": "2", "vocab_size": len(tokens), "encoder": "byte_level",
        "vocab": {token: number for number, token in enumerate(tokens)}, "merges": ["a b"],
        "pre_tokenizer_pattern": r"\p{L}+|\s+",
    }  # fmt: skip


def stream_memory(source_id: str, target_id: str) -> Footprint:
    """Return what one more open stream costs: a translator and a detokenizer that hold an unfinished word."""
    source, target = load_shared_map(source_id), load_shared_map(target_id)
    ids = pick_tokenizer(source).encode_ordinary("a few words, held")
    Translator(source, target).translate(ids)
    tracemalloc.start()
    streams = [(Translator(source, target), Detokenizer(source)) for _ in range(STREAMS)]
    for translator, detokenizer in streams:
        translator.feed(ids)
        detokenizer.feed(ids)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return Footprint(f"memory of one of {STREAMS:,} open streams", used // STREAMS, 4096)


def _interpreters(peer_python: str | None) -> dict[str, str]:
    return {OURS: sys.executable, **({CLIENT: peer_python} if peer_python else {})}


def _run(python: str, script: str, name: str, request: object = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [python, "-c", script, name],
        input=json.dumps(request), env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def _size(size: int) -> str:
    return f"{size / 2**20:.3g} MB" if size >= 2**20 else f"{size:,} bytes"
