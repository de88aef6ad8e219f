"""Where a text is cut into pieces, and which of these cuts no continuation of the text can move.

Each operation of a program becomes an alternative of one regular expression over character sets of a fixed
Unicode version; a pattern that spells the same operations takes the same road, and so does any other that is
proven to take time linear in the text.

A cut is settled when finding the pieces before it looked at nothing beyond the end of the text so far: then
whatever is appended cannot change them. The operations look past the end of their piece in few ways, and
these are all that `settle` has to know:

* a run may go on while its piece ends at the end of the text;
* white space is divided by what follows its whole run;
* a literal (`'r`) may be on its way to a longer one (`'re`), at the start of a piece or, for letters with a
  trailing contraction, right after it;
* cased letters try the whole run of letters and marks before they give parts of it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from codec_core import pretokenizer_program as programs
from codec_core.pretokenizer.engine_pattern import engine_pattern
from codec_core.pretokenizer.known_operations import ops_of_pattern, stage_of_pattern
from codec_core.pretokenizer.operations import ASCII_PUNCTUATION, ClassOf, alternative_of
from codec_core.pretokenizer.stages import (
    AlternationStage,
    DigitTriplesStage,
    IsolateStage,
    Stage,
    WholeStage,
)
from codec_core.pretokenizer_program import Op, Program
from codec_core.unicode.charsets import ASCII, LAST, LAST_OF_BMP, SPACE, CharSet, borders_of, category
from codec_core.unicode.classes import (
    CJK,
    CJK_RANGES,
    Shadow,
    category_ranges,
    char_class,
    shadow,
    whole_char_class,
)

__all__ = [
    "PreTokenizer",
    "alternative_of",
    "engine_pattern_of",
    "ops_of_pattern",
    "pretokenizer_of",
    "stage_of_pattern",
]


class PreTokenizer:
    """Cuts texts into pieces, in one or more stages.

    Attributes:
        takes_spaces: whether texts come with their spaces, or with U+2581 for them.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        shadow_of: Callable[[str], str] | None = shadow,
        takes_spaces: bool = True,
    ) -> None:
        """Take the stages, and what replaces astral characters where the stages know none."""
        self.takes_spaces = takes_spaces
        self._stages = stages
        self._first = stages[0].cut
        self._settle = stages[0].settle if len(stages) == 1 else self._settle_stages
        self._shadow = shadow_of

    def cut(self, text: str) -> list[str]:
        """Return the pieces of a text, which joined are the text."""
        if self._shadow is not None and not text.isascii() and _has_astral(text):
            return _pieces_like(text, self._cut(self._shadow(text)))
        return self._cut(text)

    def settle(self, text: str, seen: int = 0) -> tuple[list[str], str]:
        """Return the first pieces of the text, those that no continuation can change, and the rest.

        For every string `more`, `cut(text + more)` begins with these pieces.
        """
        del seen  # a cut is found from the beginning of its piece
        if not text.isascii() and self._shadow is not None and _has_astral(text):
            pieces, _ = self._settle(self._shadow(text))
            settled = sum(map(len, pieces))
            return _pieces_like(text, pieces), text[settled:]
        return self._settle(text)

    def _cut(self, text: str) -> list[str]:
        pieces = self._first(text)
        for stage in self._stages[1:]:
            pieces = list(chain.from_iterable(map(stage.cut, pieces)))
        return pieces

    def _settle_stages(self, text: str) -> tuple[list[str], str]:
        return _settle_stages(self._stages, text)


def _settle_stages(stages: Sequence[Stage], text: str) -> tuple[list[str], str]:
    """Settle a text through several stages.

    A settled piece of one stage is a whole text for the next. The rest, as far as it certainly stays one
    piece, is a text for the next stage that may end there or go on: which is just what settling allows for.
    """
    stage, later = stages[0], stages[1:]
    pieces, rest = stage.settle(text)
    if not later:
        return pieces, rest
    done: list[str] = []
    for piece in pieces:
        done.extend(_cut_stages(later, piece))
    more, _ = _settle_stages(later, stage.reach(rest))
    return done + more, rest[sum(map(len, more)) :]


def _cut_stages(stages: Sequence[Stage], piece: str) -> list[str]:
    pieces = [piece]
    for stage in stages:
        pieces = list(chain.from_iterable(map(stage.cut, pieces)))
    return pieces


def _has_astral(text: str) -> bool:
    # UTF-16 writes each astral character as two units. This is one pass in C, where `max` compares objects.
    return len(text.encode("utf-16-le", "surrogatepass")) != 2 * len(text)


def _pieces_like(text: str, pieces: Iterable[str]) -> list[str]:
    cuts: list[str] = []
    start = 0
    for piece in pieces:
        stop = start + len(piece)
        cuts.append(text[start:stop])
        start = stop
    return cuts


def pretokenizer_of(
    program: Program | None, pattern: str | None, *, takes_spaces: bool = True
) -> PreTokenizer:
    """Return the pre-tokenizer that a map states.

    The program is preferred to the pattern. Without either, a text is one piece. Texts come with their
    spaces, or with U+2581 for them.

    Raises:
        TokenizerMapValidationError: the pattern does not compile.
    """
    # Where the two differ in a published map, the program is what the model's own tokenizer does.
    if program is not None:
        return _pretokenizer(programs.stages_of(program), takes_spaces=takes_spaces)
    if pattern is None:
        return PreTokenizer([WholeStage()], shadow_of=None, takes_spaces=takes_spaces)
    ops = ops_of_pattern(pattern)
    stage = programs.PatternIsolate(pattern) if ops is None else programs.Alternation(ops)
    return _pretokenizer([stage], takes_spaces=takes_spaces)


def _pretokenizer(stages: Sequence[programs.Stage], *, takes_spaces: bool) -> PreTokenizer:
    """Return the stages over texts with astral characters replaced or, where that is not possible, as is."""
    # The stand-ins of categories are enough unless a pattern, or a literal, may tell one from its category.
    has_patterns = any(isinstance(stage, programs.PatternIsolate) for stage in stages)
    if not has_patterns and _named_beyond_ascii(stages) == "":
        return PreTokenizer([_stage(stage, LAST_OF_BMP) for stage in stages], takes_spaces=takes_spaces)
    shadow_of = _shadow_for(stages)
    last = LAST if shadow_of is None else LAST_OF_BMP
    made = [_stage(stage, last) for stage in stages]
    return PreTokenizer(made, shadow_of=shadow_of, takes_spaces=takes_spaces)


def _named_beyond_ascii(stages: Iterable[programs.Stage]) -> str:
    """Return the characters beyond ASCII that the operations of some stages name."""
    ops = (op for stage in stages if isinstance(stage, programs.Alternation) for op in stage.ops)
    return "".join(
        filter(lambda c: not c.isascii(), chain.from_iterable(map(programs.named_characters, ops)))
    )


def _shadow_for(stages: Iterable[programs.Stage]) -> Shadow | None:
    """Return what keeps the sets of patterns, and all that operations tell apart."""
    from codec_core.pretokenizer.pattern_parser import parse_pattern
    from codec_core.pretokenizer.patterns import sets_of

    sets = {ASCII, SPACE, CharSet(CJK_RANGES), *map(category, category_ranges())}
    # One by one: a literal may hold one of two characters of the same category, and not the other.
    sets |= set(map(CharSet.of, _named_beyond_ascii(stages)))
    for stage in stages:
        if isinstance(stage, programs.PatternIsolate):
            sets |= sets_of(parse_pattern(stage.pattern))
    try:
        return Shadow(borders_of(sets))
    except KeyError:  # an astral character without a stand-in: the stages then tell astral characters apart
        return None


def engine_pattern_of(program: Program | None, pattern: str | None) -> str | None:
    """Return the same pre-tokenizer as one pattern for tiktoken's engine, or None where none is known.

    It is written anew from the operations, over classes of one fixed Unicode version: a map's own pattern
    never reaches the engine.
    """
    ops: tuple[Op, ...] | None = None
    if program is not None:
        stages = programs.stages_of(program)
        if len(stages) == 1 and isinstance(stages[0], programs.Alternation):
            ops = stages[0].ops
    elif pattern is not None:
        ops = ops_of_pattern(pattern)
    return engine_pattern(ops) if ops else None


def _stage(stage: programs.Stage, last: int) -> Stage:
    class_of: ClassOf = char_class if last == LAST_OF_BMP else whole_char_class
    # The reference takes all of ASCII's punctuation for such, `$` and `+` too, whose category is a symbol's.
    numbers, punctuation = class_of("N"), class_of("P") + ASCII_PUNCTUATION
    match stage:
        case programs.Alternation(ops):
            return AlternationStage(ops, class_of)
        case programs.PatternIsolate(pattern):
            from codec_core.pretokenizer.patterns import pattern_stage  # few maps need them

            return pattern_stage(pattern, last)
        case programs.DigitsIsolate(mode, max_run):
            limit = 1 if mode == "individual" else max_run  # 0: no limit
            return IsolateStage(f"[{numbers}]{f'{{1,{limit}}}' if limit else '+'}|[^{numbers}]+")
        case programs.DigitTriplesIsolate():
            # One or two digits at the end belong to a triple or to what is before it, as the text goes on.
            return IsolateStage(r"[0-9]{3}|(?:(?![0-9]{3})[\s\S])+", undecided="[0-9]{1,2}")
        case programs.DigitTriplesFromEnd(digits, before, after):
            return DigitTriplesStage(
                "[0-9]" if digits == "ascii" else f"[{numbers}]", before=before, after=after
            )
        case programs.PunctuationContiguous():
            return IsolateStage(f"[{punctuation}]+|[^{punctuation}]+")
        case programs.CjkIsolate():
            return IsolateStage(f"[{CJK}]+|[^{CJK}]+")
    raise AssertionError(stage)
