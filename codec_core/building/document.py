"""Write the document of a map, and read the files that it is made from."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from codec_core.discovery.documents import check_id
from codec_core.exceptions import MapBuildError, TokenizerMapValidationError
from codec_core.maps import MAX_MAP_BYTES, parse_map
from codec_core.tokenizer import pick_tokenizer

MAX_SOURCE_BYTES = 2 * MAX_MAP_BYTES
"""The largest tokenizer files state each merge as a pair and indent it, which about doubles their size."""

MAX_SOURCE_VALUES = 1_750_000
"""Values of a JSON file; the largest known, 262,144 tokens with 514,906 merges as pairs, has 1,400,000."""

MAX_TOKENS = 2**19
"""Tokens of a file: twice as many as any known vocabulary has. Each takes some hundred bytes here."""

MAX_SMALL_BYTES = 4 * 2**20
"""A chat template, or a configuration with some thousand added tokens."""

MAX_TOKEN_LENGTH = 1024
"""Characters of one token where its parts are looked for: all ways of dividing it are tried. Runs of 128
spaces are the longest in known vocabularies."""

_TOOL_CALL = ("<tool_call>", "</tool_call>")


def read_source(path: str | Path, most: int = MAX_SOURCE_BYTES) -> bytes:
    """Return the bytes of a file.

    Raises:
        MapBuildError: it cannot be read, is no file but a device or a pipe, or is larger than such files are.
    """
    with open_source(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise MapBuildError(f"{path} has {size} bytes; such a file has at most {most}")
        return file.read(most)


@contextmanager
def open_source(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for reading.

    Raises:
        MapBuildError: it cannot be read, or is no file but a device or a pipe, which might never end.
    """
    try:
        # A pipe that nothing writes to would hold up even its opening.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # Windows has no such flag
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MapBuildError(f"{path} is no regular file")
            yield file
    except OSError as error:
        raise MapBuildError(f"cannot read {path}: {error.strerror}") from error


def check_length(token: str | bytes) -> None:
    """Refuse a token that is too long to look for its parts.

    Raises:
        MapBuildError: it is longer than `MAX_TOKEN_LENGTH`.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise MapBuildError(f"a token of {len(token)} characters; the limit is {MAX_TOKEN_LENGTH}")


def check_values(data: bytes, path: str | Path) -> None:
    """Refuse JSON with more values than a tokenizer file has: small ones take many times their bytes.

    Raises:
        MapBuildError: there are more than `MAX_SOURCE_VALUES`.
    """
    # Before decoding, commas are what can be counted: a value each, but for the first of a list or an object.
    # Those within strings count too, and the limit leaves room for them.
    if data.count(b",") > MAX_SOURCE_VALUES:
        raise MapBuildError(f"{path} has more than {MAX_SOURCE_VALUES} values; no tokenizer file has as many")


def check_tokens(count: int, path: str | Path, *, most: int = MAX_TOKENS) -> None:
    """Refuse a vocabulary that is larger than any known one.

    Raises:
        MapBuildError: it has more than `most` tokens.
    """
    if count > most:
        raise MapBuildError(f"{path} has {count} tokens; at most {most} are read")


def pad_scores(scores: list[float], ids: Iterable[int]) -> None:
    """Add scores for tokens that a model of scores does not have: they are found before it divides text."""
    missing = max(ids, default=-1) + 1 - len(scores)
    if 0 < missing <= MAX_TOKENS:  # with an id beyond, the map is refused for want of scores
        # The lowest score stays what it is: characters without a token count by it.
        scores += [max(scores, default=0.0)] * missing


def write_document(map_id: str, vocab: Mapping[str, int], special: Mapping[str, int], **fields: Any) -> bytes:
    """Return the bytes of a map: the same input gives the same bytes, so the same hash.

    Args:
        map_id: `org/family`.
        vocab: All tokens, special ones included.
        special: The special tokens.
        fields: The other fields; those that are None are left out.

    Raises:
        MapBuildError: the input does not make a valid map, or the id is one that cannot be discovered.
    """
    check_id(map_id, MapBuildError)
    by_id = dict(sorted({**vocab, **special}.items(), key=lambda item: item[1]))
    document: dict[str, Any] = {
        "id": map_id,
        "version": "2",
        "vocab_size": max(by_id.values(), default=-1) + 1,
        "vocab": by_id,
        "special_tokens": dict(sorted(special.items(), key=lambda item: item[1])) or None,
        "tool_calling": _tool_calling(special),
        **fields,
    }
    present = {name: value for name, value in document.items() if value is not None}
    data = json.dumps(present, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        pick_tokenizer(parse_map(data))  # making it refuses more: merges, patterns, bytes that are lost
    except TokenizerMapValidationError as error:
        raise MapBuildError(f"the file does not make a valid map: {error}") from error
    return data


def _tool_calling(special: Mapping[str, int]) -> dict[str, Any] | None:
    if not special.keys() >= set(_TOOL_CALL):
        return None
    markers = dict(zip(("start", "end"), _TOOL_CALL, strict=True))
    return {"convention": "qwen25", "markers": markers, "args_format": "json", "result_format": "text"}


def byte_fallback(vocab: Mapping[str, int]) -> dict[str, int]:
    """Return the fields for the ids of `<0x00>` to `<0xFF>`; empty where the vocabulary has none of them.

    Raises:
        MapBuildError: it has some of them, or they do not follow each other.
    """
    ids = [vocab.get(f"<0x{byte:02X}>") for byte in range(256)]
    start = next((token_id - byte for byte, token_id in enumerate(ids) if token_id is not None), None)
    for byte in range(128):  # no character beyond ASCII is one byte
        # Some files spell one by its character, which then has the id between its neighbours'.
        if ids[byte] is None and start is not None and vocab.get(chr(byte)) == start + byte:
            ids[byte] = start + byte
    if all(token_id is None for token_id in ids):
        return {}
    if start is None or ids != list(range(start, start + 256)):
        raise MapBuildError("the byte-fallback tokens <0x00> to <0xFF> are not 256 ids in a row")
    return {"byte_fallback_start": start, "byte_fallback_end": start + 255}
