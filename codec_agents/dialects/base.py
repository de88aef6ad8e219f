"""A dialect: the forms of one model family, and how they are bound to a vocabulary.

The forms themselves are data (`forms`): what binds, writes and reads knows only them, so that imports go in
one direction.
"""

from __future__ import annotations

from collections.abc import Sequence

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.forms import (
    EARLIER_REASONING,
    NO_REFERENCE,
    SPENT_BUDGET,
    CallForm,
    Content,
    DialectForms,
    Openings,
    ResultForm,
    ThinkingForm,
    ToolsForm,
    WrittenCalls,
)
from codec_agents.dialects.grammars import Grammar
from codec_agents.dialects.messages import ToolSpec
from codec_agents.dialects.values import ThinkingMode
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary

__all__ = [
    "EARLIER_REASONING",
    "NO_REFERENCE",
    "SPENT_BUDGET",
    "CallForm",
    "Content",
    "Dialect",
    "Openings",
    "ResultForm",
    "ThinkingForm",
    "ToolsForm",
    "WrittenCalls",
]


class Dialect(DialectForms):
    """One model family. Immutable; bind it to a map to use it."""

    def bind(
        self,
        vocabulary: TokenizerMap | Vocabulary,
        tools: Sequence[ToolSpec] = (),
        thinking: ThinkingMode | None = None,
        grammar: Grammar | None = None,
    ) -> BoundDialect:
        """Return the dialect in the ids of one vocabulary, for the tools of a node.

        Args:
            vocabulary: the map of the model, or its vocabulary.
            tools: the tools.
            thinking: the mode of every turn.
            grammar: reads the payload of a call; None for the one that the dialect names.

        Raises:
            DialectError: the map lacks markers that the dialect needs, or the thinking mode cannot be had.
        """
        return BoundDialect(self, vocabulary, tools, thinking, grammar)
