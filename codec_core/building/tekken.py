"""A map from Mistral's `tekken.json`: tokens of bytes, their pattern, and special tokens before them all."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

from codec_core.building.added_tokens import added_fields
from codec_core.building.document import check_tokens, check_values, read_source
from codec_core.building.ranks import write_ranks
from codec_core.building.steps import AddedToken
from codec_core.exceptions import DECODE_ERRORS, MapBuildError

_UNLISTED = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
"""The special tokens of files that list none, in order."""


class _Token(msgspec.Struct, frozen=True):
    rank: int
    token_bytes: str


class _Special(msgspec.Struct, frozen=True):
    rank: int
    token_str: str


class _Config(msgspec.Struct, frozen=True):
    pattern: str
    default_vocab_size: int
    default_num_special_tokens: int


class _File(msgspec.Struct, frozen=True):
    config: _Config
    vocab: list[_Token]
    special_tokens: list[_Special] | None = None


def build_from_tekken(path: str | Path, *, map_id: str) -> bytes:
    """Return the bytes of a map that encodes as Mistral's tokenizer does with a `tekken.json`.

    Raises:
        MapBuildError: the file is damaged, or its ranks are not those of one vocabulary.
    """
    data = read_source(path)
    check_values(data, path)
    try:
        source = msgspec.json.decode(data, type=_File)
    except DECODE_ERRORS as error:
        raise MapBuildError(f"{path} is no tekken.json: {error}") from error
    config = source.config
    special = _special(source, path)
    # A file may list more tokens than the model has: the first ones are its own.
    count = config.default_vocab_size - config.default_num_special_tokens
    check_tokens(max(count, len(source.vocab)), path)
    ids: dict[bytes, int] = {}
    for number, token in enumerate(source.vocab[: max(count, 0)]):
        try:
            content = base64.b64decode(token.token_bytes, validate=True)
        except ValueError as error:  # also where it is not ASCII
            raise MapBuildError(f"{path}: the token of rank {token.rank} is no base64") from error
        if token.rank != number or not content or content in ids:
            raise MapBuildError(f"{path}: the token of rank {token.rank} is empty, doubled or out of order")
        ids[content] = config.default_num_special_tokens + number
    if len(ids) != count:
        raise MapBuildError(f"{path}: {len(ids)} tokens where the file's sizes need {count}")
    added = [AddedToken(name, id=number) for name, number in special.items()]
    control, _, described = added_fields(added, (), None)
    return write_ranks(map_id, ids, config.pattern, control, **described)


def _special(source: _File, path: str | Path) -> dict[str, int]:
    """Return the special tokens; ids that the file names none for have names of their own."""
    count = source.config.default_num_special_tokens
    check_tokens(count, path)
    listed = source.special_tokens
    names = dict(enumerate(_UNLISTED)) if listed is None else {each.rank: each.token_str for each in listed}
    special = {names.get(number, f"<SPECIAL_{number}>"): number for number in range(count)}
    doubled = len(special) != count or (listed is not None and len(names) != len(listed))
    if doubled or any(not 0 <= number < count for number in names):
        raise MapBuildError(f"{path}: the special tokens are doubled, or more than the file says")
    return special
