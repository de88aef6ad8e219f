"""A map from a Hugging Face `tokenizer.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from codec_core.building import pre_tokenizers
from codec_core.building.document import byte_fallback, read_source, write_document
from codec_core.exceptions import MapBuildError
from codec_core.vocabulary import METASPACE

CONFIG_NAME = "tokenizer_config.json"
"""Lies beside a tokenizer file, and holds the chat template."""


def build_from_tokenizer_json(path: str | Path, *, map_id: str, config: str | Path | None = None) -> bytes:
    """Return the bytes of a map that encodes as the tokenizer file does.

    Args:
        path: A `tokenizer.json` with a BPE model.
        map_id: The id of the map, `org/family`.
        config: A `tokenizer_config.json`; the one beside the file when left out, if there is one.

    Raises:
        MapBuildError: the file is damaged, or does something that a map cannot say.
    """
    source = _read_json(path)
    model = _mapping(source, "model")
    if model.get("type") != "BPE":
        raise MapBuildError(
            f"{path}: the model is of type {model.get('type')!r}; maps are made from BPE models"
        )
    _refuse(model, "continuing_subword_prefix", "end_of_word_suffix", "dropout")
    vocab, added = _mapping(model, "vocab"), _added_tokens(source)
    form = _Form(source)
    return write_document(
        map_id,
        vocab,
        {token["content"]: token["id"] for token in added},
        encoder=form.encoder,
        merges=_merges(model),
        **form.fields,
        **(byte_fallback(vocab) if model.get("byte_fallback") else {}),
        normalizer=form.normalizer,
        ignore_merges=bool(model.get("ignore_merges")),
        added_tokens=_stripping(added),
        chat_template=_chat_template(Path(path), config),
    )


class _Form:
    """What normalizer, pre-tokenizer and decoder say together: the encoder, and its fields."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.normalizer: Literal["nfc", "none"] = "none"
        self.fields: dict[str, Any] = {}
        self._prefix = "never"
        self._spaces_marked = False
        for step in _steps(source.get("normalizer"), "normalizers"):
            self._read_normalizer(step)
        steps = list(_steps(source.get("pre_tokenizer"), "pretokenizers"))
        if any(step.get("type") == "Metaspace" for step in steps):
            self._read_metaspace(steps)
            steps = []
        self.encoder = "metaspace" if self._spaces_marked else "byte_level"
        if self.encoder == "metaspace":
            if steps:
                raise MapBuildError(
                    "a metaspace tokenizer with further pre-tokenizer steps has no form in a map"
                )
            self.fields = {"metaspace_prefix": self._prefix}
        else:
            self.fields = pre_tokenizers.fields_of(steps)

    def _read_normalizer(self, step: Mapping[str, Any]) -> None:
        kind = step.get("type")
        if kind == "NFC":
            self.normalizer = "nfc"
        elif kind == "Prepend" and step.get("prepend") == METASPACE:
            self._prefix = "always"
        elif kind == "Replace" and (step.get("pattern"), step.get("content")) == ({"String": " "}, METASPACE):
            self._spaces_marked = True
        else:
            raise MapBuildError(f"the normalizer {kind!r} has no form in a map")

    def _read_metaspace(self, steps: Sequence[Mapping[str, Any]]) -> None:
        step = steps[0]
        if len(steps) > 1 or step.get("replacement") != METASPACE or step.get("split", True):
            raise MapBuildError("this Metaspace pre-tokenizer cuts the text, which has no form in a map")
        self._spaces_marked = True
        self._prefix = step.get("prepend_scheme", "always")


def _read_json(path: str | Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read_source(path))
    except (ValueError, RecursionError) as error:
        raise MapBuildError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise MapBuildError(f"{path} is not a tokenizer file: it holds no JSON object")
    return found


def _mapping(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = source.get(name)
    if not isinstance(found, dict):
        raise MapBuildError(f"{name!r} is missing or no object; is this a tokenizer.json?")
    return found


def _refuse(model: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if model.get(name):
            raise MapBuildError(f"a model with {name!r} has no form in a map")


def _steps(value: Any, members: str) -> Iterator[Mapping[str, Any]]:
    """Yield one step, or the members of a `Sequence`."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise MapBuildError(f"{members!r} hold something that is no object")
    if value.get("type") == "Sequence":
        for member in value.get(members, ()):
            yield from _steps(member, members)
    else:
        yield value


def _added_tokens(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    added = source.get("added_tokens") or []
    for token in added:
        if not isinstance(token, dict) or not isinstance(token.get("content"), str) or "id" not in token:
            raise MapBuildError("`added_tokens` holds something that is no token")
        if token.get("single_word"):
            name = token["content"]
            raise MapBuildError(f"the added token {name!r} is read as a whole word only: a map cannot say it")
    return list(added)


def _stripping(added: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the added tokens that take the white space beside them."""
    names = ("content", "lstrip", "rstrip")
    return [
        {name: token.get(name, False) for name in names}
        for token in added
        if token.get("lstrip") or token.get("rstrip")
    ]


def _merges(model: Mapping[str, Any]) -> list[str]:
    """Return the merges as `left right`; newer files write them as pairs."""
    merges = []
    for merge in model.get("merges") or []:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if len(pair) != 2 or not all(isinstance(part, str) and part and " " not in part for part in pair):
            raise MapBuildError(f"the merge {merge!r} is no pair of tokens")
        merges.append(" ".join(pair))
    return merges


def _chat_template(path: Path, config: str | Path | None) -> str | None:
    beside = path.with_name(CONFIG_NAME)
    if config is None and not beside.is_file():
        return None
    found = _read_json(config or beside).get("chat_template")
    if isinstance(found, list):
        by_name = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = by_name.get("tool_use") or by_name.get("default")
    return found if isinstance(found, str) else None
