"""The unigram model of a GGUF file as the fields of a map: scores, and rules that normalize text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codec_core.building.normalizer_rules import rules_fields
from codec_core.exceptions import MapBuildError
from codec_core.merging.unigram import unknown_score
from codec_core.unicode.replacement_rules import ReplacementRules
from codec_core.vocabulary import METASPACE

_NORMAL, _USER_DEFINED, _BYTE = 1, 4, 6


def unigram_fields(tokens: Sequence[str], types: Sequence[int], scores: Sequence[float]) -> Mapping[str, Any]:
    """Return the scores of all tokens, as llama.cpp adds them up.

    Raises:
        MapBuildError: the file does not state them all, or does something that a map cannot say.
    """
    if not len(tokens) == len(types) == len(scores):
        raise MapBuildError("a unigram tokenizer needs a type and a score for each token")
    if _BYTE in types:  # llama.cpp falls back to no bytes here
        raise MapBuildError("tokens for bytes of a unigram model have no form in a map")
    normal = [score for score, kind in zip(scores, types, strict=True) if kind == _NORMAL]
    if not normal:
        raise MapBuildError("there is no ordinary token in the file")
    # Symbols are found in the text first. Those that the rules make of other text count 0.
    counted = [0.0 if kind == _USER_DEFINED else score for score, kind in zip(scores, types, strict=True)]
    # Padding, which files give a much lower score, does not count for unknown characters.
    return {"unigram": {"scores": counted, "precision": "double", "unknown": unknown_score(normal)}}


def rule_fields(
    charsmap: Sequence[int], merges_spaces: bool | None, prefix: bool | None
) -> Mapping[str, Any]:
    """Return the normalizer and the prefix.

    Args:
        charsmap: the table of rules, as numbers with or without a sign.
        merges_spaces: whether spaces at the ends are left out and runs of spaces become one.
        prefix: whether a text gets a space before it.

    Raises:
        MapBuildError: the file does not state them, or does something that a map cannot say.
    """
    # What converts such models writes both, so that no default is known to be meant.
    if merges_spaces is None or prefix is None:
        raise MapBuildError("the file does not state how its tokenizer treats spaces")
    table = bytes(number & 0xFF for number in charsmap)
    fields = rules_fields(table, collapses=merges_spaces, prefix=prefix)
    if merges_spaces:
        # llama.cpp keeps a U+2581 that ends a text; the rule of maps leaves it out.
        if not table or ReplacementRules(table).replacement_of(METASPACE) is None:
            raise MapBuildError("rules that keep U+2581 beside those that merge spaces have no form in a map")
    elif prefix:
        raise MapBuildError("a prefix that texts of white space alone go without has no form in a map")
    # Where llama.cpp merges spaces, it puts one before every word, whatever the file says of a prefix.
    return {**fields, "metaspace_prefix": "always" if merges_spaces else "never"}
