"""The reasoning of one family, in the ids of one vocabulary: closing it, keeping it, leaving it out."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms
from codec_agents.dialects.parsing.block_reader import BlockTable
from codec_agents.dialects.parsing.channel_reader import ChannelTable
from codec_agents.dialects.parsing.message_reader import MessageTable
from codec_agents.dialects.values import ThinkingMode
from codec_agents.dialects.writing.forgetting import (
    MessageMarks,
    ReasoningMarks,
    forget_blocks,
    forget_channels,
    forget_messages,
    forget_regions,
)
from codec_agents.dialects.writing.prompt_writer import PromptWriter
from codec_agents.graph.chat import Chat
from codec_core.vocabulary import Vocabulary


class BoundReasoning:
    """How reasoning is ended by others than the model, and what becomes of it in later exchanges.

    Attributes:
        known: whether reasoning is told apart in this vocabulary.
    """

    def __init__(
        self,
        dialect: DialectForms,
        vocabulary: Vocabulary,
        encoder: PieceEncoder,
        writer: PromptWriter,
        *,
        known: bool,
        with_tools: bool,
    ) -> None:
        self._dialect = dialect
        self._vocabulary = vocabulary
        self._encoder = encoder
        self._writer = writer
        self._with_tools = with_tools
        self.known = known

    def stays(self, chat: Chat) -> bool:
        """Return whether reasoning stays in the prompt when a user speaks again."""
        return self._dialect.keeps_reasoning(
            chat.keep_reasoning, self._writer.absent, with_tools=self._with_tools
        )

    def can_be(self, mode: ThinkingMode) -> bool:
        """Return whether the family's prompts say anything of a thinking mode."""
        dialect, opening = self._dialect, self._dialect.opening
        if mode == "off":
            # Where no reasoning is known, or the turn can be opened with it closed, `off` needs no words of
            # its own in the prompt.
            reasons_by_itself = self.known and opening.off is None
            said = (
                dialect.thinking_turn,
                dialect.thinking_system,
                dialect.thinking_after,
                dialect.thinking_user,
            )
            return not reasons_by_itself or any(mode in each for each in said)
        return self.known  # the other modes ask for reasoning, which every family has that marks it

    def end(self) -> list[int] | None:
        """Return what is put behind reasoning to end it; None where the family has nothing of the kind."""
        form = self._dialect.thinking
        if form is None or form.closing is None or not self.known:
            return None
        return self._writer.ids(form.closing)

    def left_out(self, ids: Sequence[int], begin: int) -> array[int]:
        """Return what was said without its reasoning.

        Args:
            ids: prompts and turns, one after the other.
            begin: where the first turn was generated; ids before its opening are kept.
        """
        if self._dialect.reader == "channels":
            stops = self._encoder.control_ids(self._dialect.stops)
            return forget_channels(ids, begin, ChannelTable.of(self._vocabulary, stops))
        if self._dialect.reader == "blocks":
            stops = self._encoder.control_ids(self._dialect.stops)
            return forget_blocks(ids, begin, BlockTable.of(self._vocabulary, stops))
        if self._dialect.reader == "messages":
            return forget_messages(ids, begin, self._message_marks)
        return forget_regions(ids, begin, self._marks)

    @cached_property
    def _message_marks(self) -> MessageMarks:
        table, known = MessageTable.of(self._vocabulary), self._vocabulary.special_tokens
        return MessageMarks(
            start=table.start,
            channel=table.channel,
            message=table.message,
            end=table.end,
            final=known["<|return|>"],
            spell=self._vocabulary.byte_table.__getitem__,
        )

    @cached_property
    def _marks(self) -> ReasoningMarks:
        dialect, encoder = self._dialect, self._encoder
        form, calls = dialect.thinking, dialect.calls
        assert form is not None
        # Both are there: what a vocabulary does not mark is never left out (`keeps_reasoning`).
        (opens,), (closes,) = encoder.control_ids((form.open,)), encoder.control_ids((form.close,))
        return ReasoningMarks(
            open=opens,
            close=closes,
            call_open=encoder.control_ids(calls.starts if calls else ()),
            call_close=encoder.control_ids(calls.ends if calls else ()),
            ends=encoder.control_ids(dialect.stops),
            openings=[
                (array("I", opening), array("I", plain))
                for opening, plain in self._writer.openings(form.history)
            ],
            spell=self._vocabulary.byte_table.__getitem__,
        )
