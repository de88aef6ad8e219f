"""A map from a Hugging Face `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from codec_core.building.added_tokens import added_fields
from codec_core.building.document import (
    MAX_SMALL_BYTES,
    MAX_SOURCE_BYTES,
    byte_fallback,
    check_tokens,
    check_values,
    pad_scores,
    read_source,
    write_document,
)
from codec_core.building.normalizers import Normalizer
from codec_core.building.pre_tokenizers import PreTokenizer, fields_of, steps_of
from codec_core.building.steps import (
    AddedToken,
    BpeModel,
    Merge,
    ModelKind,
    TokenizerConfig,
    TokenizerFile,
    UnigramModel,
)
from codec_core.building.verification import reference_of, verify
from codec_core.exceptions import DECODE_ERRORS, MapBuildError

CONFIG_NAME = "tokenizer_config.json"
"""Lies beside a tokenizer file, and holds the chat template and, of some models, further added tokens."""

TEMPLATE_NAME = "chat_template.jinja"
"""Lies beside both where the chat template is a file of its own."""

MAX_ADDED = 32_768
"""Added tokens; the largest known file has 6,415. All are looked for at once, at every place of a text."""

_BY_TEXT = "a model with this tokenizer can be used through a text API, with the map of another tokenizer"
"""What to do where no map can be exact."""

Content = TypeVar("Content")


def build_from_tokenizer_json(path: str | Path, *, map_id: str, config: str | Path | None = None) -> bytes:
    """Return the bytes of a map that encodes as the tokenizer file does.

    Args:
        path: A `tokenizer.json` with a BPE or Unigram model.
        map_id: The id of the map, `org/family`.
        config: A `tokenizer_config.json`; the one beside the file when left out, if there is one.

    Raises:
        MapBuildError: the file is damaged, or does something that a map cannot say.
    """
    path = Path(path)
    source = _read(path, TokenizerFile)
    model = _model(path, source.model)
    beside = path.with_name(CONFIG_NAME)
    found = TokenizerConfig()
    if config or beside.exists():
        found = _read(Path(config or beside), TokenizerConfig, MAX_SMALL_BYTES)
    normalizer, pre_tokenizer = _steps(path, source)
    chat_template = _chat_template(found.chat_template, path.with_name(TEMPLATE_NAME))
    added = _added_tokens(source, found, model.vocab)
    control, text, described = added_fields(added, model.vocab, chat_template)
    if "unigram" in model.fields:  # a map has a score for every id, the model only for its own
        pad_scores(model.fields["unigram"]["scores"], [*control.values(), *text.values()])
    # Where U+2581 stands for spaces, maps are encoded by their merges alone.
    if model.fields.get("ignore_merges") and normalizer.marked:
        raise MapBuildError(f"{path}: ignore_merges where U+2581 stands for spaces has no form in a map")
    data = write_document(
        map_id,
        {**model.vocab, **text},
        control,
        encoder="metaspace" if normalizer.marked else "byte_level",
        **model.fields,
        **pre_tokenizer.fields,
        **normalizer.prefix,
        **({"metaspace_prefix": "always"} if pre_tokenizer.prefixes_space else {}),
        **(byte_fallback(model.vocab) if model.byte_fallback else {}),
        **normalizer.fields,
        **described,
        chat_template=chat_template,
    )
    # The reference would never come back from a pattern that takes exponential time; and it reads this file
    # alone, without the tokens that only the configuration lists.
    reference = reference_of(path) if pre_tokenizer.is_proven else None
    verify(data, reference, (token.content for token in source.added_tokens))
    return data


def _steps(path: Path, source: TokenizerFile) -> tuple[Normalizer, PreTokenizer]:
    steps = list(steps_of(source.pre_tokenizer))
    try:
        normalizer = Normalizer(source.normalizer, steps)
        return normalizer, fields_of(steps, marked=normalizer.marked)
    except MapBuildError as error:
        raise MapBuildError(f"{path}: {error}; {_BY_TEXT}") from None


def _read(path: Path, kind: type[Content], most: int = MAX_SOURCE_BYTES) -> Content:
    data = read_source(path, most)
    check_values(data, path)
    return _decode(data, kind, path)


def _decode(data: bytes | msgspec.Raw, kind: type[Content], path: Path) -> Content:
    try:
        return msgspec.json.decode(data, type=kind)
    except DECODE_ERRORS as error:
        raise MapBuildError(
            f"{path} is no {CONFIG_NAME if kind is TokenizerConfig else 'tokenizer.json'}: {error}"
        ) from error


class _Model(NamedTuple):
    """A model: its vocabulary, and how it makes tokens of a piece."""

    vocab: dict[str, int]
    byte_fallback: bool
    fields: dict[str, Any]


def _model(path: Path, raw: msgspec.Raw) -> _Model:
    kind = _decode(raw, ModelKind, path).type
    read = _MODELS.get(kind)
    if read is None:
        raise MapBuildError(
            f"{path}: the model is of type {kind!r}; maps are made from {' and '.join(_MODELS)}"
        )
    return read(path, raw)


def _bpe(path: Path, raw: msgspec.Raw) -> _Model:
    model = _decode(raw, BpeModel, path)
    check_tokens(len(model.vocab), path)
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if getattr(model, name):
            raise MapBuildError(f"{path}: a model with {name!r} has no form in a map")
    fields = {"merges": _merges(model.merges), "ignore_merges": model.ignore_merges}
    return _Model(model.vocab, model.byte_fallback, fields)


def _unigram(path: Path, raw: msgspec.Raw) -> _Model:
    model = _decode(raw, UnigramModel, path)
    check_tokens(len(model.vocab), path)
    vocab = {piece: number for number, (piece, _) in enumerate(model.vocab)}
    if len(vocab) != len(model.vocab):
        raise MapBuildError(f"{path}: a piece is listed twice")
    return _Model(vocab, model.byte_fallback, {"unigram": {"scores": [score for _, score in model.vocab]}})


_MODELS = {"BPE": _bpe, "Unigram": _unigram}


def _added_tokens(
    source: TokenizerFile, config: TokenizerConfig, vocab: Mapping[str, int]
) -> list[AddedToken]:
    """Return the added tokens of the file, and those that only its configuration has."""
    # Some configurations list again what the file has, under its id or another one. The file counts: a token
    # that is added to `tokenizers` once more keeps its id.
    stated = {token.id for token in source.added_tokens}
    named = {token.content for token in source.added_tokens}
    more = [
        AddedToken(**msgspec.structs.asdict(token), id=number)
        for number, token in config.added_tokens_decoder.items()
        if number not in stated and token.content not in named
    ]
    added = [*source.added_tokens, *more]
    if len(added) > MAX_ADDED:
        raise MapBuildError(f"{len(added)} added tokens; at most {MAX_ADDED} are read")
    for token in added:
        if vocab.get(token.content, token.id) != token.id:
            raise MapBuildError(
                f"the added token {token.content!r} has id {token.id}, "
                f"in the vocabulary {vocab[token.content]}"
            )
    return added


def _merges(merges: Sequence[Merge]) -> list[str]:
    """Return the merges as `left right`; newer files write them as pairs."""
    joined = []
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if len(pair) != 2 or not all(part and " " not in part for part in pair):
            raise MapBuildError(f"the merge {merge!r} is no pair of tokens")
        joined.append(" ".join(pair))
    return joined


def _chat_template(found: Any, beside: Path) -> str | None:
    """Return the template of the file beside a configuration, or that of the configuration.

    Raises:
        MapBuildError: the file cannot be read, or is not UTF-8.
    """
    if beside.exists():  # it counts where both are there, as in `transformers`
        try:
            return read_source(beside, MAX_SMALL_BYTES).decode()
        except UnicodeDecodeError as error:
            raise MapBuildError(f"{beside} is not UTF-8: {error}") from None
    if isinstance(found, list):
        by_name: Mapping[Any, Any] = {
            each.get("name"): each.get("template")
            for each in found
            if isinstance(each, dict) and isinstance(each.get("name"), str)
        }
        # A map holds one template: of several, the one that writes tools.
        found = by_name.get("tool_use") or by_name.get("default")
    return found if isinstance(found, str) else None
