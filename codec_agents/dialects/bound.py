"""A dialect in the ids of one vocabulary, for the tools of one node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from codec_agents.dialects.base import Dialect
from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.grammars import GRAMMARS, Grammar, Payload, PayloadError
from codec_agents.dialects.messages import MessageReader, MessageTable
from codec_agents.dialects.pieces import Hole, Ids, Literal, Piece
from codec_agents.dialects.reader import Action, ReaderTable, RegionReader, TurnReader
from codec_agents.dialects.text_lane import TextForm, TextLane
from codec_agents.dialects.tool_forms import write_tools
from codec_agents.dialects.values import CallRegion, Marked, Segment, ThinkingMode, ToolCall
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.graph.chat import Chat, RawPrompt, Slot, parse_template
from codec_agents.prompts import PromptTemplate, refuse_control_ids
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
        absent: optional markers that the map lacks: their text stands in prompts, their regions are unknown.
    """

    def __init__(
        self,
        dialect: Dialect,
        source: TokenizerMap | Vocabulary,
        tools: Sequence[Tool] = (),
        thinking: ThinkingMode | None = None,
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
        self._encoder = PieceEncoder(vocabulary, [name for name in dialect.all_markers() if name in known])
        self.stop_ids = self._ids_of(dialect.stops)
        self._grammar: Grammar | None = _grammar_of(dialect)
        self._table = self._reader_table()
        self._boundaries = frozenset(self._ids_of(dialect.turn_starts)) | frozenset(self.stop_ids)
        self._opening_form = self._opening()
        form = dialect.thinking
        self._opens = frozenset(self._ids_of((form.open,))) if form else frozenset[int]()
        self._closes = frozenset(self._ids_of((form.close,))) if form else frozenset[int]()

    @property
    def name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    @property
    def knows_reasoning(self) -> bool:
        """Whether reasoning is told apart in this vocabulary."""
        form = self.dialect.thinking
        return form is not None and form.open not in self.absent and form.close not in self.absent

    # Prompts

    def template(self, chat: Chat | RawPrompt, tools: Sequence[Tool] | None = None) -> PromptTemplate:
        """Return the prompt of a declared chat; its slots are those of the declaration.

        Args:
            chat: the declaration.
            tools: the tools to tell the model about; None for those the dialect was bound with.

        Raises:
            PromptError: tools for a family, or in this vocabulary, that has no form for them.
        """
        if isinstance(chat, RawPrompt):
            return self._encoder.template(self._encoder.raw(chat))
        offered = list(self.tools.values()) if tools is None else list(tools)
        return self._encoder.template(self._chat_pieces(chat, offered))

    def extend(
        self,
        generated: Sequence[int],
        finish_reason: str | None,  # noqa: ARG002 - the last id says more, but not every family to come has one
        attempts: Sequence[Attempt],
    ) -> list[int]:
        """Return what follows the generated ids, so that the model sees what its calls gave and goes on.

        The next prompt is the prompt, the generated ids, and these. A turn that the model, or a limit, ended
        without its end marker is ended; a marker that it generated is not written twice.

        Raises:
            ForgedTokenError: an attempt's ids hold a control id.
            PromptError: the family has no form for results.
        """
        form = self.dialect.results
        if form is None:
            raise PromptError(f"the dialect {self.name!r} has no form for the results of tools")
        pieces = self._parse(form.open)
        for number, attempt in enumerate(attempts):
            pieces += self._parse(form.join) if number else []
            pieces += self._result(attempt, number)
        pieces += self._parse(form.close)
        if form.then == "opening":
            return self._after(generated, [*pieces, *self._parse(self._opening_form)])
        return self._after(generated, pieces, in_turn=form.in_turn)

    def next_user(
        self,
        generated: Sequence[int],
        finish_reason: str | None,  # noqa: ARG002 - as for `extend`
        user_ids: Sequence[int],
    ) -> list[int]:
        """Return what follows the generated ids when a person speaks next.

        Raises:
            ForgedTokenError: the ids hold a control id.
        """
        refuse_control_ids(user_ids, self.vocabulary, "user")
        turn = self._filled(self.dialect.user, [Ids(tuple(user_ids))])
        return self._after(generated, [*turn, *self._parse(self._opening_form)])

    def _after(self, generated: Sequence[int], pieces: list[Piece], *, in_turn: bool = False) -> list[int]:
        last = generated[-1] if generated else None
        before: list[Piece] = []
        if not in_turn:
            before = self._parse(self.dialect.after_turn)
            end = self.dialect.turn_end
            if end is not None and last not in self._ids_of((end, *self.dialect.also_ends)):
                before = [*self._parse(end), *before]
        ids = self._encoder.ids([*before, *pieces])
        if ids and last is not None and ids[0] == last and last in self.vocabulary.special_ids:
            return ids[1:]
        return ids

    def _chat_pieces(self, chat: Chat, tools: list[Tool]) -> list[Piece]:
        mode = chat.thinking or self.thinking
        begin = self.dialect.begin_with_tools if tools else None
        pieces = self._parse(self.dialect.begin if begin is None else begin)
        pieces += self._system(chat, tools, mode)
        turns = [(turn.role, _content(turn.content)) for turn in chat.turns]
        if chat.user is not None:
            turns.append(("user", _content(chat.user)))
        last_user = max((n for n, (role, _) in enumerate(turns) if role == "user"), default=-1)
        for number, (role, content) in enumerate(turns):
            if number == last_user:
                pieces += self._tools(tools) if self._tools_at("before_user", tools) else []
                content = self._last_user(chat, content, tools, mode)
            pieces += self._filled(self._turn_form(role), content)
        return [*pieces, *self._parse(self._opening(mode))]

    def _turn_form(self, role: str) -> str:
        return {"system": self.dialect.system, "user": self.dialect.user}.get(role, self.dialect.assistant)

    def _system(self, chat: Chat, tools: list[Tool], mode: ThinkingMode | None) -> list[Piece]:
        told = self._tools(tools) if tools else []
        content = self._system_text(chat, bool(tools))
        if addition := self.dialect.thinking_system.get(mode or "default"):
            content = [*self._parse(addition), *(content or [])]
        if self._tools_at("system", tools):
            assert self.dialect.tools is not None
            content = [*content, *self._parse(self.dialect.tools.between), *told] if content else told
        turn = [] if content is None else self._filled(self.dialect.system, content)
        before = told if self._tools_at("before_system", tools) else []
        after = told if self._tools_at("after_system", tools) else []
        return [*before, *turn, *after]

    def _tools_at(self, place: str, tools: list[Tool]) -> bool:
        return bool(tools) and self.dialect.tools is not None and self.dialect.tools.place == place

    def _system_text(self, chat: Chat, with_tools: bool) -> list[Piece] | None:
        if chat.system is not None:
            return _content(chat.system)
        text = self.dialect.default_system
        if with_tools and self.dialect.tools_system is not None:
            text = self.dialect.tools_system
        return None if text is None else [Literal(text)]

    def _last_user(
        self, chat: Chat, content: list[Piece], tools: list[Tool], mode: ThinkingMode | None
    ) -> list[Piece]:
        if self._tools_at("user", tools):
            content = [*self._tools(tools), *content]
        if self.dialect.system_in_user is not None and chat.system is not None:
            content = [*self._filled(self.dialect.system_in_user, _content(chat.system)), *content]
        return [*content, *self._parse(self.dialect.thinking_user.get(mode or "default", ""))]

    def _tools(self, tools: list[Tool]) -> list[Piece]:
        form = self.dialect.tools
        if form is None or self.dialect.calls is None:
            raise PromptError(f"the dialect {self.name!r} has no form for tools")
        pieces = self._parse(form.form, ("tools",))
        return _fill(pieces, {"tools": write_tools(tools, form)})

    def _result(self, attempt: Attempt, number: int) -> list[Piece]:
        form = self.dialect.results
        assert form is not None
        call_id = attempt.call.call_id or form.id_form.format(index=number, name=attempt.call.name)
        fillings: dict[str, Sequence[Piece]] = {
            "content": [self._result_content(attempt)],
            "name": [Literal(attempt.call.name)],
            "id": [Literal(call_id)],
            "id_json": [Literal(json.dumps(call_id))],
        }
        return _fill(self._parse(form.each, tuple(fillings)), fillings)

    def _result_content(self, attempt: Attempt) -> Piece:
        form = self.dialect.results
        assert form is not None
        if form.content == "text":
            if attempt.ids is None:
                return Literal(attempt.text)
            refuse_control_ids(attempt.ids, self.vocabulary, f"result of {attempt.call.name}")
            return Ids(tuple(attempt.ids))
        if form.content == "json" and _is_json(attempt.text):
            return Literal(attempt.text)
        return Literal(json.dumps(attempt.text, ensure_ascii=False))

    def _opening(self, mode: ThinkingMode | None = None) -> str:
        mode = mode or self.thinking
        opening = self.dialect.opening.for_mode(mode)
        if opening is None or (mode == "forced" and not self.knows_reasoning):
            raise DialectError(
                f"the dialect {self.name!r} cannot force thinking in the map {self.vocabulary.id!r}; "
                "leave `thinking` out or choose a model that reasons",
                self.absent,
            )
        if mode == "off" and not self.knows_reasoning:
            return self.dialect.opening.default
        return opening

    def _filled(self, form: str, content: Sequence[Piece]) -> list[Piece]:
        return _fill(self._parse(form, ("content",)), {"content": content})

    def _parse(self, form: str, holes: Sequence[str] = ()) -> list[Piece]:
        return self._encoder.parse(form, holes)

    # Turns

    def reader(self, prompt_ids: Sequence[int] = ()) -> TurnReader:
        """Return a reader for the turn that follows a prompt."""
        if self.dialect.reader == "messages":
            return MessageReader(MessageTable.of(self.vocabulary))
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
        if not self._opens or not self.knows_reasoning:
            return False
        for token_id in reversed(prompt_ids):
            if token_id in self._opens:
                return True
            if token_id in self._closes or token_id in self._boundaries:
                return False
        return False

    def _text_lane(self) -> TextLane | None:
        form = self.dialect.calls
        if form is None or not form.text_starts:
            return None
        if form.text_unless_marked and self._ids_of(form.starts):
            return None
        lane_form = TextForm(
            tuple(start.encode() for start in form.text_starts),
            None if form.text_end is None else form.text_end.encode(),
            form.text_anywhere,
            form.keep_text_start,
        )
        accept = self._is_call if form.speculative else _always
        return TextLane(lane_form, self.vocabulary.byte_table.__getitem__, self._encoder.encode, accept)

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
        actions |= dict.fromkeys(self._ids_of(dialect.wrappers), Action.WRAPPER)
        if dialect.calls is not None:
            actions |= dict.fromkeys(self._ids_of(dialect.calls.ends), Action.CALL_CLOSE)
            actions |= dict.fromkeys(self._ids_of(dialect.calls.starts), Action.CALL_OPEN)
        if dialect.thinking is not None and self.knows_reasoning:
            actions |= dict.fromkeys(self._ids_of((dialect.thinking.open,)), Action.THINK_OPEN)
            actions |= dict.fromkeys(self._ids_of((dialect.thinking.close,)), Action.THINK_CLOSE)
        actions |= dict.fromkeys(self.stop_ids, Action.TURN_END)
        return ReaderTable(
            actions,
            calls_end_thinking=dialect.thinking is None or dialect.thinking.calls_end_it,
            calls_end_with_turn=dialect.calls is not None and not dialect.calls.ends,
        )

    def _ids_of(self, names: Iterable[str]) -> tuple[int, ...]:
        known = self.vocabulary.special_tokens
        return tuple(known[name] for name in names if name in known)


def _content(template: str) -> list[Piece]:
    return [
        Hole(part.name) if isinstance(part, Slot) else Literal(part.text) for part in parse_template(template)
    ]


def _fill(pieces: Iterable[Piece], fillings: dict[str, Sequence[Piece]]) -> list[Piece]:
    filled: list[Piece] = []
    for piece in pieces:
        filled += fillings[piece.name] if isinstance(piece, Hole) else [piece]
    return filled


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


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _always(_text: str) -> bool:
    return True
