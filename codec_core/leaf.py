"""Tool results that arrive tokenized.

A text block may carry `_meta: {"ai.codec/leaf-tokenization": {"map_id": "sha256:<hex>", "ids": [..]}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

from codec_core.exceptions import (
    CONVERSION_ERRORS,
    FrameEncodeError,
    LeafMapMismatchError,
    LeafTokenizationError,
)
from codec_core.frames.encoder import check_ids
from codec_core.frames.frame import TokenId

LEAF_TOKENIZATION = "ai.codec/leaf-tokenization"
"""The key in a text block's `_meta`."""

MapHash = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]


class LeafTokenization(msgspec.Struct, frozen=True):
    """The ids of a text, and the map they belong to."""

    map_id: MapHash
    ids: tuple[TokenId, ...]


def read_leaf(meta: Mapping[str, Any] | None) -> LeafTokenization | None:
    """Return the tokenization in a block's `_meta`, or None.

    Raises:
        LeafTokenizationError: the tokenization does not have the protocol's form.
    """
    raw = (meta or {}).get(LEAF_TOKENIZATION)
    if raw is None:
        return None
    try:
        return msgspec.convert(raw, LeafTokenization)
    except CONVERSION_ERRORS as error:
        raise LeafTokenizationError(f"{LEAF_TOKENIZATION}: {error}") from None


def leaf_ids(
    meta: Mapping[str, Any] | None, map_hash: str | None, *, mismatch: Literal["error", "text"] = "error"
) -> tuple[int, ...] | None:
    """Return the ids that a reader with this map may use as they are; None to use the text.

    Args:
        meta: the block's `_meta`.
        map_hash: the hash of the reader's map.
        mismatch: what to do with ids of another map: raise, or use the text.

    Raises:
        LeafMapMismatchError: the ids belong to another map, and `mismatch` is `error`.
        LeafTokenizationError: the tokenization does not have the protocol's form.
    """
    leaf = read_leaf(meta)
    if leaf is None:
        return None
    if leaf.map_id == map_hash:
        return leaf.ids
    if mismatch == "text":
        return None
    raise LeafMapMismatchError(map_hash, leaf.map_id)


def write_leaf(map_hash: str, ids: Iterable[int]) -> dict[str, Any]:
    """Return the `_meta` of a text block that carries its own tokenization.

    Raises:
        LeafTokenizationError: the hash is none, or an id is out of range.
    """
    try:
        meta = {LEAF_TOKENIZATION: {"map_id": map_hash, "ids": list(check_ids(ids))}}
    except FrameEncodeError as error:
        raise LeafTokenizationError(str(error)) from None
    read_leaf(meta)  # refuses a hash of the wrong form: a map made in memory has none
    return meta
