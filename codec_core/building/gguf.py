"""A map from the tokenizer section of a GGUF file, which encodes as llama.cpp does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from codec_core.building.added_tokens import added_fields
from codec_core.building.document import byte_fallback, check_tokens, write_document
from codec_core.building.gguf_control import is_control_by_name
from codec_core.building.gguf_families import FAMILIES, REFUSED, Family
from codec_core.building.gguf_reader import read_gguf_metadata
from codec_core.building.gguf_symbols import check_order
from codec_core.building.gguf_unigrams import rule_fields, unigram_fields
from codec_core.building.pre_tokenizers import isolating, program_fields
from codec_core.building.scored_merges import merges_by_score
from codec_core.building.steps import AddedToken
from codec_core.building.verification import verify
from codec_core.exceptions import MapBuildError
from codec_core.maps import parse_map
from codec_core.tokenizer import pick_tokenizer

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_ADDED_TYPES = frozenset({_UNKNOWN, _CONTROL, _USER_DEFINED})
"""Token types of GGUF that are found in text before anything else. Those that users define are text."""


class _Section(msgspec.Struct, frozen=True):
    """The tokenizer's section of the metadata."""

    name: str = msgspec.field(name="general.name", default="")
    model: str = msgspec.field(name="tokenizer.ggml.model", default="")
    pre: str = msgspec.field(name="tokenizer.ggml.pre", default="default")
    tokens: list[str] = msgspec.field(name="tokenizer.ggml.tokens", default=[])
    token_type: list[int] = msgspec.field(name="tokenizer.ggml.token_type", default=[])
    merges: list[str] = msgspec.field(name="tokenizer.ggml.merges", default=[])
    scores: list[float] = msgspec.field(name="tokenizer.ggml.scores", default=[])
    add_space_prefix: bool | None = msgspec.field(name="tokenizer.ggml.add_space_prefix", default=None)
    merges_spaces: bool | None = msgspec.field(name="tokenizer.ggml.remove_extra_whitespaces", default=None)
    charsmap: list[int] = msgspec.field(name="tokenizer.ggml.precompiled_charsmap", default=[])
    chat_template: str | None = msgspec.field(name="tokenizer.chat_template", default=None)


@dataclass(frozen=True, slots=True)
class _Stripping:
    """Which added tokens take white space beside them; no file states it.

    Attributes:
        side: `lstrip` or `rstrip`.
        names: these tokens.
        but: all added tokens but these, where it is not empty.
    """

    side: str
    names: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()

    def takes_space(self, token: str, *, is_added: bool) -> bool:
        """Return whether a token takes white space."""
        return token in self.names or (bool(self.but) and is_added and token not in self.but)


def _stripping(section: _Section) -> _Stripping:
    """Return which added tokens take white space; llama.cpp tells the few models with any by their names."""
    name = section.name.lower()
    if section.pre in ("jina-v2-de", "jina-v2-es", "jina-v2-code"):
        return _Stripping("lstrip", frozenset({"<mask>"}))
    if "phi-3" in name or "phi3" in name:
        return _Stripping("rstrip", frozenset({"</s>"}), frozenset({"<unk>", "<s>", "<|endoftext|>"}))
    if "modern-bert" in name:
        return _Stripping("lstrip", frozenset({"[MASK]"}))
    return _Stripping("lstrip")


def build_from_gguf(path: str | Path, *, map_id: str) -> bytes:
    """Return the bytes of a map that encodes as llama.cpp does with a GGUF file.

    Byte-level BPE (`gpt2`), SentencePiece BPE (`llama`), BPE over characters (`gemma4`) and unigrams (`t5`)
    are read. How byte-level BPE cuts text is known by the name of its pre-tokenizer.

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
        reason = REFUSED.get(section.model, f"read are {', '.join(_KINDS)}")
        raise MapBuildError(f"{path}: the tokenizer {section.model!r} has no form in a map: {reason}")
    if not section.tokens:
        raise MapBuildError(f"{path}: there is no list of tokens in the file")
    check_tokens(len(section.tokens), path)
    if 0 < len(section.token_type) < len(section.tokens):
        raise MapBuildError(
            f"{path}: there are {len(section.token_type)} types for {len(section.tokens)} tokens"
        )
    check_order(
        token
        for token, kind in zip(section.tokens, section.token_type, strict=False)  # there may be no types
        if kind == _USER_DEFINED
    )
    data = build(map_id, _numbered(section.tokens), section)
    verify(data)
    # Maps of scores have no family: llama.cpp cuts no text before SentencePiece.
    if section.model not in ("llama", "t5") and _family(section).keeps_newlines:
        _check_newlines(data, section.tokens)
    return data


def _check_newlines(data: bytes, tokens: Iterable[str]) -> None:
    """Refuse a map that does not make a run of newlines one token where there is one for it."""
    tokenizer = pick_tokenizer(parse_map(data))
    for token in tokens:
        if token and not token.strip("\n") and len(tokenizer.encode_ordinary(token)) != 1:
            raise MapBuildError(
                f"the merges do not make the token of {len(token)} newlines: a map cannot say it"
            )


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    """Return the ids of the tokens.

    Raises:
        MapBuildError: two are spelled alike, so that llama.cpp does not load the file.
    """
    vocab: dict[str, int] = {}
    for number, token in enumerate(tokens):
        name = token or f"[EMPTY_{number}]"  # as llama.cpp names it
        if vocab.setdefault(name, number) != number:
            raise MapBuildError(f"the tokens {vocab[name]} and {number} are spelled alike: {name!r}")
    return vocab


def _described(
    vocab: Mapping[str, int], made: Iterable[str], section: _Section
) -> tuple[dict[str, int], Mapping[str, Any]]:
    """Return the control tokens, and the fields that describe all added tokens."""
    stripping, types = _stripping(section), section.token_type
    added = []
    for token, number in vocab.items():
        kind = types[number] if types else 0  # a file may leave them out: all tokens are ordinary
        named = is_control_by_name(token, vocab)
        # An ordinary token takes no white space either: llama.cpp does not look for it in text.
        if kind in _ADDED_TYPES or named:
            strips = stripping.takes_space(token, is_added=kind in _ADDED_TYPES)
            flags = {stripping.side: True} if strips else {}
            added.append(AddedToken(token, id=number, special=named or kind != _USER_DEFINED, **flags))
    control, _, described = added_fields(added, made, section.chat_template)
    return control, described


def _family(section: _Section) -> Family:
    family = FAMILIES.get("gemma4" if section.model == "gemma4" else section.pre)
    if family is None:
        reason = REFUSED.get(section.pre, "it is not known; build from the model's tokenizer.json")
        raise MapBuildError(f"the pre-tokenizer {section.pre!r} has no form in a map: {reason}")
    return family


def _merged(map_id: str, vocab: Mapping[str, int], section: _Section) -> bytes:
    """Build from a list of merges."""
    family = _family(section)
    if not section.merges:
        raise MapBuildError("a BPE tokenizer needs its list of merges")
    # A file lists added tokens among all others: only a merge shows that text may become one of them too.
    made = {merge.replace(" ", "") for merge in section.merges}
    control, described = _described(vocab, made, section)
    stages = [isolating(cut) if isinstance(cut, str) else cut for cut in family.cuts]
    fields = program_fields(stages)
    # Beside the program, as published maps have both.
    if len(family.cuts) == 1 and isinstance(family.cuts[0], str):
        fields["pre_tokenizer_pattern"] = family.cuts[0]
    if family.marks_spaces:  # llama.cpp puts a space before texts that it merges by scores, not before these
        fields |= {"metaspace_prefix": "never", **byte_fallback(vocab)}
    return write_document(
        map_id,
        vocab,
        control,
        **described,
        encoder="metaspace" if family.marks_spaces else "byte_level",
        merges=section.merges,
        **fields,
        normalizer="none",  # llama.cpp normalizes no text before BPE
        missing_bytes="apart",  # and does not merge across a byte without a token
        ignore_merges=family.ignores_merges,
        chat_template=section.chat_template,
    )


def _scored(map_id: str, vocab: Mapping[str, int], section: _Section) -> bytes:
    """Build from scores: what SentencePiece calls BPE."""
    # All tokens are in the model: by scores, two tokens merge into whatever token they spell.
    control, described = _described(vocab, vocab, section)
    # llama.cpp takes a token's score by its id, and none behind the last token.
    if len(section.scores) < len(section.tokens):
        raise MapBuildError("a SentencePiece tokenizer needs a score for each token")
    return write_document(
        map_id,
        vocab,
        control,
        **described,
        encoder="metaspace",
        merges=merges_by_score(vocab, control, section.scores),
        **byte_fallback(vocab),  # llama.cpp finds them by name, whatever type the file gives them
        # llama.cpp puts a space before the text where the file does not state it.
        metaspace_prefix="never" if section.add_space_prefix is False else "always",
        # Whatever `charsmap` and `merges_spaces` say: llama.cpp heeds them for unigrams, and merges here text
        # as it is.
        normalizer="none",
        chat_template=section.chat_template,
    )


def _unigrams(map_id: str, vocab: Mapping[str, int], section: _Section) -> bytes:
    """Build from scores: what SentencePiece calls unigrams."""
    # All tokens are in the model: the scores divide text into any of them.
    control, described = _described(vocab, vocab, section)
    return write_document(
        map_id,
        vocab,
        control,
        **described,
        encoder="metaspace",
        **unigram_fields(section.tokens, section.token_type, section.scores),
        **rule_fields(section.charsmap, section.merges_spaces, section.add_space_prefix),
        chat_template=section.chat_template,
    )


_KINDS = {"gpt2": _merged, "gemma4": _merged, "llama": _scored, "t5": _unigrams}
