"""The rules of normalization that SentencePiece models hold, as the fields of a map."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from codec_core.exceptions import MapBuildError
from codec_core.unicode.replacement_rules import ReplacementRules, RuleError


def rules_fields(
    charsmap: bytes, *, collapses: bool, prefix: bool, symbols: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Return the fields for a table of rules.

    Args:
        charsmap: the table; empty for none.
        collapses: whether spaces at the ends are left out, and runs of spaces become one.
        prefix: whether a text gets U+2581 before it.
        symbols: the texts that the rules do not change.

    Raises:
        MapBuildError: the table is damaged, or does something that a map cannot say.
    """
    replacements: set[str] = set()
    if charsmap:
        try:
            replacements = set(ReplacementRules(charsmap).replacements())
        except RuleError as error:
            raise MapBuildError(f"the rules of normalization are damaged: {error}") from None
    # Inside a replacement SentencePiece keeps them: it looks for a space behind a space between replacements.
    if collapses and any("  " in replacement for replacement in replacements):
        raise MapBuildError("rules that write runs of spaces have no form in a map")
    if not collapses and prefix and "" in replacements:
        # Of a text that the rules leave nothing of, the prefix alone would stay.
        raise MapBuildError("rules that leave characters out have no form in a map with a prefix")
    rules: dict[str, Any] = {"charsmap": b64encode(charsmap).decode()} if charsmap else {}
    if collapses:
        rules["collapses_spaces"] = True
    # Without a table nothing changes them: they hold no spaces.
    if charsmap and symbols:
        rules["kept"] = list(symbols)
    return {"normalizer": "rules", "normalizer_rules": rules}
