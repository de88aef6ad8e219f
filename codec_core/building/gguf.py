"""A map from the tokenizer section of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from codec_core.building.added_tokens import added_fields
from codec_core.building.document import byte_fallback, check_length, write_document
from codec_core.building.gguf_reader import read_gguf_metadata
from codec_core.building.pre_tokenizers import GPT_2_PATTERN
from codec_core.building.steps import AddedToken
from codec_core.exceptions import MapBuildError
from codec_core.maps import MAX_MAP_VALUES
from codec_core.pretokenizer import ops_of_pattern
from codec_core.pretokenizer_program import ProgramV1

_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6
_ADDED_TYPES = frozenset({_UNKNOWN, _CONTROL, _USER_DEFINED})
"""Token types of GGUF that are found in text before anything else. Those that users define are text."""


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


class _Section(msgspec.Struct, frozen=True):
    """The tokenizer's section of the metadata."""

    model: str = msgspec.field(name="tokenizer.ggml.model", default="")
    pre: str = msgspec.field(name="tokenizer.ggml.pre", default="gpt-2")
    tokens: list[str] = msgspec.field(name="tokenizer.ggml.tokens", default=[])
    token_type: list[int] = msgspec.field(name="tokenizer.ggml.token_type", default=[])
    merges: list[str] = msgspec.field(name="tokenizer.ggml.merges", default=[])
    scores: list[float] = msgspec.field(name="tokenizer.ggml.scores", default=[])
    add_space_prefix: bool = msgspec.field(name="tokenizer.ggml.add_space_prefix", default=True)
    chat_template: str | None = msgspec.field(name="tokenizer.chat_template", default=None)


def build_from_gguf(path: str | Path, *, map_id: str) -> bytes:
    """Return the bytes of a map that encodes as the model in a GGUF file does.

    Byte-level (`gpt2`) and SentencePiece BPE (`llama`) tokenizers are read. The pattern of a byte-level one
    is known by the name of its pre-tokenizer.

    Raises:
        MapBuildError: the file is damaged, or its tokenizer is of another kind.
    """
    wanted = {field.encode_name for field in msgspec.structs.fields(_Section)}
    found = read_gguf_metadata(path, wanted.__contains__)
    try:
        section = msgspec.convert(found, _Section)
    except msgspec.ValidationError as error:
        raise MapBuildError(f"{path}: the tokenizer is malformed: {error}") from None
    build = _KINDS.get(section.model)
    if build is None:
        known = ", ".join(_KINDS)
        raise MapBuildError(f"{path}: the tokenizer {section.model!r} has no form in a map; read are {known}")
    if not section.tokens:
        raise MapBuildError(f"{path}: there is no list of tokens in the file")
    return build(map_id, _numbered(section.tokens), section)


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    """Return the ids of the tokens; of two that are spelled alike, the first one counts."""
    vocab: dict[str, int] = {}
    for number, token in enumerate(tokens):
        vocab.setdefault(token, number)
    return vocab


def _added(vocab: Mapping[str, int], section: _Section) -> list[AddedToken]:
    types = section.token_type
    return [
        AddedToken(number, token, special=types[number] != _USER_DEFINED)
        for token, number in vocab.items()
        if number < len(types) and types[number] in _ADDED_TYPES
    ]


def _byte_level(map_id: str, vocab: Mapping[str, int], section: _Section) -> bytes:
    family = FAMILIES.get(section.pre)
    if family is None:
        known = ", ".join(FAMILIES)
        raise MapBuildError(
            f"the pre-tokenizer {section.pre!r} is not known, only {known}; "
            "build from the model's tokenizer.json"
        )
    ops = ops_of_pattern(family.pattern)
    made = {merge.replace(" ", "") for merge in section.merges}
    control, _, described = added_fields(_added(vocab, section), made, section.chat_template)
    return write_document(
        map_id,
        vocab,
        control,
        **described,
        encoder="byte_level",
        merges=section.merges,
        pre_tokenizer_pattern=family.pattern,
        pre_tokenizer_program=None if ops is None else msgspec.to_builtins(ProgramV1(ops)),
        normalizer=family.normalizer,
        ignore_merges=family.ignore_merges,
        chat_template=section.chat_template,
    )


def _sentencepiece(map_id: str, vocab: Mapping[str, int], section: _Section) -> bytes:
    control, _, described = added_fields(_added(vocab, section), vocab, section.chat_template)
    if len(section.scores) < len(section.tokens):
        raise MapBuildError("a SentencePiece tokenizer needs a score for each token")
    return write_document(
        map_id,
        vocab,
        control,
        **described,
        encoder="metaspace",
        merges=_bounded(_merges_by_score(vocab, control, section.scores)),
        **byte_fallback(vocab),
        metaspace_prefix="always" if section.add_space_prefix else "never",
        normalizer="none",
        chat_template=section.chat_template,
    )


def _bounded(merges: Iterator[str]) -> list[str]:
    found = list(islice(merges, MAX_MAP_VALUES))
    if len(found) == MAX_MAP_VALUES:
        raise MapBuildError(f"the tokens can be made in more than {MAX_MAP_VALUES} ways, too many for a map")
    return found


def _merges_by_score(
    vocab: Mapping[str, int], special: Mapping[str, int], scores: Sequence[float]
) -> Iterator[str]:
    """Yield all pairs of tokens that make a token, best score first: SentencePiece merges by the result."""
    ordinary = {token: number for token, number in vocab.items() if token not in special}
    for token, _ in sorted(ordinary.items(), key=lambda item: (-scores[item[1]], item[1])):
        check_length(token)
        for cut in range(1, len(token)):
            if token[:cut] in ordinary and token[cut:] in ordinary:
                yield f"{token[:cut]} {token[cut:]}"


_KINDS = {"gpt2": _byte_level, "llama": _sentencepiece}
