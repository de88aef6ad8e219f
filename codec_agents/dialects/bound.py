"""A dialect in the ids of one vocabulary, for the tools of one node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from codec_agents.dialects.base import Dialect
from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.grammars import GRAMMARS, Grammar, Payload, PayloadError
from codec_agents.dialects.messages import MessageReader, MessageTable
from codec_agents.dialects.prompt_writer import PromptWriter
from codec_agents.dialects.reader import Action, ReaderTable, RegionReader, TurnReader
from codec_agents.dialects.reasoning import BoundReasoning
from codec_agents.dialects.text_lane import TextForm, TextLane
from codec_agents.dialects.values import CallRegion, Marked, Segment, ThinkingMode, ToolCall
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.history import History
from codec_agents.prompts import PromptTemplate
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from codec_agents.dispatch import Attempt
    from codec_agents.tools import Tool


class BoundDialect:
    """Writes prompts and reads turns of one model family in one vocabulary. Immutable, shared by all runs.

    Attributes:
        dialect: what was bound.
        vocabulary: the vocabulary whose ids it speaks.
        tools: the tools that calls may name, by name.
        thinking: the thinking mode of every turn that it opens.
        stop_ids: the ids at which a turn is over.
        reasoning: how the family closes reasoning, keeps it or leaves it out.
        absent: optional markers that the map lacks: their text stands in prompts, their regions are unknown.
    """

    def __init__(
        self,
        dialect: Dialect,
        source: TokenizerMap | Vocabulary,
        tools: Sequence[Tool] = (),
        thinking: ThinkingMode | None = None,
        grammar: Grammar | None = None,
    ) -> None:
        self.dialect = dialect
        self.vocabulary = vocabulary = vocabulary_of(source)
        self.tools = {tool.name: tool for tool in tools}
        self.thinking = thinking
        known = vocabulary.special_tokens
        missing = [name for name in dialect.markers if name not in known]
        if missing:
            raise DialectError(
                f"the dialect {dialect.name!r} needs the control tokens {missing}, "
                f"which the map {vocabulary.id!r} lacks; choose another dialect or the model's own map",
                missing,
            )
        self.absent = tuple(name for name in dialect.optional_markers if name not in known)
        self.knows_reasoning = dialect.knows_reasoning(self.absent)
        """Whether reasoning is told apart in this vocabulary."""
        self._encoder = PieceEncoder(vocabulary, [name for name in dialect.all_markers() if name in known])
        self.stop_ids = self._encoder.control_ids(dialect.stops)
        self._writer = PromptWriter(dialect, vocabulary, self._encoder, thinking=thinking, absent=self.absent)
        self.reasoning = BoundReasoning(
            dialect, vocabulary, self._encoder, self._writer, known=self.knows_reasoning
        )
        self._grammar: Grammar | None = grammar or _grammar_of(dialect)
        self._table = self._reader_table()
        self._text_form = self._find_text_form()
        self._boundaries = frozenset(self._encoder.control_ids((*dialect.turn_starts, *dialect.stops)))
        form = dialect.thinking if self.knows_reasoning else None
        self._opens = frozenset(self._encoder.control_ids((form.open,))) if form else frozenset[int]()
        self._closes = frozenset(self._encoder.control_ids((form.close,))) if form else frozenset[int]()

    @property
    def name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    # Prompts

    def template(self, chat: Chat | RawPrompt, tools: Sequence[Tool] | None = None) -> PromptTemplate:
        """Return the prompt of a declared chat; its slots are those of the declaration.

        Args:
            chat: the declaration.
            tools: the tools to tell the model about; None for those the dialect was bound with.

        Raises:
            PromptError: tools for a family, or in this vocabulary, that has no form for them.
        """
        return self._writer.template(chat, list(self.tools.values()) if tools is None else list(tools))

    def extend(
        self, generated: Sequence[int], finish_reason: str | None, attempts: Sequence[Attempt]
    ) -> list[int]:
        """Return what follows the generated ids, so that the model sees what its calls gave and goes on.

        The next prompt is the prompt, the generated ids, and these. A turn that the model, or a limit, ended
        without its end marker is ended; a marker that it generated is not written twice.

        Raises:
            ForgedTokenError: an attempt's ids hold a control id.
            PromptError: the family has no form for results.
        """
        return self.extend_placed(generated, finish_reason, attempts)[0]

    def extend_placed(
        self,
        generated: Sequence[int],
        finish_reason: str | None,  # noqa: ARG002 - the last id says more, but not every family to come has one
        attempts: Sequence[Attempt],
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return what `extend` does, and where each result lies in it: its first id, and the one after it."""
        return self._writer.results(generated, attempts)

    def follow_up(self, history: History, chat: Chat | RawPrompt) -> PromptTemplate:
        """Return the prompt in which a person speaks again: everything that was said, and the user's turn.

        Where the family leaves earlier reasoning out of its history, and the chat does not say otherwise, the
        reasoning of the last exchange is left out. Without that, the prompt begins with exactly the ids of
        the turn before.

        Raises:
            PromptError: a prompt given as pieces, or one without a user's turn.
        """
        if isinstance(chat, RawPrompt):
            raise PromptError("a prompt given as pieces has no user's turn to go on with; give a chat")
        said = [*history.prompt, *history.generated]
        if not self.reasoning.stays(chat):
            said = self.reasoning.left_out(said, history.begin)
        return self._writer.follow_up(said, chat)

    # Turns

    def reader(self, prompt_ids: Sequence[int] = ()) -> TurnReader:
        """Return a reader for the turn that follows a prompt."""
        if self.dialect.reader == "messages":
            return MessageReader(MessageTable.of(self.vocabulary), prompt_ids)
        return RegionReader(self._table, thinking=self._opened_in(prompt_ids), text=self._text_lane())

    def parse_calls(self, region: CallRegion) -> list[ToolCall]:
        """Return the calls of a region; one that cannot be read is a call with an error."""
        segments = [region.text] if region.text is not None else self._segments(region)
        text = "".join(part if isinstance(part, str) else part.name for part in segments)
        if not region.closed:
            return [_failed(text, "the call was cut off before its end", region)]
        assert self._grammar is not None
        try:
            found = self._grammar(Payload(segments, self.tools))
        except PayloadError as error:
            return [_failed(text, str(error), region, error.name)]
        return [
            ToolCall(
                index,
                call.name,
                call.arguments,
                call.call_id,
                text,
                call.error,
                start=region.start,
                stop=region.stop,
            )
            for index, call in enumerate(found)
        ]

    def _segments(self, region: CallRegion) -> list[Segment]:
        if not region.header:
            return self._encoder.segments(region.ids)
        return [*self._encoder.segments(region.header), Marked("header"), *self._encoder.segments(region.ids)]

    def _opened_in(self, prompt_ids: Sequence[int]) -> bool:
        """Tell whether the prompt leaves reasoning open: its last marker of the last turn decides."""
        if not self._opens:
            return False
        for token_id in reversed(prompt_ids):
            if token_id in self._opens:
                return True
            if token_id in self._closes or token_id in self._boundaries:
                return False
        return False

    def _find_text_form(self) -> TextForm | None:
        """Return how calls are told in text, where the family marks them so in this vocabulary."""
        form = self.dialect.calls
        if form is None or not form.text_starts:
            return None
        if form.text_unless_marked and self._encoder.control_ids(form.starts):
            return None
        return TextForm(
            tuple(start.encode() for start in form.text_starts),
            None if form.text_end is None else form.text_end.encode(),
            form.text_anywhere,
            form.keep_text_start,
        )

    def _text_lane(self) -> TextLane | None:
        if self._text_form is None or self.dialect.calls is None:
            return None
        accept = self._is_call if self.dialect.calls.speculative else _always
        return TextLane(self._text_form, self.vocabulary.byte_table.__getitem__, self._encoder.encode, accept)

    def _is_call(self, text: str) -> bool:
        """Tell whether text that looks like a call is one: it parses, and names a known tool."""
        assert self._grammar is not None
        try:
            calls = self._grammar(Payload([text], self.tools))
        except PayloadError:
            return False
        return bool(calls) and all(call.name in self.tools or not self.tools for call in calls)

    def _reader_table(self) -> ReaderTable:
        dialect, actions = self.dialect, dict[int, Action]()
        actions |= dict.fromkeys(self._encoder.control_ids(dialect.wrappers), Action.WRAPPER)
        if dialect.calls is not None:
            actions |= dict.fromkeys(self._encoder.control_ids(dialect.calls.ends), Action.CALL_CLOSE)
            actions |= dict.fromkeys(self._encoder.control_ids(dialect.calls.starts), Action.CALL_OPEN)
        if dialect.thinking is not None and self.knows_reasoning:
            actions |= dict.fromkeys(self._encoder.control_ids((dialect.thinking.open,)), Action.THINK_OPEN)
            actions |= dict.fromkeys(self._encoder.control_ids((dialect.thinking.close,)), Action.THINK_CLOSE)
        actions |= dict.fromkeys(self.stop_ids, Action.TURN_END)
        return ReaderTable(
            actions,
            calls_end_thinking=dialect.thinking is None or dialect.thinking.calls_end_it,
            calls_end_with_turn=dialect.calls is not None and not dialect.calls.ends,
        )


def _failed(text: str, error: str, region: CallRegion, name: str = "") -> ToolCall:
    return ToolCall(
        0, name, None, None, text, error, closed=region.closed, start=region.start, stop=region.stop
    )


def _grammar_of(dialect: Dialect) -> Grammar | None:
    if dialect.calls is None:
        return None
    try:
        return GRAMMARS[dialect.calls.grammar]
    except KeyError:
        raise DialectError(
            f"the dialect {dialect.name!r} names the grammar {dialect.calls.grammar!r}; "
            f"there are {', '.join(sorted(GRAMMARS))}"
        ) from None


def _always(_text: str) -> bool:
    return True
