"""Write the document of a map, and read the files that it is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec_core.discovery.documents import check_id
from codec_core.exceptions import MapBuildError, TokenizerMapValidationError
from codec_core.maps import MAX_MAP_BYTES, MAX_MAP_VALUES, parse_map
from codec_core.tokenizer import pick_tokenizer

MAX_SOURCE_BYTES = 2 * MAX_MAP_BYTES
"""The largest tokenizer files state each merge as a pair and indent it, which about doubles their size."""

MAX_TOKEN_LENGTH = 512
"""Characters of one token where its parts are looked for: all ways of dividing it are tried. Runs of 128
spaces are the longest in known vocabularies."""

_TOOL_CALL = ("<tool_call>", "</tool_call>")


def read_source(path: str | Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        MapBuildError: it cannot be read, or is larger than any tokenizer file.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_SOURCE_BYTES:
            raise MapBuildError(f"{path} has {size} bytes; a tokenizer file has at most {MAX_SOURCE_BYTES}")
        return path.read_bytes()
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
        MapBuildError: there are more than twice as many as a map may have, since files list pairs.
    """
    most = 2 * MAX_MAP_VALUES
    if data.count(b",") > most:
        raise MapBuildError(f"{path} has more than {most} values; no tokenizer file has as many")


def write_document(map_id: str, vocab: Mapping[str, int], special: Mapping[str, int], **fields: Any) -> bytes:
    """Return the bytes of a map: the same input gives the same bytes, so the same hash.

    Args:
        map_id: `org/family`.
        vocab: All tokens, special ones included.
        special: The special tokens.
        fields: The other fields; those that are None are left out.

    Raises:
        MapBuildError: what was read does not make a valid map, or nobody could discover one of this id.
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
        pick_tokenizer(parse_map(data))
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
    for byte in range(128):
        # Some files spell one by its character, which then has the id between its neighbours'.
        if ids[byte] is None and start is not None and vocab.get(chr(byte)) == start + byte:
            ids[byte] = start + byte
    if all(token_id is None for token_id in ids):
        return {}
    if start is None or ids != list(range(start, start + 256)):
        raise MapBuildError("the byte-fallback tokens <0x00> to <0xFF> are not 256 ids in a row")
    return {"byte_fallback_start": start, "byte_fallback_end": start + 255}
