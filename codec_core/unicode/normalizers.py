"""How the texts of a vocabulary are normalized: by a form of Unicode, or by rules that its map holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.maps import AddedToken, NormalizerRules, TokenizerMap
from codec_core.unicode.normalization import Form, NormalizedStream, normalized
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_core.added import AddedTokens
    from codec_core.unicode.rule_stream import Rules, Spaces

KEEPS_ASCII = frozenset({"none", "nfc", "nfkc"})
"""Normalizers that change no text of ASCII characters alone."""

_FORMS: dict[str, Form] = {"nfc": "NFC", "nfkc": "NFKC"}


class NormalizingStream(Protocol):
    """Normalizes a text that arrives in parts."""

    @property
    def held(self) -> str:
        """Return the text that is held."""

    def feed(self, text: str) -> str:
        """Return the normalized text that no continuation can change."""

    def flush(self) -> str:
        """Return the rest, normalized."""


def normalizers_of(
    vocabulary: Vocabulary,
) -> tuple[Callable[[str], str], Callable[[], NormalizingStream]]:
    """Return the function that normalizes whole texts for a vocabulary, and the one that makes a stream.

    Raises:
        TokenizerMapValidationError: the rules of its map are damaged.
    """
    name = vocabulary.facts.normalizer
    if name != "rules":
        form = _FORMS.get(name, "NFC")  # of "none" no stream is made (`VocabularyTokenizer.normalizes`)
        return str if name == "none" else partial(normalized, form), partial(NormalizedStream, form)
    # Imported here, because most maps have no rules.
    from codec_core.unicode.rule_stream import RuleStream

    rules = _rules_of(vocabulary.map)
    stated = vocabulary.map.normalizer_rules or NormalizerRules()
    kept = _kept_texts(stated.kept) if stated.kept else None

    def stream() -> NormalizingStream:
        return RuleStream(rules, _spaces_of(stated), kept=kept)

    def normalize(text: str) -> str:
        whole = stream()
        return whole.feed(text) + whole.flush()

    return normalize, stream


def _spaces_of(stated: NormalizerRules) -> Spaces | None:
    from codec_core.unicode.rule_stream import CollapsedSpaces, MergedSpaces

    if stated.collapses_spaces:
        return CollapsedSpaces()
    if stated.merged_spaces is not None or stated.strips_end:
        return MergedSpaces(stated.merged_spaces, strips_end=stated.strips_end)
    return None


def _kept_texts(names: Sequence[str]) -> AddedTokens:
    from codec_core.added import AddedTokens

    if not all(names):
        raise TokenizerMapValidationError("normalizer_rules: an empty text is among those that are kept")
    return AddedTokens({name: (number, AddedToken(name)) for number, name in enumerate(names)})


def _rules_of(tokenizer_map: TokenizerMap) -> Rules | None:
    """Return the rules of a map, read once and kept on it: reading takes half a second for the largest."""
    stated = tokenizer_map.normalizer_rules
    if stated is None or stated.charsmap is None:
        return None
    known: Rules | None = tokenizer_map.__dict__.get("rules")
    if known is None:
        from base64 import b64decode

        from codec_core.unicode.replacement_rules import ReplacementRules, RuleError

        try:
            known = rules = ReplacementRules(b64decode(stated.charsmap, validate=True))
        except (RuleError, ValueError) as error:
            raise TokenizerMapValidationError(f"normalizer_rules: charsmap is damaged: {error}") from None
        if stated.by_cluster:
            from codec_core.unicode.grapheme_rules import GraphemeRules

            known = GraphemeRules(rules)
        tokenizer_map.__dict__["rules"] = known
    return known
