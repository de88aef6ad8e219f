"""A map from the tokenizer section of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from codec_core.building.document import byte_fallback, write_document
from codec_core.building.gguf_reader import read_gguf_metadata
from codec_core.building.pre_tokenizers import GPT_2_PATTERN
from codec_core.exceptions import MapBuildError
from codec_core.programs import ProgramV1, ops_of_pattern

_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6
_SPECIAL_TYPES = frozenset({_UNKNOWN, _CONTROL, _USER_DEFINED})
"""Token types of GGUF that plain text never becomes."""


@dataclass(frozen=True, slots=True)
class _Family:
    """What a pre-tokenizer's name in a GGUF file stands for."""

    pattern: str
    normalizer: str = "none"
    ignore_merges: bool = False


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA_3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN_2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"

FAMILIES: Mapping[str, _Family] = {
    "gpt-2": _Family(GPT_2_PATTERN),
    "llama-bpe": _Family(_LLAMA_3, ignore_merges=True),
    "llama3": _Family(_LLAMA_3, ignore_merges=True),
    "dbrx": _Family(_LLAMA_3),
    "qwen2": _Family(_QWEN_2, normalizer="nfc"),
}
"""By `tokenizer.ggml.pre`; a name that is not here is refused, because its pattern stands in no file."""


def build_from_gguf(path: str | Path, *, map_id: str) -> bytes:
    """Return the bytes of a map that encodes as the model in a GGUF file does.

    Byte-level (`gpt2`) and SentencePiece BPE (`llama`) tokenizers are read. The pattern of a byte-level one
    is known by the name of its pre-tokenizer.

    Raises:
        MapBuildError: the file is damaged, or its tokenizer is of another kind.
    """
    found = read_gguf_metadata(path, lambda key: key.startswith("tokenizer."))
    kind = found.get("tokenizer.ggml.model")
    build = _KINDS.get(str(kind))
    if build is None:
        known = ", ".join(_KINDS)
        raise MapBuildError(f"{path}: the tokenizer {kind!r} has no form in a map; read are {known}")
    tokens = found.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise MapBuildError(f"{path}: there is no list of tokens in the file")
    return build(map_id, _numbered(tokens), found)


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    """Return the ids of the tokens; of two that are spelled alike, the first one counts."""
    vocab: dict[str, int] = {}
    for number, token in enumerate(tokens):
        vocab.setdefault(token, number)
    return vocab


def _special(vocab: Mapping[str, int], found: Mapping[str, Any]) -> dict[str, int]:
    types = found.get("tokenizer.ggml.token_type") or []
    return {t: n for t, n in vocab.items() if n < len(types) and types[n] in _SPECIAL_TYPES}


def _byte_level(map_id: str, vocab: Mapping[str, int], found: Mapping[str, Any]) -> bytes:
    name = found.get("tokenizer.ggml.pre", "gpt-2")
    family = FAMILIES.get(name)
    if family is None:
        known = ", ".join(FAMILIES)
        raise MapBuildError(
            f"the pre-tokenizer {name!r} is not known, only {known}; build from the model's tokenizer.json"
        )
    ops = ops_of_pattern(family.pattern)
    return write_document(
        map_id,
        vocab,
        _special(vocab, found),
        encoder="byte_level",
        merges=found.get("tokenizer.ggml.merges") or [],
        pre_tokenizer_pattern=family.pattern,
        pre_tokenizer_program=None if ops is None else msgspec.to_builtins(ProgramV1(ops)),
        normalizer=family.normalizer,
        ignore_merges=family.ignore_merges,
        chat_template=found.get("tokenizer.chat_template"),
    )


def _sentencepiece(map_id: str, vocab: Mapping[str, int], found: Mapping[str, Any]) -> bytes:
    special = _special(vocab, found)
    scores = found.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) < len(vocab):
        raise MapBuildError("a SentencePiece tokenizer needs a score for each token")
    prefixed = found.get("tokenizer.ggml.add_space_prefix", True)
    return write_document(
        map_id,
        vocab,
        special,
        encoder="metaspace",
        merges=list(_merges_by_score(vocab, special, scores)),
        **byte_fallback(vocab),
        metaspace_prefix="always" if prefixed else "never",
        normalizer="none",
        chat_template=found.get("tokenizer.chat_template"),
    )


def _merges_by_score(
    vocab: Mapping[str, int], special: Mapping[str, int], scores: Sequence[float]
) -> Iterator[str]:
    """Yield all pairs of tokens that make a token, best score first: SentencePiece merges by the result."""
    ordinary = {token: number for token, number in vocab.items() if token not in special}
    for token, _ in sorted(ordinary.items(), key=lambda item: (-scores[item[1]], item[1])):
        for cut in range(1, len(token)):
            if token[:cut] in ordinary and token[cut:] in ordinary:
                yield f"{token[:cut]} {token[cut:]}"


_KINDS = {"gpt2": _byte_level, "llama": _sentencepiece}
