"""A dialect's prompts: what a declared chat, the results of tools and a further user turn become in ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from codec_agents.dialects.base import Dialect
from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.pieces import Hole, Ids, Literal, Marker, Piece, fill, template_pieces
from codec_agents.dialects.values import ThinkingMode
from codec_agents.dialects.writing.call_writer import KnownCall, known_calls
from codec_agents.dialects.writing.result_writer import ResultWriter
from codec_agents.dialects.writing.tool_forms import write_tools
from codec_agents.dialects.writing.turn_writer import TurnWriter
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.graph.turns import ChatTurn
from codec_agents.prompts import PromptTemplate
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.tools.calls import Attempt
    from codec_agents.tools.tool import Tool


class PromptWriter:
    """Writes the prompts of one dialect in one vocabulary.

    Attributes:
        absent: the control tokens of the dialect that the vocabulary lacks.
    """

    def __init__(
        self,
        dialect: Dialect,
        vocabulary: Vocabulary,
        encoder: PieceEncoder,
        *,
        thinking: ThinkingMode | None,
        absent: Sequence[str],
    ) -> None:
        self._dialect = dialect
        self._vocabulary = vocabulary
        self._thinking = thinking
        self._encoder = encoder
        self.absent = absent
        self._results = ResultWriter(dialect, vocabulary, encoder)
        self._turn_writer = TurnWriter(
            dialect, encoder, self._results, knows_reasoning=dialect.knows_reasoning(absent)
        )
        self._opening()  # refuses a mode that the family cannot have

    def template(self, chat: Chat | RawPrompt, tools: list[Tool]) -> PromptTemplate:
        """Return the prompt of a declared chat."""
        pieces = self._encoder.raw(chat) if isinstance(chat, RawPrompt) else self._chat_pieces(chat, tools)
        return self._encoder.template(pieces)

    def calls(self, turns: Sequence[ChatTurn]) -> Iterator[tuple[list[KnownCall], PromptTemplate]]:
        """Yield the calls of each turn that has some, and how they are written."""
        for calls in known_calls(turns, self._dialect):
            if calls:
                yield calls, self._encoder.template(self._turn_writer.calls.calls(calls))

    def results(
        self, generated: Sequence[int], attempts: Sequence[Attempt]
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return what follows the ids of a turn that called tools, and where each result lies in it."""
        form, pieces = self._results.form, self._results.of_attempts(attempts)
        pieces += self._parse(self._behind_results(None))
        return self._encoder.placed(self._after(generated, pieces, in_turn=form.in_turn))

    def _behind_results(self, mode: ThinkingMode | None) -> str:
        """Return what the prompt ends with where the model goes on behind results."""
        then, again = self._results.form.then, self._dialect.reopening
        if then == "reopening" and again is not None:
            return again.for_mode(mode or self._thinking) or again.default
        return self._opening(mode) if then == "opening" else ""

    def follow_up(self, history: Sequence[int], chat: Chat) -> PromptTemplate:
        """Return the prompt in which a person speaks again after everything that was said."""
        if chat.user is None:
            raise PromptError("only a prompt with a `user` turn can go on with what was said before")
        mode = chat.thinking or self._thinking
        addition = self._dialect.thinking_user.get(mode or "default", "")
        content = [*template_pieces(chat.user), *self._parse(addition)]
        turn = [*self._filled(self._dialect.user, content), *self._parse(self._opening(mode))]
        # What stands before is not encoded again, and what follows begins with a control token.
        pieces = [Ids(tuple(history)), *self._after(history, turn)]
        return self._encoder.template(
            pieces, unused=[name for name in chat.slots if name not in _holes(turn)]
        )

    def openings(self, history: str | None) -> list[tuple[list[int], list[int]]]:
        """Return the ways in which a prompt opens the assistant's turn, or opens it again, the longest first.

        Args:
            history: how a turn opens without reasoning, which stands beside each; None for as by default.
        """
        opening, again = self._dialect.opening, self._dialect.reopening
        plain = opening.default if history is None else history
        forms = dict.fromkeys(filter(None, again.forms()), again.default) if again is not None else {}
        forms |= dict.fromkeys(filter(None, opening.forms()), plain)
        pairs = [(self.ids(form), self.ids(stands)) for form, stands in forms.items()]
        return sorted(pairs, key=lambda pair: len(pair[0]), reverse=True)

    def ids(self, form: str) -> list[int]:
        """Return the ids of one of the dialect's own strings, which has no holes."""
        return self._encoder.ids(self._parse(form))

    def _after(self, generated: Sequence[int], pieces: list[Piece], *, in_turn: bool = False) -> list[Piece]:
        """Return the pieces behind a turn, with its end before them; a marker that it has is not repeated."""
        last = generated[-1] if generated else None
        before: list[Piece] = []
        if not in_turn:
            before = self._parse(self._dialect.after_turn)
            end = self._dialect.turn_end
            if end is not None and last not in self._encoder.control_ids((end, *self._dialect.also_ends)):
                before = [*self._parse(end), *before]
        joined = [*before, *pieces]
        if (
            joined
            and isinstance(joined[0], Marker)
            and (last,) == self._encoder.control_ids([joined[0].name])
        ):
            return joined[1:]
        return joined

    def _chat_pieces(self, chat: Chat, tools: list[Tool]) -> list[Piece]:
        mode = chat.thinking or self._thinking
        begin = self._dialect.begin_with_tools if tools else None
        pieces = self._parse(self._dialect.begin if begin is None else begin)
        pieces += self._system(chat, tools, mode)
        turns = [*chat.turns, *(() if chat.user is None else (ChatTurn(role="user", content=chat.user),))]
        pieces += self._turns(chat, turns, tools, mode)
        told = bool(turns) and turns[-1].role == "tool"
        return [*pieces, *self._parse(self._behind_results(mode) if told else self._opening(mode))]

    def _turns(
        self, chat: Chat, turns: list[ChatTurn], tools: list[Tool], mode: ThinkingMode | None
    ) -> list[Piece]:
        last_user = next((turn for turn in reversed(turns) if turn.role == "user"), None)
        kept = last_user is None or self._dialect.keeps_reasoning(
            chat.keep_reasoning, self.absent, with_tools=bool(tools)
        )
        pieces: list[Piece] = []
        calls: Sequence[KnownCall] = ()
        for stretch in self._turn_writer.stretches(turns):
            if stretch.turns[0].role == "tool":
                pieces += self._turn_writer.results(stretch, calls)
                continue
            for number, turn in enumerate(stretch.turns):
                calls = stretch.calls[number]
                if turn.role == "assistant":
                    pieces += self._turn_writer.assistant(stretch, number, keeps_reasoning=kept, mode=mode)
                    continue
                kept = kept or turn is last_user  # what was thought since stays until it is answered
                content = template_pieces(turn.content)
                if turn is last_user:
                    pieces += self._tools(tools) if self._tools_at("before_user", tools) else []
                    content = self._last_user(chat, content, tools, mode)
                form = self._dialect.system if turn.role == "system" else self._dialect.user
                pieces += self._filled(form, content)
        return pieces

    def _system(self, chat: Chat, tools: list[Tool], mode: ThinkingMode | None) -> list[Piece]:
        told = self._tools(tools) if tools else []
        content = self._system_text(chat, bool(tools))
        if addition := self._dialect.thinking_system.get(mode or "default"):
            content = [*self._parse(addition), *(content or [])]
        if self._tools_at("system", tools) or self._tools_at("before_text", tools):
            content = self._beside_tools(content, told)
        if addition := self._dialect.thinking_after.get(mode or "default"):
            content = [*(content or []), *self._parse(addition)]
        turn = self._parse(self._dialect.thinking_turn.get(mode or "default", ""))
        turn += [] if content is None else self._filled(self._dialect.system, content)
        before = told if self._tools_at("before_system", tools) else []
        after = told if self._tools_at("after_system", tools) else []
        return [*before, *turn, *after]

    def _beside_tools(self, text: list[Piece] | None, told: list[Piece]) -> list[Piece]:
        """Return the content of a system turn that holds a text, or none, and the tools."""
        form = self._dialect.tools
        assert form is not None
        if not text:
            return told
        between = self._parse(form.between)
        return [*text, *between, *told] if form.place == "system" else [*told, *between, *text]

    def _tools_at(self, place: str, tools: list[Tool]) -> bool:
        return bool(tools) and self._dialect.tools is not None and self._dialect.tools.place == place

    def _system_text(self, chat: Chat, with_tools: bool) -> list[Piece] | None:
        if chat.system is not None:
            if not self._dialect.system and self._dialect.system_in_user is None:
                raise PromptError(f"the dialect {self._dialect.name!r} has no place for a system text")
            return template_pieces(chat.system)
        text = self._dialect.default_system
        if with_tools and self._dialect.tools_system is not None:
            text = self._dialect.tools_system
        return None if text is None else [Literal(text)]

    def _last_user(
        self, chat: Chat, content: list[Piece], tools: list[Tool], mode: ThinkingMode | None
    ) -> list[Piece]:
        if self._tools_at("user", tools):
            content = [*self._tools(tools), *content]
        if self._dialect.system_in_user is not None and chat.system is not None:
            content = [*self._filled(self._dialect.system_in_user, template_pieces(chat.system)), *content]
        return [*content, *self._parse(self._dialect.thinking_user.get(mode or "default", ""))]

    def _tools(self, tools: list[Tool]) -> list[Piece]:
        form = self._dialect.tools
        if form is None or self._dialect.calls is None:
            raise PromptError(f"the dialect {self._dialect.name!r} has no form for tools")
        pieces = self._parse(form.form, ("tools",))
        return fill(pieces, {"tools": write_tools(tools, form)})

    def _opening(self, mode: ThinkingMode | None = None) -> str:
        mode = mode or self._thinking
        opening = self._dialect.opening.for_mode(mode)
        if opening is None or (mode == "forced" and not self._dialect.knows_reasoning(self.absent)):
            raise DialectError(
                f"the dialect {self._dialect.name!r} cannot force thinking in the map "
                f"{self._vocabulary.id!r}; leave `thinking` out or choose a model that reasons",
                self.absent,
            )
        if mode == "off" and not self._dialect.knows_reasoning(self.absent):
            return self._dialect.opening.default
        return opening

    def _filled(self, form: str, content: Sequence[Piece]) -> list[Piece]:
        return fill(self._parse(form, ("content",)), {"content": content})

    def _parse(self, form: str, holes: Sequence[str] = ()) -> list[Piece]:
        return self._encoder.parse(form, holes)


def _holes(pieces: Iterable[Piece]) -> set[str]:
    return {piece.name for piece in pieces if isinstance(piece, Hole)}
