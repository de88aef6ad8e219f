"""Pre-tokenizer operations as one pattern for an engine that cuts a text and merges its pieces in one call.

The engine is tiktoken's. Its patterns backtrack as `re` does, so the same alternatives in the same order find
the same pieces. Alternatives that do not look ahead are run by an automaton, and grouping them lets it try
all of them at once; only `trailing_ws` looks ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from codec_core import pretokenizer_program as programs
from codec_core.pretokenizer.operations import alternative_of, is_total
from codec_core.pretokenizer_program import Op
from codec_core.unicode.classes import whole_char_class

MAX_ENGINE_PATTERN = 32_768
"""The engine keeps 128 copies of its pattern, so one of ten times the usual length is not worth it."""


def engine_pattern(ops: Sequence[Op]) -> str | None:
    """Return the operations as a pattern, or None where it would leave something out or grow too long.

    What the pattern finds in a text, one match after the other, are the text's pieces, and each piece alone
    is found as a whole.
    """
    if not is_total(ops):
        return None
    runs = groupby(ops, key=lambda op: isinstance(op, programs.TrailingWs))
    groups = ["|".join(alternative_of(op, whole_char_class) for op in run) for _, run in runs]
    pattern = "|".join(f"(?:{group})" for group in groups)
    return pattern if len(pattern) <= MAX_ENGINE_PATTERN else None
