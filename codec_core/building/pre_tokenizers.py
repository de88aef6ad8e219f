"""The pre-tokenizer of a `tokenizer.json` as the fields of a map.

Each step becomes a stage of a program, or several. A step that leaves text out has no form, nor has one
behind `ByteLevel` that would cut the bytes of a character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from codec_core.building.steps import PreTokenizerStep
from codec_core.exceptions import MapBuildError, TokenizerMapValidationError
from codec_core.pretokenizer import ops_of_pattern, stage_of_pattern
from codec_core.pretokenizer.pattern_parser import parse_pattern, portable_pattern
from codec_core.pretokenizer.pattern_tree import Chars
from codec_core.pretokenizer.patterns import SearchStage, pattern_stage
from codec_core.pretokenizer_program import (
    Alternation,
    DigitsIsolate,
    MetaspaceSplit,
    PatternIsolate,
    ProgramV1,
    ProgramV2,
    PunctuationContiguous,
    Stage,
)
from codec_core.vocabulary import METASPACE

GPT_2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` with `use_regex` cuts by."""

_DIGIT_TRIPLES = "[0-9][0-9][0-9]"
"""Cuts bytes as it cuts characters, since both are ASCII."""

_PUNCTUATION = r"[\p{P}!-/:-@\[-`{-~]"


class PreTokenizer(NamedTuple):
    """The fields of a map that the steps of a file become.

    Attributes:
        fields: `pre_tokenizer_pattern` and `pre_tokenizer_program` of the map.
        in_bytes: whether the tokens are bytes.
        prefixes_space: whether a text that does not begin with a space gets one.
        is_proven: whether every pattern takes linear time in every engine that goes back.
    """

    fields: dict[str, Any]
    in_bytes: bool
    prefixes_space: bool
    is_proven: bool


class _Reader:
    """Gathers stages from step to step."""

    def __init__(self, *, marked: bool) -> None:
        self.marked = marked
        self.in_bytes = False
        self.prefixes_space = False
        self.stages: list[Stage] = []
        self.patterns: list[str] = []

    def read(self, step: PreTokenizerStep) -> None:
        read = _STEPS.get(step.type)
        if read is None:
            reason = _REASONS.get(step.type, "it is not known")
            raise MapBuildError(f"the pre-tokenizer {step.type!r} has no form in a map: {reason}")
        if self.in_bytes and step.pattern.get("Regex") != _DIGIT_TRIPLES:
            raise MapBuildError(
                f"{step.type!r} after ByteLevel cuts bytes, not characters: a map cannot say it"
            )
        read(self, step)

    def isolate(self, pattern: str) -> None:
        """Add the stage that isolates the matches of a pattern."""
        self.stages.append(isolating(pattern))
        self.patterns.append(pattern)


def fields_of(steps: Sequence[PreTokenizerStep], *, marked: bool) -> PreTokenizer:
    """Return the fields that the steps of a file become.

    Args:
        steps: the members of the file's `Sequence`, or its one pre-tokenizer.
        marked: True if U+2581 stands for spaces before they run.

    Raises:
        MapBuildError: a step that a map cannot say.
    """
    reader = _Reader(marked=marked)
    if cuts_words(steps):
        reader.stages.append(Alternation((MetaspaceSplit(),)))
    else:
        for step in steps:
            reader.read(step)
    if reader.in_bytes == marked:
        raise MapBuildError("the tokens are neither byte-level nor metaspace, which has no form in a map")
    fields = program_fields(reader.stages)
    # Beside the program, as published maps have both.
    if len(reader.stages) == len(reader.patterns) == 1:
        fields["pre_tokenizer_pattern"] = reader.patterns[0]
    patterns = [stage.pattern for stage in reader.stages if isinstance(stage, PatternIsolate)]
    is_proven = not any(isinstance(pattern_stage(pattern), SearchStage) for pattern in patterns)
    return PreTokenizer(fields, reader.in_bytes, reader.prefixes_space, is_proven)


def cuts_words(steps: Sequence[PreTokenizerStep]) -> bool:
    """Return whether the steps cut text at white space, leave it out, and mark each word."""
    return [step.type for step in steps] == ["WhitespaceSplit", "Metaspace"]


def pattern_fields(*patterns: str) -> dict[str, Any]:
    """Return the fields that isolate the matches of some patterns, one after the other.

    Raises:
        MapBuildError: a pattern is not read, or takes more than linear time.
    """
    fields = program_fields(list(map(isolating, patterns)))
    return {"pre_tokenizer_pattern": patterns[0], **fields} if len(patterns) == 1 else fields


def program_fields(stages: Sequence[Stage]) -> dict[str, Any]:
    """Return the fields that state some stages, as one pattern or alternation where that is enough."""
    match stages:
        case []:
            return {}
        case [Alternation(ops)]:
            return {"pre_tokenizer_program": msgspec.to_builtins(ProgramV1(ops))}
        case [PatternIsolate(pattern)]:
            return {"pre_tokenizer_pattern": pattern}
    return {"pre_tokenizer_program": msgspec.to_builtins(ProgramV2(tuple(stages)))}


def isolating(pattern: str) -> Stage:
    """Return the stage that isolates the matches of a pattern.

    Raises:
        MapBuildError: the pattern is not read, or takes more than linear time.
    """
    try:
        # A single operation is written as a stage where the protocol has one: `\p{N}` isolates digits.
        ops = ops_of_pattern(pattern)
        stage = None if ops is not None and len(ops) > 1 else stage_of_pattern(pattern)
        if stage is not None:
            return stage
        if ops is not None:
            return Alternation(ops)
        pattern_stage(pattern)
    except TokenizerMapValidationError as error:
        raise MapBuildError(str(error)) from None
    return PatternIsolate(pattern)


def _split(reader: _Reader, step: PreTokenizerStep) -> None:
    text = step.pattern.get("String")
    if text == " " and reader.marked:
        # No space is left where U+2581 stands for each, so nothing matches: the whole text is one piece, or
        # is removed.
        if step.behavior == "Removed" and step.invert:
            raise MapBuildError("a Split that removes what its pattern leaves out loses text: all of it")
        return
    source = step.pattern.get("Regex") if text is None else escaped(text)
    if not source:
        raise MapBuildError("a Split by nothing has no form in a map")
    try:
        pattern = portable_pattern(source, "oniguruma")
    except TokenizerMapValidationError as error:
        raise MapBuildError(f"Split: {error}") from None
    cut = _BEHAVIORS.get((step.behavior, step.invert))
    if cut is None:
        raise MapBuildError(
            f"a Split with behavior {step.behavior!r} and invert {step.invert} has no form in a map"
        )
    cut(reader, pattern)


def _isolated(reader: _Reader, pattern: str) -> None:
    reader.isolate(pattern)


def _removed_inverted(reader: _Reader, pattern: str) -> None:
    """Isolate the matches of a pattern that takes every character: nothing is left to remove."""
    refuse_gaps(pattern, "a Split that removes what its pattern leaves out")
    reader.isolate(pattern)


def refuse_gaps(pattern: str, what: str) -> None:
    """Refuse a pattern that leaves characters out.

    Raises:
        MapBuildError: names a character that it leaves out.
    """
    try:
        stage = pattern_stage(pattern)
    except TokenizerMapValidationError as error:
        raise MapBuildError(str(error)) from None
    if not stage.is_total:
        raise MapBuildError(f"{what} loses text: not every character belongs to a match of {pattern!r}")


def _contiguous(reader: _Reader, pattern: str) -> None:
    if not isinstance(parse_pattern(pattern), Chars):
        raise MapBuildError("a Split with behavior 'Contiguous' by more than a set has no form in a map")
    reader.isolate(f"(?:{pattern})+")


def _with_previous(reader: _Reader, pattern: str) -> None:
    others = _complement(pattern)
    reader.isolate(f"{others}*(?:{pattern})|{others}+")


def _with_next(reader: _Reader, pattern: str) -> None:
    others = _complement(pattern)
    reader.isolate(f"(?:{pattern}){others}*|{others}+")


def _complement(pattern: str) -> str:
    if not isinstance(parse_pattern(pattern), Chars):
        raise MapBuildError("a Split that merges matches of more than a set has no form in a map")
    return f"(?:(?!{pattern})[\\s\\S])"


_BEHAVIORS: Mapping[tuple[str | None, bool], Callable[[_Reader, str], None]] = {
    ("Isolated", False): _isolated,
    ("Isolated", True): _isolated,  # the same pieces, whichever of them is called a match
    ("Removed", True): _removed_inverted,
    ("Contiguous", False): _contiguous,
    ("MergedWithPrevious", False): _with_previous,
    ("MergedWithNext", False): _with_next,
}


def escaped(text: str) -> str:
    """Return a pattern that matches a text, and nothing else."""
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$#&-~" else c for c in text)


def _byte_level(reader: _Reader, step: PreTokenizerStep) -> None:
    if reader.marked:
        raise MapBuildError("ByteLevel where U+2581 stands for spaces has no form in a map")
    if step.add_prefix_space is not False:
        if reader.stages:  # each piece would get a space, where a map has one for the text
            raise MapBuildError("ByteLevel with add_prefix_space behind other steps has no form in a map")
        reader.prefixes_space = True
    if step.use_regex:
        reader.isolate(GPT_2_PATTERN)
    reader.in_bytes = True


def _digits(reader: _Reader, step: PreTokenizerStep) -> None:
    reader.stages.append(DigitsIsolate("individual" if step.individual_digits else "grouped"))


def _punctuation(reader: _Reader, step: PreTokenizerStep) -> None:
    if step.behavior == "Contiguous":
        reader.stages.append(PunctuationContiguous())
        return
    cut = _BEHAVIORS.get((step.behavior or "Isolated", False))
    if cut is None:
        raise MapBuildError(f"Punctuation with behavior {step.behavior!r} has no form in a map")
    cut(reader, _PUNCTUATION)


def _metaspace(reader: _Reader, step: PreTokenizerStep) -> None:
    """Read the cutting of marked text into words; that it marks the text is read with the normalizers."""
    if step.split:
        reader.isolate(f"{METASPACE}[^{METASPACE}]*|[^{METASPACE}]+")


_STEPS: Mapping[str, Callable[[_Reader, PreTokenizerStep], None]] = {
    "Split": _split,
    "ByteLevel": _byte_level,
    "Digits": _digits,
    "Punctuation": _punctuation,
    "Metaspace": _metaspace,
}

_LOSES_SPACE = "it leaves the white space out, so that no text comes back"
_REASONS = {
    "Whitespace": _LOSES_SPACE,
    "WhitespaceSplit": _LOSES_SPACE,
    "BertPreTokenizer": _LOSES_SPACE,
    "CharDelimiterSplit": "it leaves the delimiter out, so that no text comes back",
    "UnicodeScripts": "maps do not tell the scripts of neighbours apart",
    "FixedLength": "maps do not count characters",
}


def steps_of(step: PreTokenizerStep | None) -> Iterator[PreTokenizerStep]:
    """Yield one step, or the members of a `Sequence`."""
    if step is not None and step.type == "Sequence":
        for member in step.pretokenizers:
            yield from steps_of(member)
    elif step is not None:
        yield step
