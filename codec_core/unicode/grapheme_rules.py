"""Replacement rules as Hugging Face's normalizer `Precompiled` applies them: to grapheme clusters.

The rules:

* A text is divided into extended grapheme clusters (UAX #29), by the tables of one Unicode version.
* A cluster of at most 5 bytes that a rule matches the beginning of becomes what that rule writes, whatever
  else is in it; of several such rules the shortest counts.
* In all other clusters each character is replaced by itself.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from codec_core.unicode import _generated_graphemes as tables
from codec_core.unicode.charsets import LAST_OF_BMP, CharSet
from codec_core.unicode.replacement_rules import ReplacementRules, character_set

if TYPE_CHECKING:
    from codec_core.added import AddedTokens

MAX_CLUSTER = 5
"""Bytes of a cluster that is replaced as a whole."""


class GraphemeRules:
    """The rules of one table, applied to clusters. Safe to share between threads."""

    def __init__(self, rules: ReplacementRules) -> None:
        self._shortest = rules.shortest
        self._single = rules.of_single_characters()
        self._substitute = re.compile(character_set(self._single) if self._single else "(?!)").sub
        self._clusters = _clusters().finditer

    def apply(self, text: str) -> str:
        """Return a whole text with all that the rules replace replaced, in time linear in its length."""
        return self.apply_settled(text, final=True)[0]

    def apply_settled(self, text: str, *, final: bool, kept: AddedTokens | None = None) -> tuple[str, int]:
        """Return the replaced beginning of a text that nothing behind it can change, and its length there.

        With `final` nothing follows, and the beginning is the whole text. There are no names to keep.
        """
        assert kept is None, "maps whose rules apply to clusters keep no names"
        parts, used = list[str](), 0
        for match in self._clusters(text):
            start, stop = match.span()
            is_run = match.lastgroup is not None
            if stop == len(text) and not final:  # what follows may join the last cluster
                if not is_run:
                    break
                stop -= 1
            parts.append(self._replaced(text[start:stop], is_run=is_run))
            used = stop
        return "".join(parts), used

    def _replaced(self, part: str, *, is_run: bool) -> str:
        """Return what becomes of a cluster, or of a run of clusters that have one character each."""
        if not is_run and len(part) > 1 and len(part.encode()) <= MAX_CLUSTER:
            replacement = self._shortest(part)
            if replacement is not None:
                return replacement
        return self._substitute(self._replacement, part)

    def _replacement(self, match: re.Match[str]) -> str:
        return self._single.get(match.group(), match.group())


@cache
def _clusters() -> re.Pattern[str]:
    """Return the search for clusters, one after the other. The group `run` has several of one character."""
    control = _set(tables.CONTROL) | CharSet.of("\r\n")
    extend, prepend = _set(tables.EXTEND), _set(tables.PREPEND)
    joining = extend | _set(tables.SPACING_MARK) | CharSet.of("\u200d")
    leading, vowel, trailing = map(_set, (tables.LEADING, tables.VOWEL, tables.TRAILING))
    regional, picture = CharSet([(0x1F1E6, 0x1F1FF)]), _set(tables.PICTOGRAPHIC)
    consonant, linker, between = map(_set, (tables.CONSONANT, tables.LINKER, tables.CONJUNCT_EXTEND))
    syllables = CharSet([(0xAC00, 0xD7A3)])
    # Of each 28 in a row, which differ in their tail alone, the first has none.
    without_tail = CharSet((point, point) for point in range(0xAC00, 0xD7A4, 28))
    alone = ~(joining | prepend | leading | vowel | trailing | regional)
    j, p, v, t, x, c = (each.spell() for each in (joining, prepend, vowel, trailing, picture, consonant))
    # In a pattern that follows another, each part takes all it can: nothing is tried twice.
    cores = (
        f"{leading.spell()}*+(?:{v}++|{without_tail.spell()}{v}*+|{(syllables - without_tail).spell()}){t}*+",
        f"{leading.spell()}++",
        f"{t}++",
        f"{regional.spell()}{{1,2}}+",
        f"{x}(?:{extend.spell()}*+\u200d{x})*+",
        f"{c}(?:{between.spell()}*+{linker.spell()}{(between | linker).spell()}*+{c})*+",
        (~(control | joining | prepend)).spell(),
    )
    # A run holds nothing that joins, so in it no pictograph or consonant continues another one's cluster. It
    # ends at U+FFFF: `re` looks a set up in a table only if all of it is below.
    inside = (alone - CharSet.of("\r")).spell(LAST_OF_BMP)
    run = f"(?P<run>{inside}+)(?!{(joining | vowel | trailing).spell()})"
    return re.compile(f"\r\n|{run}|{p}*+(?:{'|'.join(cores)}){j}*+|{p}++{j}*+|{j}++|[\\s\\S]")


def _set(table: str) -> CharSet:
    pairs = (word.split("-") for word in table.split())
    return CharSet((int(first, 16), int(last, 16)) for first, last in pairs)
