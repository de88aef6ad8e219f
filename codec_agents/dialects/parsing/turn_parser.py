"""The reading of turns of one dialect in one vocabulary: the reader, and the grammar of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, TypeAlias

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import CallForm, DialectForms
from codec_agents.dialects.grammars import (
    BEGINNINGS,
    GRAMMARS,
    HEADS,
    NAMES,
    FoundCall,
    Grammar,
    Payload,
    PayloadError,
)
from codec_agents.dialects.grammars.json_calls import name_in
from codec_agents.dialects.messages import ReasoningState
from codec_agents.dialects.parsing.block_reader import BlockReader, BlockTable
from codec_agents.dialects.parsing.channel_reader import RESPONSE, THINK, ChannelReader, ChannelTable
from codec_agents.dialects.parsing.message_reader import MessageReader, MessageTable
from codec_agents.dialects.parsing.region_reader import Action, ReaderTable, RegionReader
from codec_agents.dialects.parsing.text_calls import CONTROL, TextForm, TextLane
from codec_agents.dialects.values import CallRegion, Marked, Port, Segment, TurnReader
from codec_agents.exceptions import DialectError
from codec_agents.strict_json import MAX_DEPTH, depth_of, is_finite
from codec_agents.tools.calls import ToolCall
from codec_agents.tools.texts import well_formed, well_formed_json
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.dialects.messages import ToolSpec


TextCalls: TypeAlias = Literal["none", "known", "all"]
"""Which text in the form of a call is one: none of it, what `PayloadTest` takes for calls, or all of it."""


class TurnParser:
    """Makes the readers of one bound dialect, and reads the calls in what they cut out."""

    def __init__(
        self,
        dialect: DialectForms,
        vocabulary: Vocabulary,
        encoder: PieceEncoder,
        tools: Mapping[str, ToolSpec],
        grammar: Grammar | None,
        *,
        knows_reasoning: bool,
    ) -> None:
        self._dialect = dialect
        self._vocabulary = vocabulary
        self._encoder = encoder
        self._tools = tools
        self._knows_reasoning = knows_reasoning
        self._grammar: Grammar | None = grammar or _grammar_of(dialect)
        inner = dialect.calls.inner if dialect.calls is not None else ()
        known = vocabulary.special_tokens
        self._inner = {known[name]: name.encode() for name in inner if name in known}
        self._table = self._reader_table()
        self._text_form = self._find_text_form()
        self._boundaries = frozenset(encoder.control_ids((*dialect.turn_starts, *dialect.stops)))
        form = dialect.thinking if knows_reasoning else None
        self._opens = frozenset(encoder.control_ids((form.open,))) if form else frozenset[int]()
        self._closes = frozenset(encoder.control_ids((form.close,))) if form else frozenset[int]()

    @cached_property
    def _channel_table(self) -> ChannelTable:
        return ChannelTable.of(self._vocabulary, self._encoder.control_ids(self._dialect.stops))

    @cached_property
    def _block_table(self) -> BlockTable:
        return BlockTable.of(self._vocabulary, self._encoder.control_ids(self._dialect.stops))

    @property
    def has_tools(self) -> bool:
        """True if the dialect was bound with tools."""
        return bool(self._tools)

    def reader(self, prompt_ids: Sequence[int] = (), *, with_tools: bool | None = None) -> TurnReader:
        """Return a reader for the turn that follows a prompt."""
        calls: TextCalls = "known" if (self.has_tools if with_tools is None else with_tools) else "none"
        return self.new_reader(prompt_ids, thinking=self.reasoning_in(prompt_ids) == "open", text_calls=calls)

    def new_reader(
        self,
        prompt_ids: Sequence[int] = (),
        *,
        thinking: bool = False,
        text_calls: TextCalls = "known",
    ) -> TurnReader:
        """Return a reader of a turn.

        Args:
            prompt_ids: the ids before it, for families whose turns are messages.
            thinking: whether reasoning is open where the turn begins, in other families.
            text_calls: which text in the form of a call is one.
        """
        if self._dialect.reader == "channels":
            return ChannelReader(self._channel_table, prompt_ids)
        if self._dialect.reader == "blocks":
            return BlockReader(self._block_table, prompt_ids)
        if self._dialect.reader == "messages":
            return MessageReader(MessageTable.of(self._vocabulary), prompt_ids)
        if text_calls == "none":
            return RegionReader(self._table, thinking=thinking)
        all_text = text_calls == "all"
        return RegionReader(
            self._table,
            thinking=thinking,
            text=self._text_lane(all_text=all_text),
            thought=self._text_lane("reasoning", all_text=all_text) if self._searches_reasoning() else None,
        )

    def calls(self, region: CallRegion) -> list[ToolCall]:
        """Return the calls of a region; one that cannot be read is a call with an error."""
        segments = [region.text] if region.text is not None else self._segments(region)
        text = "".join(part if isinstance(part, str) else part.name for part in segments)
        if not region.closed:
            return [_failed(text, "the call was cut off before its end", region)]
        assert self._grammar is not None  # without a form of calls, no reader cuts out a region
        try:
            found = self._grammar(Payload(segments, self._tools))
        except PayloadError as error:
            return [_failed(text, str(error), region, error.name, closed=error.closed)]
        return [_call(index, call, text, region) for index, call in enumerate(found)]

    def read_back(self, head: Sequence[int], ids: Sequence[int]) -> list[ToolCall]:
        """Return the calls of a turn that a prompt holds; text in their form is a call, whatever it names.

        Args:
            head: what opens the turn.
            ids: the ids behind it.
        """
        thinking = self.reasoning_in(head) == "open"
        reader = self.new_reader(head, thinking=thinking, text_calls="all")
        events = [*reader.feed(ids), *reader.flush("stop")]
        regions = [event for event in events if isinstance(event, CallRegion)]
        return [call for region in regions for call in self.calls(region)]

    def _segments(self, region: CallRegion) -> list[Segment]:
        if not region.header:
            return self._encoder.segments(region.ids)
        return [*self._encoder.segments(region.header), Marked("header"), *self._encoder.segments(region.ids)]

    def reasoning_in(self, prompt_ids: Sequence[int]) -> ReasoningState | None:
        """Return what a prompt leaves of the reasoning of the turn that it opens.

        The last marker of the last turn decides.
        """
        if not self._opens:
            return None
        if self._dialect.reader == "channels":
            return self._channel_in(prompt_ids)
        for token_id in reversed(prompt_ids):
            if token_id in self._opens:
                return "open"
            if token_id in self._closes:
                return "closed"
            if token_id in self._boundaries:
                return None
        return None

    def _channel_in(self, prompt_ids: Sequence[int]) -> ReasoningState | None:
        table, places = self._channel_table, range(len(prompt_ids) - 1, -1, -1)
        last = next((place for place in places if prompt_ids[place] in self._opens), None)
        if last is None or not table.stops.isdisjoint(prompt_ids[last:]):
            return None
        tag = takewhile(lambda token_id: token_id != table.separator, prompt_ids[last + 1 :])
        states: dict[str, ReasoningState] = {THINK: "open", RESPONSE: "closed"}
        return states.get(table.tag_name([*tag]))

    def _find_text_form(self) -> TextForm | None:
        """Return how calls are told in text, where the family marks them so in this vocabulary."""
        form = self._dialect.calls
        if form is None or not form.text_starts:
            return None
        if form.text_unless_marked and self._encoder.control_ids(form.starts):
            return None
        return TextForm(
            tuple(map(self._marked_bytes, form.text_starts)),
            None if form.text_end is None else self._marked_bytes(form.text_end),
            form.text_anywhere,
            form.keep_text_start,
        )

    def _searches_reasoning(self) -> bool:
        """Return whether a call that text marks may end reasoning that nothing closed."""
        form = self._dialect.calls
        return self._knows_reasoning and form is not None and form.text_in_reasoning

    def _text_lane(self, port: Port = "answer", *, all_text: bool) -> TextLane | None:
        calls = self._dialect.calls
        if self._text_form is None or calls is None:
            return None
        # A mark that holds a control token is no text, and names itself.
        all_text = all_text or CONTROL in self._text_form.starts[0]
        test = PayloadTest(calls, self._grammar, self._tools, all_text=all_text)
        return TextLane(self._text_form, self._token_bytes, self._encoder.encode, test, port)

    def _marked_bytes(self, text: str) -> bytes:
        """Return what a text spells, the control tokens in it behind the byte that no text has."""
        spelled = text.encode()
        for name in self._inner.values():
            spelled = spelled.replace(name, CONTROL + name)
        return spelled

    def _token_bytes(self, token_id: int) -> bytes:
        name = self._inner.get(token_id)
        return self._vocabulary.byte_table[token_id] if name is None else CONTROL + name

    def _reader_table(self) -> ReaderTable:
        dialect, actions = self._dialect, dict[int, Action]()
        # A later action replaces an earlier one: above all, an id at which the turn is over ends it.
        actions |= dict.fromkeys(self._encoder.control_ids(dialect.wrappers), Action.WRAPPER)
        if dialect.calls is not None:
            if dialect.calls.alone is not None:
                begin, end = dialect.calls.alone
                actions |= dict.fromkeys(self._encoder.control_ids((begin,)), Action.PART_OPEN)
                actions |= dict.fromkeys(self._encoder.control_ids((end,)), Action.PART_CLOSE)
            actions |= dict.fromkeys(self._encoder.control_ids(dialect.calls.ends), Action.CALL_CLOSE)
            actions |= dict.fromkeys(self._encoder.control_ids(dialect.calls.starts), Action.CALL_OPEN)
        if dialect.thinking is not None and self._knows_reasoning:
            actions |= dict.fromkeys(self._encoder.control_ids((dialect.thinking.open,)), Action.THINK_OPEN)
            actions |= dict.fromkeys(self._encoder.control_ids((dialect.thinking.close,)), Action.THINK_CLOSE)
        actions |= dict.fromkeys(self._encoder.control_ids(dialect.stops), Action.TURN_END)
        return ReaderTable(
            actions,
            calls_end_thinking=dialect.thinking is None or dialect.thinking.calls_end_it,
            calls_end_with_turn=dialect.calls is not None and not dialect.calls.ends,
            calls_nest=dialect.calls is not None and dialect.calls.nested,
        )


class PayloadTest:
    """Tells calls in text from text that names their marks."""

    def __init__(
        self, form: CallForm, grammar: Grammar | None, tools: Mapping[str, ToolSpec], *, all_text: bool
    ) -> None:
        """Keep what the tests need.

        Args:
            form: how the family marks calls.
            grammar: reads payloads.
            tools: the tools that calls may name; any name counts without them.
            all_text: whether everything behind a mark is a call.
        """
        self._grammar = grammar
        self._tools = tools
        self._all_text = all_text
        self._speculative = form.speculative
        self._is_json = form.grammar == "json"
        self._nameless = ""
        self._beginnings = BEGINNINGS.get(form.grammar, ())
        self._head = HEADS.get(form.grammar)
        # Elsewhere a call of an unknown tool is one, about which the model is told.
        self._name = NAMES.get(form.grammar) if form.speculative and tools else None

    def begins(self, payload: str) -> bool | None:
        """Return whether a call begins with this payload; None while more of it has to come."""
        text = payload.lstrip()
        if self._all_text:
            return True
        if self._head is not None:
            head = self._head.match(text)
            begun = head is not None and head["call"] is not None
            # Nothing but a name so far: its end, or its list of arguments, is still to come.
            return begun or (None if not text or (head and head.end() == len(text)) else False)
        if not self._beginnings:
            return True
        if not any(text.startswith(each) for each in self._beginnings):
            return None if any(each.startswith(text) for each in self._beginnings) else False
        if self._name is None:
            return True
        named = self._name.match(text)
        return None if named is None else named[1].strip() in self._tools

    def is_call(self, payload: str) -> bool:
        """Return whether a whole payload is a call, or the attempt of one.

        Where the family has no mark that says so by itself, a call must parse, and name a known tool.
        """
        if self._all_text or not self._speculative:
            # JSON that names no tool is no attempt of a call either.
            names = self._all_text or not self._is_json or self._names_tool(payload)
            return names and self.begins(payload) is True
        assert self._grammar is not None
        try:
            calls = self._grammar(Payload([payload], self._tools))
        except PayloadError:
            return False
        return bool(calls) and all(call.name in self._tools or not self._tools for call in calls)

    def _names_tool(self, payload: str) -> bool:
        """Return whether JSON names a tool."""
        # What is behind a mark without a name has none either: else a text of many marks would be searched
        # to its end from each of them.
        if self._nameless.endswith(payload):
            return False
        if name_in(payload):
            return True
        self._nameless = payload
        return False


def _call(index: int, call: FoundCall, text: str, region: CallRegion) -> ToolCall:
    arguments, error = call.arguments, call.error
    if depth_of(arguments) > MAX_DEPTH:
        # Records, prompts and tools recurse into them.
        arguments, error = None, f"the arguments are nested deeper than {MAX_DEPTH} levels"
    elif not is_finite(arguments):
        # Records and the tools of servers would hold null in its place.
        arguments, error = None, "the arguments hold NaN or an infinity, or a number that is too large"
    elif "\\" in text:
        # The escapes of JSON can spell lone surrogates, which no record and no prompt can carry.
        arguments = well_formed_json(arguments)
    call_id = None if call.call_id is None else well_formed(call.call_id)
    error = None if error is None else well_formed(error)  # it may quote the call
    return ToolCall(
        index,
        well_formed(call.name),
        arguments,
        call_id,
        text,
        error,
        call.closed,
        start=region.start,
        stop=region.stop,
    )


def _failed(text: str, error: str, region: CallRegion, name: str = "", *, closed: bool = True) -> ToolCall:
    closed = closed and region.closed
    return ToolCall(
        0, well_formed(name), None, None, text, well_formed(error), closed, region.start, region.stop
    )


def _grammar_of(dialect: DialectForms) -> Grammar | None:
    if dialect.calls is None:
        return None
    try:
        return GRAMMARS[dialect.calls.grammar]
    except KeyError:
        raise DialectError(
            f"the dialect {dialect.name!r} names the grammar {dialect.calls.grammar!r}; "
            f"there are {', '.join(sorted(GRAMMARS))}"
        ) from None
