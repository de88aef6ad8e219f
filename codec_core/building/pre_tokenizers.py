"""The pre-tokenizer of a `tokenizer.json` as the fields of a map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from codec_core.building.steps import PreTokenizerStep
from codec_core.exceptions import MapBuildError
from codec_core.pretokenizer import ops_of_pattern
from codec_core.pretokenizer_program import (
    Alternation,
    CjkIsolate,
    DigitsIsolate,
    DigitTriplesIsolate,
    ProgramV1,
    ProgramV2,
    PunctuationContiguous,
    Stage,
)

GPT_2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` with `use_regex` cuts by."""

_DIGIT_TRIPLES = "[0-9][0-9][0-9]"
"""Cuts bytes as it cuts characters, since both are ASCII."""

_KNOWN_SPLITS: Mapping[str, Stage] = {
    _DIGIT_TRIPLES: DigitTriplesIsolate(),
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+": CjkIsolate(),
}
"""Patterns that are a stage of their own in a map."""


def fields_of(steps: Sequence[PreTokenizerStep]) -> dict[str, Any]:
    """Return `pre_tokenizer_pattern` and `pre_tokenizer_program` for a byte-level pre-tokenizer.

    Args:
        steps: The members of the file's `Sequence`, or its one pre-tokenizer.

    Raises:
        MapBuildError: a step that a map cannot say.
    """
    patterns: list[str] = []
    stages: list[Stage | None] = []
    in_bytes = False
    for step in steps:
        read = _STEPS.get(step.type)
        if read is None:
            raise MapBuildError(f"the pre-tokenizer {step.type!r} has no form in a map")
        if in_bytes and step.pattern.get("Regex") != _DIGIT_TRIPLES:
            raise MapBuildError(
                f"{step.type!r} after ByteLevel cuts bytes, not characters: a map cannot say it"
            )
        in_bytes = in_bytes or step.type == "ByteLevel"
        read(step, patterns, stages)
    if not in_bytes:
        raise MapBuildError("the tokens are neither byte-level nor metaspace, which has no form in a map")
    if len(stages) == 1 and len(patterns) == 1:
        return {"pre_tokenizer_pattern": patterns[0], "pre_tokenizer_program": _single(stages[0])}
    if None in stages:
        raise MapBuildError("several pre-tokenizer steps, one of them with a pattern that has no operations")
    program = ProgramV2(tuple(stage for stage in stages if stage is not None))
    return {"pre_tokenizer_program": msgspec.to_builtins(program)}


def _single(stage: Stage | None) -> Any:
    """Return a program of version 1 where one alternation says all; None leaves it to the pattern."""
    return msgspec.to_builtins(ProgramV1(stage.ops)) if isinstance(stage, Alternation) else None


def _split(step: PreTokenizerStep, patterns: list[str], stages: list[Stage | None]) -> None:
    source = step.pattern.get("Regex")
    if source is None:
        raise MapBuildError("a Split by a plain string has no form in a map")
    if (step.behavior, step.invert) not in {("Isolated", False), ("Removed", True)}:
        raise MapBuildError(
            f"a Split with behavior {step.behavior!r} and invert {step.invert} has no form in a map"
        )
    if source in _KNOWN_SPLITS:
        stages.append(_KNOWN_SPLITS[source])
        return
    ops = ops_of_pattern(source)
    patterns.append(source)
    stages.append(None if ops is None else Alternation(ops))


def _byte_level(step: PreTokenizerStep, patterns: list[str], stages: list[Stage | None]) -> None:
    if step.add_prefix_space is not False:
        raise MapBuildError("ByteLevel with add_prefix_space has no form in a map")
    if step.use_regex:
        _split(PreTokenizerStep("Split", (), {"Regex": GPT_2_PATTERN}, "Isolated"), patterns, stages)


def _digits(step: PreTokenizerStep, _: list[str], stages: list[Stage | None]) -> None:
    stages.append(DigitsIsolate("individual" if step.individual_digits else "grouped"))


def _punctuation(step: PreTokenizerStep, _: list[str], stages: list[Stage | None]) -> None:
    if step.behavior != "Contiguous":
        raise MapBuildError(f"Punctuation with behavior {step.behavior!r} has no form in a map")
    stages.append(PunctuationContiguous())


_STEPS: Mapping[str, Callable[[PreTokenizerStep, list[str], list[Stage | None]], None]] = {
    "Split": _split,
    "ByteLevel": _byte_level,
    "Digits": _digits,
    "Punctuation": _punctuation,
}
