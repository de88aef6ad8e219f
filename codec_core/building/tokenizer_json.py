"""A map from a Hugging Face `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from codec_core.building import pre_tokenizers
from codec_core.building.added_tokens import added_fields
from codec_core.building.document import byte_fallback, check_values, read_source, write_document
from codec_core.building.steps import (
    AddedToken,
    BpeModel,
    Merge,
    ModelKind,
    NormalizerStep,
    PreTokenizerStep,
    TokenizerConfig,
    TokenizerFile,
)
from codec_core.exceptions import MapBuildError
from codec_core.vocabulary import METASPACE

CONFIG_NAME = "tokenizer_config.json"
"""Lies beside a tokenizer file, and holds the chat template and, of some models, further added tokens."""

TEMPLATE_NAME = "chat_template.jinja"
"""Lies beside both where the chat template is a file of its own."""

Content = TypeVar("Content")


def build_from_tokenizer_json(path: str | Path, *, map_id: str, config: str | Path | None = None) -> bytes:
    """Return the bytes of a map that encodes as the tokenizer file does.

    Args:
        path: A `tokenizer.json` with a BPE model.
        map_id: The id of the map, `org/family`.
        config: A `tokenizer_config.json`; the one beside the file when left out, if there is one.

    Raises:
        MapBuildError: the file is damaged, or does something that a map cannot say.
    """
    path = Path(path)
    source = _read(path, TokenizerFile)
    model = _model(path, source.model)
    beside = path.with_name(CONFIG_NAME)
    found = (
        _read(Path(config or beside), TokenizerConfig) if config or beside.is_file() else TokenizerConfig()
    )
    form = _Form(source)
    chat_template = _chat_template(found.chat_template, path.with_name(TEMPLATE_NAME))
    added = _added_tokens(source, found, model.vocab)
    control, text, described = added_fields(added, model.vocab, chat_template)
    return write_document(
        map_id,
        {**model.vocab, **text},
        control,
        encoder=form.encoder,
        merges=_merges(model.merges),
        **form.fields,
        **(byte_fallback(model.vocab) if model.byte_fallback else {}),
        normalizer=form.normalizer,
        ignore_merges=model.ignore_merges,
        **described,
        chat_template=chat_template,
    )


class _Form:
    """What normalizer and pre-tokenizer say together: the encoder, and its fields."""

    def __init__(self, source: TokenizerFile) -> None:
        self.normalizer: Literal["nfc", "none"] = "none"
        self.fields: dict[str, Any] = {}
        self._prefix: dict[str, Any] = {"metaspace_prefix": "never"}
        self._spaces_marked = False
        for step in _normalizers(source.normalizer):
            self._read_normalizer(step)
        steps = list(_pre_tokenizers(source.pre_tokenizer))
        if any(step.type == "Metaspace" for step in steps):
            self._read_metaspace(steps)
            steps = []
        self.encoder = "metaspace" if self._spaces_marked else "byte_level"
        if self.encoder == "metaspace" and steps:
            raise MapBuildError("a metaspace tokenizer with further pre-tokenizer steps has no form in a map")
        self.fields = self._prefix if self._spaces_marked else pre_tokenizers.fields_of(steps)

    def _read_normalizer(self, step: NormalizerStep) -> None:
        if step.type == "NFC":
            self.normalizer = "nfc"
        elif step.type == "Prepend" and step.prepend == METASPACE and not self._spaces_marked:
            self._prefix = {"metaspace_prefix": "always"}
        elif step.type == "Replace" and (step.pattern, step.content) == ({"String": " "}, METASPACE):
            self._spaces_marked = True
        else:
            raise MapBuildError(f"the normalizer {step.type!r} has no form in a map")

    def _read_metaspace(self, steps: Sequence[PreTokenizerStep]) -> None:
        """Read what marks spaces and, unlike the normalizer `Prepend`, puts none before one."""
        step = steps[0]
        if len(steps) > 1 or step.replacement != METASPACE or step.split or self._spaces_marked:
            raise MapBuildError("this Metaspace pre-tokenizer cuts the text, which has no form in a map")
        self._spaces_marked = True
        scheme = step.prepend_scheme or ("never" if step.add_prefix_space is False else "always")
        self._prefix = {"metaspace_prefix": scheme, "metaspace_prefix_once": scheme != "never"}


def _read(path: Path, kind: type[Content]) -> Content:
    data = read_source(path)
    check_values(data, path)
    return _decode(data, kind, path)


def _decode(data: bytes | msgspec.Raw, kind: type[Content], path: Path) -> Content:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MapBuildError(
            f"{path} is no {CONFIG_NAME if kind is TokenizerConfig else 'tokenizer.json'}: {error}"
        ) from error


def _model(path: Path, raw: msgspec.Raw) -> BpeModel:
    kind = _decode(raw, ModelKind, path).type
    if kind != "BPE":
        raise MapBuildError(f"{path}: the model is of type {kind!r}; maps are made from BPE models")
    model = _decode(raw, BpeModel, path)
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if getattr(model, name):
            raise MapBuildError(f"{path}: a model with {name!r} has no form in a map")
    return model


def _normalizers(step: NormalizerStep | None) -> Iterator[NormalizerStep]:
    """Yield one step, or the members of a `Sequence`."""
    if step is not None and step.type == "Sequence":
        for member in step.normalizers:
            yield from _normalizers(member)
    elif step is not None:
        yield step


def _pre_tokenizers(step: PreTokenizerStep | None) -> Iterator[PreTokenizerStep]:
    """Yield one step, or the members of a `Sequence`."""
    if step is not None and step.type == "Sequence":
        for member in step.pretokenizers:
            yield from _pre_tokenizers(member)
    elif step is not None:
        yield step


def _added_tokens(
    source: TokenizerFile, config: TokenizerConfig, vocab: Mapping[str, int]
) -> list[AddedToken]:
    """Return the added tokens of the file, and those that only its configuration has."""
    stated = {token.id for token in source.added_tokens}
    more = [
        AddedToken(number, *msgspec.structs.astuple(token))
        for number, token in config.added_tokens_decoder.items()
        if number not in stated
    ]
    added = [*source.added_tokens, *more]
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
    if isinstance(found, list):
        by_name: Mapping[Any, Any] = {
            each.get("name"): each.get("template")
            for each in found
            if isinstance(each, dict) and isinstance(each.get("name"), str)
        }
        found = by_name.get("tool_use") or by_name.get("default")
    if isinstance(found, str):
        return found
    return read_source(beside).decode("utf-8", "replace") if beside.is_file() else None
