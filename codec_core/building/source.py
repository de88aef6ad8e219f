"""Find out the format of a tokenizer file, and build a map from it.

The content decides where a format has a mark of its own (GGUF's magic, the fields of a JSON document), the
name where it has none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from codec_core.building.document import MAX_SOURCE_BYTES, open_source
from codec_core.building.gguf import build_from_gguf
from codec_core.building.sentencepiece_model import build_from_sentencepiece
from codec_core.building.tekken import build_from_tekken
from codec_core.building.tiktoken_ranks import build_from_tiktoken
from codec_core.building.tokenizer_json import build_from_tokenizer_json
from codec_core.exceptions import DECODE_ERRORS, MapBuildError

FOLDER_FILES: Final = ("tokenizer.json", "tekken.json", "tokenizer.model")
"""The tokenizer files of a model's folder, the most exact first: the others leave out what code adds."""

_GGUF_MAGIC: Final = b"GGUF"

_BUILDERS: dict[str, Callable[..., bytes]] = {
    "tokenizer.json": build_from_tokenizer_json,
    "tekken.json": build_from_tekken,
    "GGUF": build_from_gguf,
    "SentencePiece": build_from_sentencepiece,
}


def tokenizer_file(path: Path) -> Path:
    """Return the tokenizer file of a model's folder; a file is its own.

    Raises:
        MapBuildError: the folder has no tokenizer file, or several GGUF files and nothing else.
    """
    if not path.is_dir():
        return path
    for name in FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(path.glob("*.gguf"))
    if len(found) == 1:
        return found[0]
    names = ", ".join((*FOLDER_FILES, "*.gguf"))
    problem = f"has {len(found)} GGUF files; name one of them" if found else f"has none of {names}"
    raise MapBuildError(f"the folder {path} {problem}")


def is_map(path: Path) -> bool:
    """Return whether a file is a map already, and not a tokenizer to build one from.

    Raises:
        MapBuildError: the file cannot be read, or is no file but a device or a pipe.
    """
    return _kind_of(path) == "map"


def is_gguf(path: Path) -> bool:
    """Return whether a file is GGUF.

    Raises:
        MapBuildError: the file cannot be read, or is no file but a device or a pipe.
    """
    with open_source(path) as file:
        return file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC


def build_map(path: Path, *, map_id: str, pattern: str | None = None) -> bytes:
    """Return the bytes of a map built from a tokenizer file of any known format.

    Args:
        path: the file, or a model's folder.
        map_id: the id of the map, `org/family`.
        pattern: the pattern that splits texts into pieces; for tiktoken ranks, which do not contain it.

    Raises:
        MapBuildError: the format is unknown, the file cannot be read or is damaged, or a map cannot describe
            its tokenizer exactly.
    """
    path = tokenizer_file(path)
    kind = _kind_of(path)
    if kind == "tiktoken":
        if pattern is None:
            raise MapBuildError(
                f"{path}: tiktoken ranks do not contain the pattern that splits texts; build the map with "
                "`codec-agents maps build --pattern`"
            )
        return build_from_tiktoken(path, map_id=map_id, pattern=pattern)
    if kind == "map":
        raise MapBuildError(f"{path} is a map already: use it as it is, as the `map` of a node")
    if kind not in _BUILDERS:
        raise MapBuildError(
            f"{path} is neither tokenizer.json, tekken.json, a SentencePiece .model, .gguf nor .tiktoken"
        )
    return _BUILDERS[kind](path, map_id=map_id)


def _kind_of(path: Path) -> str | None:
    with open_source(path) as file:
        head = file.read(len(_GGUF_MAGIC))
    if head == _GGUF_MAGIC:
        return "GGUF"
    if path.suffix == ".tiktoken":
        return "tiktoken"
    if ".model" in path.suffixes:  # Mistral's names go on: tokenizer.model.v3
        return "SentencePiece"
    if path.suffix == ".json":
        return _kind_of_json(path)
    return None


def _kind_of_json(path: Path) -> str:
    with open_source(path) as file:
        data = file.read(MAX_SOURCE_BYTES)  # a larger file is cut off, and so refused as a map
    try:
        fields = msgspec.json.decode(data, type=_Marks)
    except DECODE_ERRORS:
        return "map"  # reading it as a map gives the error with its place
    if fields.has("model", "added_tokens"):
        return "tokenizer.json"
    return "tekken.json" if fields.has("config", "vocab") and not fields.has("id") else "map"


class _Marks(msgspec.Struct):
    """The fields that tell one format from another; others, perhaps millions, are passed over."""

    model: msgspec.Raw = msgspec.Raw()
    added_tokens: msgspec.Raw = msgspec.Raw()
    config: msgspec.Raw = msgspec.Raw()
    vocab: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()

    def has(self, *names: str) -> bool:
        """Return whether the document has all of these fields, whatever is in them."""
        return all(len(memoryview(getattr(self, name))) for name in names)
