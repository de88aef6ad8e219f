"""A map from a SentencePiece `.model`.

The file is a protobuf message. Only the fields that say how text is encoded are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec_core.building.added_tokens import added_fields, is_control
from codec_core.building.document import MAX_TOKENS, byte_fallback, check_tokens, read_source, write_document
from codec_core.building.normalizer_rules import rules_fields
from codec_core.building.scored_merges import merges_by_score
from codec_core.building.steps import AddedToken
from codec_core.building.verification import verify
from codec_core.exceptions import MapBuildError
from codec_core.merging.unigram import single, unknown_score
from codec_core.vocabulary import METASPACE

# The numbers of `sentencepiece_model.proto`: messages of a model, their fields, types of pieces and models.
_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _SPACE_AS_SUFFIX = 3, 24
_CHARSMAP, _DUMMY_PREFIX, _EXTRA_SPACE, _ESCAPES = 2, 3, 4, 5
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_UNIGRAM, _BPE = 1, 2
_KINDS = {1: "unigram", 2: "BPE", 3: "word", 4: "char"}
_SYMBOL_BONUS = 0.1
"""How much each byte of a user's symbol but the first counts where scores are summed."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value = int | bytes


@dataclass(frozen=True, slots=True)
class SentencePieceModel:
    """The fields of a model file that say how it encodes."""

    pieces: list[tuple[str, float, int]]
    kind: int
    space_behind: bool
    charsmap: bytes
    prefix: bool
    collapses: bool
    escapes: bool


def build_from_sentencepiece(path: str | Path, *, map_id: str) -> bytes:
    """Return the bytes of a map that encodes as SentencePiece does with a `.model` of BPE or of unigrams.

    Raises:
        MapBuildError: the file is damaged, or does something that a map cannot say.
    """
    model = read_model(path)
    _check(model, path)
    vocab = {piece: number for number, (piece, _, _) in enumerate(model.pieces)}
    if len(vocab) != len(model.pieces):
        raise MapBuildError(f"{path}: a piece is listed twice")
    symbols = [piece for piece, _, kind in model.pieces if kind == _USER_DEFINED]
    control, text, described = added_fields(_added(model), (), None)
    # The user's symbols are cut out of a text before anything merges, so no merge makes one.
    how: dict[str, Any] = (
        {"unigram": _scores(model, path)}
        if model.kind == _UNIGRAM
        else {"merges": merges_by_score(vocab, control | text, [score for _, score, _ in model.pieces])}
    )
    data = write_document(
        map_id,
        vocab,
        control,
        **described,
        encoder="metaspace",
        **how,
        **byte_fallback({piece: n for n, (piece, _, kind) in enumerate(model.pieces) if kind == _BYTE}),
        metaspace_prefix="always" if model.prefix else "never",
        **_normalizer(model, path, symbols),
    )
    verify(data)
    return data


def _added(model: SentencePieceModel) -> Iterator[AddedToken]:
    """Yield the tokens that are found in text before anything else.

    Of unigrams, the user's symbols are none: their scores decide. One whose name is a control token's is.
    """
    for number, (piece, _, kind) in enumerate(model.pieces):
        if kind in (_UNKNOWN, _CONTROL):
            yield AddedToken(piece, id=number)
        elif kind == _USER_DEFINED:
            # Symbols are text, which SentencePiece looks for in text whose spaces are marked.
            symbol = AddedToken(piece, id=number, special=False, normalized=True, as_spelled=True)
            if model.kind == _BPE or is_control(symbol, None):
                yield symbol


def _scores(model: SentencePieceModel, path: str | Path) -> Mapping[str, Any]:
    """Return the scores of a unigram model as SentencePiece 0.2.3 sums them, in 32 bits.

    A symbol of the user counts more than 0, by its length in bytes, so that nearly nothing outweighs it.

    Raises:
        MapBuildError: there is no ordinary piece.
    """
    scores = [
        single(_SYMBOL_BONUS * (len(piece.encode()) - 1)) if kind == _USER_DEFINED else score
        for piece, score, kind in model.pieces
    ]
    normal = [score for _, score, kind in model.pieces if kind == _NORMAL]
    if not normal:
        raise MapBuildError(f"{path}: there is no ordinary piece in the file")
    return {"scores": scores, "precision": "single", "unknown": unknown_score(normal)}


def _normalizer(model: SentencePieceModel, path: str | Path, symbols: Sequence[str]) -> Mapping[str, Any]:
    """Return the fields for the rules of a model.

    Raises:
        MapBuildError: the rules are damaged, or do something that a map cannot say.
    """
    if not (model.charsmap or model.collapses):
        return {"normalizer": "none"}
    # The model keeps the spaces of a symbol, which the rule that collapses spaces would not.
    if any(" " in symbol for symbol in symbols):
        raise MapBuildError(
            f"{path}: user-defined symbols with spaces have no form in a map beside rules of normalization"
        )
    # Decoding leaves out one U+2581 of each piece that a text begins with.
    if model.collapses and any(piece.startswith(METASPACE * 2) for piece, _, _ in model.pieces):
        raise MapBuildError(f"{path}: pieces with more than one U+2581 before them have no form in a map")
    try:
        return rules_fields(model.charsmap, collapses=model.collapses, prefix=model.prefix, symbols=symbols)
    except MapBuildError as error:
        raise MapBuildError(f"{path}: {error}") from None


def _check(model: SentencePieceModel, path: str | Path) -> None:
    """Refuse what a map cannot say.

    Raises:
        MapBuildError: the reason.
    """
    reasons: Mapping[str, bool] = {
        f"a model of type {_KINDS.get(model.kind, model.kind)}": model.kind not in (_UNIGRAM, _BPE),
        "a model that keeps spaces as they are": not model.escapes,
        "a model that puts the mark of a space behind words": model.space_behind,
        "a model with unused pieces": any(kind == _UNUSED for _, _, kind in model.pieces),
    }
    for reason, holds in reasons.items():
        if holds:
            raise MapBuildError(f"{path}: {reason} has no form in a map")
    if not any(METASPACE in piece for piece, _, _ in model.pieces):
        raise MapBuildError(f"{path}: there are no pieces with U+2581 for a space")


def read_model(path: str | Path, *, max_tokens: int = MAX_TOKENS) -> SentencePieceModel:
    """Read the fields of a model that say how text is encoded.

    Raises:
        MapBuildError: the file is no model, or has more than `max_tokens` pieces.
    """
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Value] = {}
    rules: dict[int, Value] = {}
    data = read_source(path)
    try:
        for number, value in _fields(data):
            if number == _PIECE:
                # As they come: an empty one takes two bytes of a file.
                check_tokens(len(pieces) + 1, path, most=max_tokens)
                pieces.append(_piece(_content(value)))
            elif number == _TRAINER:  # of a message that is there twice, the fields are joined
                trainer |= _some(value, _MODEL_TYPE, _SPACE_AS_SUFFIX)
            elif number == _NORMALIZER:
                rules |= _some(value, _CHARSMAP, _DUMMY_PREFIX, _EXTRA_SPACE, _ESCAPES)
        # What the file leaves out has the defaults of `sentencepiece_model.proto`.
        model = SentencePieceModel(
            pieces,
            kind=_number(trainer.get(_MODEL_TYPE, _UNIGRAM)),
            space_behind=bool(_number(trainer.get(_SPACE_AS_SUFFIX, 0))),
            charsmap=_content(rules.get(_CHARSMAP, b"")),
            prefix=bool(_number(rules.get(_DUMMY_PREFIX, 1))),
            collapses=bool(_number(rules.get(_EXTRA_SPACE, 1))),
            escapes=bool(_number(rules.get(_ESCAPES, 1))),
        )
    except (ValueError, struct.error, IndexError) as error:
        raise MapBuildError(f"{path} is no SentencePiece model: {error}") from None
    if not model.pieces:
        raise MapBuildError(f"{path} is no SentencePiece model: it has no pieces")
    return model


def _piece(data: bytes) -> tuple[str, float, int]:
    fields = _some(data, _TEXT, _SCORE, _TYPE)
    (score,) = struct.unpack("<f", _content(fields.get(_SCORE, bytes(4))))
    return _text(fields.get(_TEXT, b"")), score, _number(fields.get(_TYPE, _NORMAL))


def _some(message: Value, *numbers: int) -> dict[int, Value]:
    """Return these fields of a message, the last of each: others take no memory, however many there are."""
    return {number: value for number, value in _fields(_content(message)) if number in numbers}


def _content(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field is of another type")
    return value


def _text(value: Value) -> str:
    return _content(value).decode()


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("a field is of another type")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield the number of each field of a message, and its value; numbers of fixed size as their bytes."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, place = _varint(data, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {kind} at byte {place}")
        if place + size > len(data):
            raise ValueError(f"the file ends where {size} bytes should follow, at byte {place}")
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number of more than ten bytes, at byte {place}")
