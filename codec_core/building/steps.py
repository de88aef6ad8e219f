"""The parts of a `tokenizer.json`, typed as they are read: what has another form is refused by its place."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Merge = str | tuple[str, str]


class DecoderToken(msgspec.Struct, frozen=True):
    """An added token as `tokenizer_config.json` lists it, by its id."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = True  # files state it; one that does not is read as the safer of the two


class AddedToken(DecoderToken, frozen=True, kw_only=True):
    """A token that is found in the text before anything else."""

    id: int
    as_spelled: bool = False  # no file states it; SentencePiece looks for symbols in marked text


class NormalizerStep(msgspec.Struct, frozen=True):
    """A normalizer, or a sequence of them."""

    type: str
    normalizers: tuple[NormalizerStep, ...] = ()
    prepend: str | None = None
    pattern: dict[str, str] = {}
    content: str | None = None
    strip_left: bool = True
    strip_right: bool = True
    precompiled_charsmap: str | None = None


class PreTokenizerStep(msgspec.Struct, frozen=True):
    """A pre-tokenizer, or a sequence of them; the defaults are those of files that leave a field out."""

    type: str
    pretokenizers: tuple[PreTokenizerStep, ...] = ()
    pattern: dict[str, str] = {}
    behavior: str | None = None
    invert: bool = False
    use_regex: bool = True
    individual_digits: bool = False
    replacement: str | None = None
    split: bool = True
    add_prefix_space: bool | None = None
    prepend_scheme: Literal["always", "first", "never"] | None = None


class BpeModel(msgspec.Struct, frozen=True):
    """A model of merges; an older file that does not say its kind is one only if it has them."""

    vocab: dict[str, int]
    merges: list[Merge]
    byte_fallback: bool = False
    ignore_merges: bool = False
    dropout: float | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None


class UnigramModel(msgspec.Struct, frozen=True):
    """A model of pieces and their scores, whose ids are their places."""

    vocab: list[tuple[str, float]]
    unk_id: int | None = None
    byte_fallback: bool = False


class ModelKind(msgspec.Struct, frozen=True):
    """The kind of a model. Older files do not state it for BPE."""

    type: str = "BPE"


class TokenizerFile(msgspec.Struct, frozen=True):
    """A tokenizer file. The model is read once its kind is known."""

    model: msgspec.Raw
    added_tokens: tuple[AddedToken, ...] = ()
    normalizer: NormalizerStep | None = None
    pre_tokenizer: PreTokenizerStep | None = None


class TokenizerConfig(msgspec.Struct, frozen=True):
    """The parts of a `tokenizer_config.json` that are used."""

    added_tokens_decoder: dict[int, DecoderToken] = {}
    chat_template: Any = None
