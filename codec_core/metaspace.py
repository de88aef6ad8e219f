"""The places where a text with U+2581 for spaces can be cut without changing its ids.

Such vocabularies have no pre-tokenizer. But a merge across the border of two characters makes a token that
holds the two side by side. Where no token does, nothing is ever merged, and the text may be cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Final

from codec_core.merging.metaspace import MetaspaceMerger
from codec_core.unicode.classes import WHITE_SPACE
from codec_core.vocabulary import METASPACE


class MetaspaceCutter:
    """Cuts prepared text into pieces that no merge crosses."""

    takes_spaces: Final = False

    def __init__(self, merger: MetaspaceMerger, *, fuses_unknown: bool) -> None:
        self._merger = merger
        self._fuses_unknown = fuses_unknown

    def cut(self, text: str) -> list[str]:
        """Return pieces that can each be encoded alone; joined, they are the text."""
        return self._find(text)

    def settle(self, text: str, seen: int = 0) -> tuple[list[str], str]:
        """Return the pieces before the last place that no merge can cross, and the rest."""
        pairs = self._pairs
        for place in range(len(text) - 1, max(seen - 1, 0), -1):
            if (text[place - 1], text[place]) not in pairs and not self._fuses(text, place):
                return self._find(text[:place]), text[place:]
        return [], text

    def _fuses(self, text: str, place: int) -> bool:
        known = self._merger.is_known
        return self._fuses_unknown and not known(text[place - 1]) and not known(text[place])

    @cached_property
    def _pairs(self) -> set[tuple[str, str]]:
        """Return all pairs of characters that are side by side in a token that merges make."""
        return {pair for token in self._merger.joinable() for pair in pairwise(token)}

    @cached_property
    def _find(self) -> Callable[[str], list[str]]:
        """Return the search for pieces: words with the U+2581 before them, and single other characters."""
        tokens = self._merger.joinable()
        joining = set("".join(tokens))
        lonely = "+" if self._fuses_unknown else ""
        inside = _character_set(joining - {METASPACE})
        marks = re.escape(METASPACE)
        if not inside:
            return re.compile(rf"{marks}+|[^{marks}]{lonely}").findall
        if any(METASPACE in token.lstrip(METASPACE) for token in tokens):
            return re.compile(rf"[{inside}{marks}]+|[^{inside}{marks}]{lonely}").findall
        return re.compile(rf"{marks}*[{inside}]+|{marks}+|[^{inside}{marks}]{lonely}").findall


def _character_set(characters: set[str]) -> str:
    """Return the inside of a `re` set. It holds all astral characters if any: one comparison, not many."""
    plane = "".join(map(re.escape, sorted(character for character in characters if character <= "\uffff")))
    astral = any(character > "\uffff" for character in characters)
    return plane + ("\U00010000-\U0010ffff" if astral else "")


class MarkedWords:
    """Cuts text at white space into words with U+2581 before each (but the first, with `prefix_first`)."""

    takes_spaces: Final = True

    def __init__(self, *, prefix_first: bool) -> None:
        self._spares_first = prefix_first

    def cut(self, text: str) -> list[str]:
        """Return the marked words, without the white space between them."""
        words = [METASPACE + word for word in _WORDS(text)]
        if self._spares_first and words:
            words[0] = words[0][1:]
        return words

    def settle(self, text: str, seen: int = 0) -> tuple[list[str], str]:
        """Return nothing settled: only a whole text shows which word is the first."""
        del seen
        return [], text


_WORDS = re.compile(f"[^{WHITE_SPACE}]+").findall
