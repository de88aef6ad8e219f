"""A dialect's prompts: what a declared chat, the results of tools and a further user turn become in ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms
from codec_agents.dialects.messages import ToolSpec
from codec_agents.dialects.pieces import Hole, Ids, Literal, Marker, Piece, fill, template_pieces
from codec_agents.dialects.values import ThinkingMode
from codec_agents.dialects.writing.result_writer import ResultWriter
from codec_agents.dialects.writing.tool_forms import write_tools
from codec_agents.dialects.writing.turn_writer import TurnWriter
from codec_agents.dialects.writing.turns import KnownCall, WrittenChat, WrittenTurn
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.prompts import PromptTemplate
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.tools.calls import Attempt

MOST_OF_AN_END = 64
"""Ids of a known prompt that are looked at for the end of its last turn: the longest end has about ten."""


class PromptWriter:
    """Writes the prompts of one dialect in one vocabulary.

    Attributes:
        absent: the control tokens of the dialect that the vocabulary lacks.
    """

    def __init__(
        self,
        dialect: DialectForms,
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

    def template(self, chat: WrittenChat | RawPrompt, tools: Sequence[ToolSpec]) -> PromptTemplate:
        """Return the prompt of a chat, with its slots."""
        pieces = self._encoder.raw(chat) if isinstance(chat, RawPrompt) else self._chat_pieces(chat, tools)
        return self._encoder.template(pieces)

    def chat(self, chat: WrittenChat, tools: Sequence[ToolSpec]) -> list[int]:
        """Return the prompt of a chat without slots."""
        return self._encoder.ids(self._chat_pieces(chat, tools))

    def behind(self, known: Sequence[int], chat: WrittenChat, before: str) -> list[int]:
        """Return the ids of turns that are added to a known prompt; the known ids are not encoded again.

        Args:
            known: the last ids of the prompt, the end of whose last turn may be missing.
            chat: the turns; its system text is not written.
            before: the role of the last turn of the prompt.
        """
        told = bool(chat.turns) and chat.turns[0].role == "tool"
        pieces = [*self._turns(chat, (), before), *self._parse(self._end(chat))]
        in_turn = told and self._results.form.in_turn
        known = tuple(known[-MOST_OF_AN_END:])
        # Encoded behind the known ids, where text gets no mark of a beginning.
        return self._encoder.ids([Ids(known), *self._after(known, pieces, in_turn=in_turn)])[len(known) :]

    def calls(self, turns: Sequence[WrittenTurn]) -> Iterator[tuple[Sequence[KnownCall], PromptTemplate]]:
        """Yield the calls of each turn that has some, and how they are written."""
        for turn in turns:
            if turn.calls:
                yield turn.calls, self._encoder.template(self._turn_writer.calls.calls(turn.calls))

    def called(self, turn: WrittenTurn) -> list[int]:
        """Return the calls of a turn, and what the family writes before them, in ids."""
        writer = self._turn_writer.calls
        return self._encoder.ids([*writer.text(()), *writer.calls(turn.calls)])

    def results(
        self, generated: Sequence[int], attempts: Sequence[Attempt], *, goes_on: bool = True
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return what follows the ids of a turn that called tools, and where each result lies in it."""
        form, pieces = self._results.form, self._results.of_attempts(attempts)
        if goes_on:
            pieces += self._parse(self._behind_results(None))
        return self._encoder.placed(self._after(generated, pieces, in_turn=form.in_turn))

    def _behind_results(self, mode: ThinkingMode | None) -> str:
        """Return what the prompt ends with where the model goes on behind results."""
        then, again = self._results.form.then, self._dialect.reopening
        if then == "reopening" and again is not None:
            return again.for_mode(mode or self._thinking) or again.default
        return self._opening(mode) if then == "opening" else ""

    def follow_up(self, history: Sequence[int], chat: Chat, *, unread: bool = False) -> PromptTemplate:
        """Return the prompt in which a user speaks again behind a conversation.

        Args:
            history: the ids of the conversation.
            chat: the prompt that holds the user's turn.
            unread: whether the conversation ends with results, and not with a turn of the assistant's.
        """
        if chat.user is None:
            raise PromptError("only a prompt with a `user` turn can go on with what was said before")
        mode = chat.thinking or self._thinking
        addition = self._dialect.thinking_user.get(mode or "default", "")
        content = [*template_pieces(chat.user), *self._parse(addition)]
        turn = [*self._filled(self._dialect.user, content), *self._parse(self._opening(mode))]
        # The history is not encoded again, and what follows it begins with a control token.
        ended = unread and not self._results.form.in_turn  # no turn is open behind results of their own
        pieces = [Ids(tuple(history)), *self._after(history, turn, in_turn=ended)]
        # The slots of the system turn and the turns before are in the history, already filled.
        return self._encoder.template(
            pieces, unused=[name for name in chat.slots if name not in _holes(turn)]
        )

    def openings(self, history: str | None) -> list[tuple[list[int], list[int]]]:
        """Return the ways in which a prompt opens the assistant's turn, or opens it again, the longest first.

        Args:
            history: the opening of a turn without reasoning, which is paired with each; None for the default.
        """
        opening, again = self._dialect.opening, self._dialect.reopening
        plain = opening.default if history is None else history
        # One that is in both is the opening of a turn, and has the form in history of one.
        forms = dict.fromkeys(filter(None, again.forms()), again.default) if again is not None else {}
        forms |= dict.fromkeys(filter(None, opening.forms()), plain)
        pairs = [(self.ids(form), self.ids(plain)) for form, plain in forms.items()]
        return sorted(pairs, key=lambda pair: len(pair[0]), reverse=True)

    def ids(self, form: str) -> list[int]:
        """Return the ids of one of the dialect's own strings, which has no holes."""
        return self._encoder.ids(self._parse(form))

    def _after(self, generated: Sequence[int], pieces: list[Piece], *, in_turn: bool = False) -> list[Piece]:
        """Return a turn's end and the pieces behind it; a marker that the turn ended with is not repeated."""
        last = generated[-1] if generated else None
        before = [] if in_turn else self._turn_end(generated)
        joined = [*before, *pieces]
        # GLM, Gemma and others stop with the marker with which the next turn, or the results, begin.
        if (
            joined
            and isinstance(joined[0], Marker)
            and (last,) == self._encoder.control_ids([joined[0].name])
        ):
            return joined[1:]
        return joined

    def _turn_end(self, generated: Sequence[int]) -> list[Piece]:
        """Return the missing part of a turn's end, and of the text between turns."""
        between = self._parse(self._dialect.after_turn)
        end = self._dialect.turn_end
        if end is None:
            return between
        ends = self._encoder.control_ids((end, *self._dialect.also_ends))
        spelled = self._encoder.ids(between)
        behind = list(generated[len(generated) - len(spelled) - 1 :])
        if spelled and behind[1:] == spelled and behind[0] in ends:
            return []  # the known ids are a whole prompt, and not only what was generated
        return between if generated and generated[-1] in ends else [*self._parse(end), *between]

    def _chat_pieces(self, chat: WrittenChat, tools: Sequence[ToolSpec]) -> list[Piece]:
        begin = self._dialect.begin_with_tools if tools else None
        pieces = self._parse(self._dialect.begin if begin is None else begin)
        pieces += self._system(chat, tools)
        return [*pieces, *self._turns(chat, tools), *self._parse(self._end(chat))]

    def _end(self, chat: WrittenChat) -> str:
        """Return what the prompt ends with: the opening of the assistant's turn, or how it goes on."""
        if not chat.opens:
            return ""
        told = bool(chat.turns) and chat.turns[-1].role == "tool"
        mode = chat.thinking or self._thinking
        return self._behind_results(mode) if told else self._opening(mode)

    def _turns(self, chat: WrittenChat, tools: Sequence[ToolSpec], before: str = "") -> list[Piece]:
        last_user = next((turn for turn in reversed(chat.turns) if turn.role == "user"), None)
        goes_on = chat.keep_reasoning != "never" or not self._dialect.knows_reasoning(self.absent)
        kept = self._dialect.keeps_reasoning(chat.keep_reasoning, self.absent, with_tools=bool(tools))
        # Without a user's turn, all belongs to an exchange that goes on.
        kept = kept or (goes_on and last_user is None)
        first_user = next((turn for turn in chat.turns if turn.role == "user"), None)
        pieces: list[Piece] = []
        for stretch in self._turn_writer.stretches(chat.turns, before):
            if stretch.turns[0].role == "tool":
                pieces += self._turn_writer.results(stretch)
                continue
            for number, turn in enumerate(stretch.turns):
                if turn.role == "assistant":
                    mode = chat.thinking or self._thinking
                    pieces += self._turn_writer.assistant(
                        stretch, number, keeps_reasoning=kept, mode=mode, opens=chat.opens
                    )
                    continue
                # The reasoning since the last user turn stays until that is answered.
                kept = kept or (goes_on and turn is last_user)
                content = turn.content
                if turn is first_user:
                    content = self._first_user(chat, content, tools)
                if turn is last_user:
                    pieces += self._tools(tools) if self._tools_at("before_user", tools) else []
                    content = self._last_user(chat, content, tools)
                if turn.role == "system":
                    content = self._filled(self._dialect.system_text, content)
                pieces += self._filled(self._form_of(turn), content)
        return pieces

    @property
    def repeats_system(self) -> bool:
        """True where a system text may stand inside a conversation, as a turn of its own."""
        return any(isinstance(piece, Marker) for piece in self._parse(self._dialect.system))

    def _form_of(self, turn: WrittenTurn) -> str:
        if turn.role == "user":
            return self._dialect.user
        if not self.repeats_system:
            raise PromptError(
                f"the dialect {self._dialect.name!r} has no system turn inside a conversation; "
                "put the text at its beginning, or in a user's turn"
            )
        return self._dialect.system

    def _system(self, chat: WrittenChat, tools: Sequence[ToolSpec]) -> list[Piece]:
        mode = chat.thinking or self._thinking
        told = self._tools(tools) if tools else []
        content = self._system_text(chat, bool(tools))
        if self._tools_at("system", tools) or self._tools_at("before_text", tools):
            content = self._beside_tools(content, told)
        if addition := self._dialect.thinking_system.get(mode or "default"):
            between = self._dialect.thinking_between if content else ""
            content = [*self._parse(addition + between), *(content or [])]
        if addition := self._dialect.thinking_after.get(mode or "default"):
            content = [*(content or []), *self._parse(addition)]
        thinking = self._parse(self._dialect.thinking_turn.get(mode or "default", ""))
        # A thinking mode alone makes a system turn; without any content there is the family's own, or none.
        if content is None:
            turn = self._parse(self._dialect.default_turn or "")
        else:
            turn = self._filled(self._dialect.system, content)
        before = told if self._tools_at("before_system", tools) else []
        if self._dialect.thinking_turn_first:
            before = [*thinking, *before]
        else:
            turn = [*turn, *thinking] if self._dialect.thinking_turn_last else [*thinking, *turn]
        after = told if self._tools_at("after_system", tools) else []
        if not tools and self._dialect.tools is not None:
            after = self._parse(self._dialect.tools.absent)
        return [*before, *turn, *after]

    def _beside_tools(self, text: list[Piece] | None, told: list[Piece]) -> list[Piece]:
        """Return the content of a system turn that holds a text, or none, and the tools."""
        form = self._dialect.tools
        assert form is not None
        if not text:
            return told
        between = self._parse(form.between)
        return [*text, *between, *told] if form.place == "system" else [*told, *between, *text]

    def _tools_at(self, place: str, tools: Sequence[ToolSpec]) -> bool:
        return bool(tools) and self._dialect.tools is not None and self._dialect.tools.place == place

    def _system_text(self, chat: WrittenChat, with_tools: bool) -> list[Piece] | None:
        if chat.system is not None:
            if not self._dialect.system and self._dialect.system_in_user is None:
                raise PromptError(f"the dialect {self._dialect.name!r} has no place for a system text")
            return self._filled(self._dialect.system_text, chat.system)
        # The family's own text is a whole content: `system_text` is for declared ones.
        text = self._dialect.default_system
        if with_tools and self._dialect.tools_system is not None:
            text = self._dialect.tools_system
        return None if text is None else [Literal(text)]

    def _first_user(
        self, chat: WrittenChat, content: Sequence[Piece], tools: Sequence[ToolSpec]
    ) -> Sequence[Piece]:
        if self._tools_at("first_user", tools):
            content = [*self._tools(tools), *content]
        return [*self._system_in_user(chat), *content] if self._dialect.system_in_first_user else content

    def _system_in_user(self, chat: WrittenChat) -> list[Piece]:
        form = self._dialect.system_in_user
        return [] if form is None or chat.system is None else self._filled(form, chat.system)

    def _last_user(
        self, chat: WrittenChat, content: Sequence[Piece], tools: Sequence[ToolSpec]
    ) -> list[Piece]:
        if self._tools_at("user", tools):
            content = [*self._tools(tools), *content]
        if not self._dialect.system_in_first_user:
            content = [*self._system_in_user(chat), *content]
        mode = chat.thinking or self._thinking
        return [*content, *self._parse(self._dialect.thinking_user.get(mode or "default", ""))]

    def _tools(self, tools: Sequence[ToolSpec]) -> list[Piece]:
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
        # Closed reasoning would be spelled as text there.
        if mode == "off" and not self._dialect.knows_reasoning(self.absent):
            return self._dialect.opening.default
        return opening

    def _filled(self, form: str, content: Sequence[Piece]) -> list[Piece]:
        return fill(self._parse(form, ("content",)), {"content": content})

    def _parse(self, form: str, holes: Sequence[str] = ()) -> list[Piece]:
        return self._encoder.parse(form, holes)


def _holes(pieces: Iterable[Piece]) -> set[str]:
    return {piece.name for piece in pieces if isinstance(piece, Hole)}
