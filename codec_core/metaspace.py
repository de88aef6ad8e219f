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

    def __init__(self, merger: MetaspaceMerger) -> None:
        self._merger = merger

    def cut(self, text: str) -> list[str]:
        """Return pieces that can each be encoded alone; joined, they are the text."""
        return self._find(text)

    def settle(self, text: str, seen: int = 0) -> tuple[list[str], str]:
        """Return the pieces before the last place that no merge can cross, and the rest."""
        pairs = self._pairs
        # Places within the first `seen` characters were looked at before, in vain.
        for place in range(len(text) - 1, max(seen - 1, 0), -1):
            if (text[place - 1], text[place]) not in pairs:
                return self._find(text[:place]), text[place:]
        return [], text

    @cached_property
    def _pairs(self) -> set[tuple[str, str]]:
        """Return all pairs of characters that are side by side in a token that merges make."""
        return {pair for token in self._merger.joinable() for pair in pairwise(token)}

    @cached_property
    def _find(self) -> Callable[[str], list[str]]:
        """Return the search for pieces: words with the U+2581 before them, and single other characters."""
        tokens = self._merger.joinable()
        joining = set("".join(tokens))
        inside = _character_set(joining - {METASPACE})
        marks = re.escape(METASPACE)
        if not inside:  # an empty set would not compile
            return re.compile(rf"{marks}+|[^{marks}]").findall
        if any(METASPACE in token.lstrip(METASPACE) for token in tokens):
            # A token with a mark behind a letter: words may merge with the words after them.
            return re.compile(rf"[{inside}{marks}]+|[^{inside}{marks}]").findall
        return re.compile(rf"{marks}*[{inside}]+|{marks}+|[^{inside}{marks}]").findall


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
        """Return the words that white space ends, and the rest.

        Nothing is settled with `prefix_first`: only a whole text shows which word is the first.
        """
        if self._spares_first:
            return [], text
        stop = max(text.rfind(space, seen) for space in WHITE_SPACE) + 1
        return self.cut(text[:stop]), text[stop:]


_WORDS = re.compile(f"[^{WHITE_SPACE}]+").findall
