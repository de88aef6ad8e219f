r"""Read the regular expressions of tokenizer files.

The syntax is what these files hold: alternatives, groups, sets (ranges, properties, sets in sets, `&&`),
repetitions of all three kinds, look-aheads, atomic groups, `(?i:..)` and the end of the text. What no
tokenizer uses is refused by its place: references to groups, recursion, conditions, look-behinds, fuzzy
matching, verbs, starts and borders of words.

Two dialects differ where both spell the same: in Oniguruma's, which `tokenizer.json` is written in, `{1,3}+`
and `{2}?` repeat a repetition and `$` is the end of a line; elsewhere the first is possessive, the second as
`{2}` and the third the end of the text. `{1,3}?` and `{2,}?` are lazy in both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from codec_core.exceptions import TokenizerMapValidationError
from codec_core.pretokenizer.pattern_sets import SetReader, folded
from codec_core.pretokenizer.pattern_tree import (
    EMPTY,
    Alternatives,
    Atomic,
    Chars,
    Look,
    Node,
    Repeat,
    Sequence,
    alternatives,
    repeat,
    sequence,
)
from codec_core.pretokenizer_program import MAX_PATTERN
from codec_core.unicode.charsets import ANYTHING, CharSet

Dialect = Literal["perl", "oniguruma"]

MAX_DEPTH = 24
"""Groups in groups; known patterns have four."""

MAX_SIZE = 4096
"""Characters that a match takes if every repetition with a bound takes as many as it may: nested bounds
multiply. The largest known has 1,023."""

_QUANTIFIER = re.compile(
    r"(?:(?P<sign>[*+?])|\{(?P<exact>\d{1,4})\}|\{(?P<least>\d{0,4}),(?P<most>\d{0,4})\})(?P<kind>[?+]?)"
)
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_GROUPS = ("(?:", "(?>", "(?i:", "(?=", "(?!")
_GROUP_NAME = re.compile(r"\(\?P?<[A-Za-z_]\w*>")
_NOT_NEWLINE = Chars(~CharSet.of("\n"))


class Edit(NamedTuple):
    """A part of a pattern that the other dialect spells differently."""

    start: int
    stop: int
    text: str


class PatternParser:
    """Reads one pattern.

    Attributes:
        tree: the pattern as a tree.
        edits: what to change so that the pattern has this meaning in every dialect.
    """

    def __init__(self, pattern: str, dialect: Dialect = "perl") -> None:
        """Read a pattern.

        Raises:
            TokenizerMapValidationError: what is wrong, or not read, and the character at which it stands.
        """
        if len(pattern) > MAX_PATTERN:
            raise refusal(f"{len(pattern)} characters; at most {MAX_PATTERN} are read", 0)
        self._pattern, self._dialect = pattern, dialect
        self._place, self._depth = 0, 0
        self._folds = pattern.startswith("(?i)")  # elsewhere, engines differ in how far a flag reaches
        self.edits: list[Edit] = []
        if self._folds:
            self._place = len("(?i)")
        self.tree = self._alternatives()
        if self._place < len(pattern):
            raise refusal("an unmatched )", self._place)
        if size_of(self.tree) > MAX_SIZE:
            raise refusal(f"its repetitions take more than {MAX_SIZE} characters together", 0)

    @property
    def portable(self) -> str:
        """Return the pattern as every dialect reads it."""
        return self._edited(0, len(self._pattern))

    def _edited(self, start: int, stop: int) -> str:
        """Return a part of the pattern as every dialect reads it."""
        text = self._pattern[:stop]
        for edit in sorted(self.edits, reverse=True):
            if start <= edit.start:
                text = text[: edit.start] + edit.text + text[edit.stop :]
        return text[start:]

    def _alternatives(self) -> Node:
        options = [self._sequence()]
        while self._takes("|"):
            options.append(self._sequence())
        return alternatives(options)

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._place < len(self._pattern) and self._pattern[self._place] not in "|)":
            parts.append(self._repeated())
        return sequence(parts)

    def _repeated(self) -> Node:
        start = self._place
        node = self._atom()
        match = _QUANTIFIER.match(self._pattern, self._place)
        if match is None:
            # Some engines read a `{` without numbers as itself, others do not.
            if self._pattern[self._place : self._place + 1] in ("{", "*", "+", "?"):
                raise refusal("no repetition that is read: { needs one or two numbers", self._place)
            return node
        if isinstance(node, Look):
            raise refusal("a look-ahead is repeated", self._place)
        least, most = _bounds(match)
        if most is not None and (most < least or most == 0):
            raise refusal(f"a repetition of {least} to {most}", self._place)
        kind = match["kind"]
        counted = match["sign"] is None
        if self._dialect == "oniguruma" and counted and (kind == "+" or (kind and match["exact"])):
            return self._counted_twice(node, start, match)
        self._place = match.end()
        self._refuse_another()
        if (least, most) == (1, 1) and kind == "+":  # nothing is repeated, but its match is kept
            return Atomic(node)
        names: dict[str, Literal["greedy", "lazy", "possessive"]] = {"?": "lazy", "+": "possessive"}
        return repeat(node, least, most, names.get(kind, "greedy"))

    def _counted_twice(self, node: Node, start: int, match: re.Match[str]) -> Node:
        """Read `x{1,3}+` or `x{2}?`, which in Oniguruma repeat what is repeated."""
        least, most = _bounds(match)
        sign, stop = match["kind"], match.end()
        self._place = stop
        self._refuse_another()
        if isinstance(node, Chars) and least == 1 and sign == "+":  # of one to three in a row: a run
            self.edits.append(Edit(match.start(), stop, "+"))
            return Repeat(node, 1, None)
        # With the edits inside, which the new one takes the place of.
        edit = Edit(start, stop, f"(?:{self._edited(start, stop - 1)}){sign}")
        self.edits = [each for each in self.edits if each.start < start] + [edit]
        return repeat(repeat(node, least, most), *_SIGNS[sign])

    def _refuse_another(self) -> None:
        if _QUANTIFIER.match(self._pattern, self._place):
            raise refusal("a repetition of a repetition", self._place)

    def _atom(self) -> Node:
        pattern, place = self._pattern, self._place
        character = pattern[place]
        if character == "(":
            return self._group()
        if character == "$":
            self._place += 1
            return self._end(place)
        if pattern.startswith(("\\z", "\\Z"), place):
            raise refusal("\\z and \\Z are not read; $ is", place)
        if character in "[\\":
            reader = SetReader(pattern, place)
            chars, self._place = reader.read(), reader.place
        elif character == ".":  # not a newline, in both dialects
            chars = _NOT_NEWLINE.set
            self._place += 1
        elif character in "^*+?{":
            raise refusal(f"{character} is not read here", place)
        else:
            chars = CharSet.of(character)
            self._place += 1
        return Chars(folded(chars, place) if self._folds else chars)

    def _end(self, place: int) -> Node:
        if self._dialect == "oniguruma":
            self.edits.append(Edit(place, place + 1, r"(?![^\n])"))
            return Look(_NOT_NEWLINE, negative=True)
        return Look(Chars(ANYTHING), negative=True)

    def _group(self) -> Node:
        start = self._place
        opening = next((g for g in _GROUPS if self._pattern.startswith(g, start)), "(")
        if opening == "(" and self._pattern[start + 1 : start + 2] in ("?", "*"):
            name = _GROUP_NAME.match(self._pattern, start)
            if name is None:
                raise refusal("a group of a kind that no tokenizer uses", start)
            opening = name[0]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise refusal(f"groups are nested deeper than {MAX_DEPTH}", start)
        # Named groups are read as plain ones: what could refer to them is refused.
        folds, self._folds = self._folds, self._folds or opening == "(?i:"
        self._place += len(opening)
        inner = self._alternatives()
        self._folds = folds
        self._depth -= 1
        if not self._takes(")"):
            raise refusal("a group that does not end", start)
        if opening in ("(?=", "(?!"):
            return Look(inner, opening == "(?!")
        return Atomic(inner) if opening == "(?>" else inner

    def _takes(self, character: str) -> bool:
        found = self._pattern.startswith(character, self._place)
        self._place += found
        return found


@lru_cache(maxsize=64)
def parse_pattern(pattern: str) -> Node:
    """Return a map's pattern as a tree.

    Raises:
        TokenizerMapValidationError: what is wrong, or not read, and the character at which it stands.
    """
    return PatternParser(pattern).tree


def portable_pattern(pattern: str, dialect: Dialect) -> str:
    """Return a pattern of a dialect with the same meaning in a map.

    Raises:
        TokenizerMapValidationError: what is wrong, or not read, and the character at which it stands.
    """
    return PatternParser(pattern, dialect).portable


def refusal(what: str, place: int) -> TokenizerMapValidationError:
    """Return the error for a pattern that is not read."""
    return TokenizerMapValidationError(f"pre_tokenizer_pattern: {what}, at character {place}")


def size_of(node: Node) -> int:
    """Return the most characters that a node names, with every bounded repetition written out."""
    match node:
        case Chars():
            return 1
        case Sequence(parts) | Alternatives(parts):
            return sum(map(size_of, parts))
        case Repeat(body, least, most):
            return size_of(body) * max(least, most or 1, 1)
        case Look(body) | Atomic(body):
            return size_of(body)


def _bounds(match: re.Match[str]) -> tuple[int, int | None]:
    if match["sign"]:
        return _SIGNS[match["sign"]]
    if match["exact"] is not None:
        return int(match["exact"]), int(match["exact"])
    return int(match["least"] or 0), int(match["most"]) if match["most"] else None


__all__ = ["EMPTY", "Dialect", "PatternParser", "parse_pattern", "portable_pattern", "refusal", "size_of"]
