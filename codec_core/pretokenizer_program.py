"""Pre-tokenizer programs: the operations a map may state, as typed values.

A program of version 1 is one alternation of operations. A program of version 2 is a list of stages, each
run over every piece the stage before it left. What each operation means is in `pretokenizer`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from codec_core.exceptions import TokenizerMapValidationError


class _Op(msgspec.Struct, frozen=True, tag_field="op"):
    """An operation of an alternation."""


class LiteralsCi(_Op, frozen=True, tag="literals_ci"):
    """The longest of the patterns, in upper or lower case."""

    patterns: tuple[str, ...]


class Literals(_Op, frozen=True, tag="literals"):
    """The longest of the patterns, exactly."""

    patterns: tuple[str, ...]


class Letters(_Op, frozen=True, tag="letters"):
    """A run of letters, with one character before it if it is of the lead class."""

    lead_other: bool = False
    lead_space: bool = False
    lead_other_class: Literal["l_n", "l_p_s"] | None = None
    body: Literal["L", "L_M"] | None = None


class LettersCased(_Op, frozen=True, tag="letters_cased"):
    """A run of letters that ends in lower case (title) or begins in upper case (upper)."""

    kind: Literal["title", "upper"]
    lead_other: bool = False
    trailing_ci: tuple[str, ...] = ()


class Numbers(_Op, frozen=True, tag="numbers"):
    """A run of numbers, at most `max_run` of them."""

    max_run: int = 0
    lead_space: bool = False


class PunctRun(_Op, frozen=True, tag="punct_run"):
    """A run of what is neither white space, letter nor number, or of punctuation and symbols."""

    lead_space: bool = False
    trailing_newlines: bool = False
    trailing_chars: str | None = None
    charset: Literal["p_s"] | None = None


class PunctAsciiLetters(_Op, frozen=True, tag="punct_ascii_letters"):
    """One ASCII punctuation character and the ASCII letters after it."""


class NewlineBlock(_Op, frozen=True, tag="newline_block"):
    """White space up to the last newline of its run."""


class TrailingWs(_Op, frozen=True, tag="trailing_ws"):
    """White space up to the last character before something else."""


class WsRun(_Op, frozen=True, tag="ws_run"):
    """A run of white space."""


class MetaspaceSplit(_Op, frozen=True, tag="metaspace_split"):
    """Words at white space, each marked with U+2581."""

    prefix_first: bool = False


Op = (
    LiteralsCi
    | Literals
    | Letters
    | LettersCased
    | Numbers
    | PunctRun
    | PunctAsciiLetters
    | NewlineBlock
    | TrailingWs
    | WsRun
    | MetaspaceSplit
)


class Alternation(msgspec.Struct, frozen=True, tag_field="op", tag="alternation"):
    """A stage that cuts by the first operation that matches at each position."""

    ops: tuple[Op, ...]


class DigitsIsolate(msgspec.Struct, frozen=True, tag_field="op", tag="digits_isolate"):
    """A stage that isolates numbers, one by one or in runs."""

    mode: Literal["individual", "grouped"] = "individual"
    max_run: int = 0


class DigitTriplesIsolate(msgspec.Struct, frozen=True, tag_field="op", tag="digit_triples_isolate"):
    """A stage that isolates each three ASCII digits in a row."""


class PunctuationContiguous(msgspec.Struct, frozen=True, tag_field="op", tag="punctuation_contiguous"):
    """A stage that isolates runs of punctuation."""


class CjkIsolate(msgspec.Struct, frozen=True, tag_field="op", tag="cjk_isolate"):
    """A stage that isolates runs of CJK ideographs, Hiragana and Katakana."""


class PatternIsolate(msgspec.Struct, frozen=True, tag_field="op", tag="pattern_isolate"):
    """A stage that isolates the matches of a pattern: an addition of this project."""

    pattern: str


class DigitTriplesFromEnd(msgspec.Struct, frozen=True, tag_field="op", tag="digit_triples_from_end"):
    """A stage that cuts runs of digits in threes, counted from their end: an addition of this project.

    Attributes:
        digits: ASCII digits, or all numbers.
        before: whether a run of whole triples is apart from what is before it; others never are.
        after: whether a run is apart from what is after it.
    """

    digits: Literal["ascii", "all"] = "all"
    before: bool = True
    after: bool = True


Stage = (
    Alternation
    | DigitsIsolate
    | DigitTriplesIsolate
    | DigitTriplesFromEnd
    | PunctuationContiguous
    | CjkIsolate
    | PatternIsolate
)


class ProgramV1(msgspec.Struct, frozen=True, tag_field="version", tag=1):
    """One alternation."""

    ops: tuple[Op, ...]


class ProgramV2(msgspec.Struct, frozen=True, tag_field="version", tag=2):
    """Stages in order."""

    stages: tuple[Stage, ...]


Program = ProgramV1 | ProgramV2


def stages_of(program: Program) -> tuple[Stage, ...]:
    """Return the stages of a program; a version 1 program is a single alternation."""
    if isinstance(program, ProgramV1):
        return (Alternation(program.ops),)
    return program.stages


MAX_STAGES = 16
MAX_OPS = 32
MAX_RUN = 64
MAX_LITERAL_CHARACTERS = 4096
MAX_PATTERN = 8192
"""Four times and more what any known tokenizer has. Each operation is compiled into an expression over
character sets, so what a map states here costs time and memory out of proportion to its size."""


def check_program(program: Program) -> None:
    """Refuse a program that has the right types but cannot be run, or only at too great a cost.

    Raises:
        TokenizerMapValidationError: the operation and what is wrong with it.
    """
    stages = stages_of(program)
    if not stages:
        raise _refusal("no stages; leave the field out instead")
    if len(stages) > MAX_STAGES:
        raise _refusal(f"{len(stages)} stages; at most {MAX_STAGES} are read")
    for stage in stages:
        if isinstance(stage, Alternation):
            _check_ops(stage.ops)
            # A metaspace tokenizer takes it for the whole cutting: other stages would be left out in silence.
            if len(stages) > 1 and isinstance(stage.ops[0], MetaspaceSplit):
                raise _refusal("metaspace_split must be the only stage")
        elif isinstance(stage, DigitsIsolate):
            _check_run("digits_isolate", stage.max_run)
        elif isinstance(stage, PatternIsolate):
            check_pattern(stage.pattern)


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that is longer than any tokenizer's.

    Raises:
        TokenizerMapValidationError: its length.
    """
    if len(pattern) > MAX_PATTERN:
        raise TokenizerMapValidationError(
            f"pre_tokenizer_pattern: {len(pattern)} characters; at most {MAX_PATTERN} are read"
        )


def _refusal(message: str) -> TokenizerMapValidationError:
    return TokenizerMapValidationError(f"pre_tokenizer_program: {message}")


def _check_run(op: str, max_run: int) -> None:
    if not 0 <= max_run <= MAX_RUN:
        raise _refusal(f"{op}.max_run is {max_run}, outside 0..{MAX_RUN}")


def _check_ops(ops: tuple[Op, ...]) -> None:
    if not ops:
        raise _refusal("an alternation without ops")
    if len(ops) > MAX_OPS:
        raise _refusal(f"an alternation of {len(ops)} ops; at most {MAX_OPS} are read")
    if sum(len(named_characters(op)) for op in ops) > MAX_LITERAL_CHARACTERS:
        raise _refusal(f"more than {MAX_LITERAL_CHARACTERS} characters in literals")
    for op in ops:
        if isinstance(op, Literals | LiteralsCi) and not (op.patterns and all(op.patterns)):
            raise _refusal("literals need patterns, none empty")
        if isinstance(op, Numbers):
            _check_run("numbers", op.max_run)
        # It leaves out what is between words, and marks them: an operation beside it would see neither.
        if isinstance(op, MetaspaceSplit) and len(ops) > 1:
            raise _refusal("metaspace_split must stand alone")


def named_characters(op: Op) -> str:
    """Return the characters that an operation names one by one."""
    match op:
        case Literals(patterns) | LiteralsCi(patterns):
            return "".join(patterns)
        case LettersCased():
            return "".join(op.trailing_ci)
        case PunctRun():
            return op.trailing_chars or ""
    return ""
