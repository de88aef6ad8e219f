"""A dialect in the token ids of one vocabulary, for the tools of one node.

The rules of this file:

1. Only the dialect's own forms place control ids. Content, results and ids of other nodes never become any:
   ids that hold one are refused, and text is encoded as ordinary text.
2. A token that the dialect uses as a marker is a control token here, also where the tokenizer's file calls it
   text (`Vocabulary.with_control`).
3. What is written is read back as the same: calls are checked when a prompt is written, and `read` is the
   inverse of `write`.
4. Ids that are known stay as they are. A prompt grows behind them, and nothing before is encoded again,
   unless the family leaves earlier reasoning out.
5. A bound dialect is immutable and has no state of a turn: runs share it, and each turn has its own reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms, KeptReasoning
from codec_agents.dialects.grammars import Grammar
from codec_agents.dialects.messages import Message, MessageCall, ReadPrompt, ReasoningState, ToolSpec
from codec_agents.dialects.parsing.prompt_reader import PromptReader
from codec_agents.dialects.parsing.turn_parser import TurnParser
from codec_agents.dialects.values import CallRegion, ThinkingMode, TurnReader
from codec_agents.dialects.writing.begun_call import begun_call, without_overlap
from codec_agents.dialects.writing.call_check import PROBE, check_calls
from codec_agents.dialects.writing.literals import plain_string
from codec_agents.dialects.writing.prompt_writer import PromptWriter
from codec_agents.dialects.writing.reasoning import BoundReasoning
from codec_agents.dialects.writing.turns import MessageTurns, WrittenChat, WrittenTurn, turns_of_chat
from codec_agents.exceptions import DialectError, PromptError
from codec_agents.graph.chat import Chat, RawPrompt
from codec_agents.prompts import History, PromptTemplate
from codec_agents.tools.calls import ToolCall
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from codec_agents.tools.calls import Attempt


class BoundDialect:
    """Writes prompts and reads turns of one model family in one vocabulary. Immutable, shared by all runs.

    Attributes:
        dialect: the forms that were bound.
        vocabulary: the vocabulary whose ids it speaks.
        tools: the tools that calls may name, by name.
        thinking: the thinking mode of every turn that it opens.
        stop_ids: the ids at which a turn is over.
        knows_reasoning: whether reasoning is marked in this vocabulary.
        repeats_system: whether a system text may stand inside a conversation.
        reasoning: how the family closes reasoning, keeps it or leaves it out.
        absent: optional markers that the map lacks: prompts hold their text, their regions are unknown.
    """

    def __init__(
        self,
        dialect: DialectForms,
        source: TokenizerMap | Vocabulary,
        tools: Sequence[ToolSpec] = (),
        thinking: ThinkingMode | None = None,
        grammar: Grammar | None = None,
    ) -> None:
        self.dialect = dialect
        # A marker may be text to the tokenizer file. For this dialect it is control.
        self.vocabulary = vocabulary = vocabulary_of(source).with_control(dialect.all_markers())
        self.tools = {tool.name: tool for tool in tools}
        self.thinking = thinking
        self._grammar = grammar
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
        self._encoder = PieceEncoder(vocabulary, [name for name in dialect.all_markers() if name in known])
        self.stop_ids = self._encoder.control_ids(dialect.stops)
        self._writer = PromptWriter(dialect, vocabulary, self._encoder, thinking=thinking, absent=self.absent)
        self.repeats_system = self._writer.repeats_system
        self.reasoning = BoundReasoning(
            dialect,
            vocabulary,
            self._encoder,
            self._writer,
            known=self.knows_reasoning,
            with_tools=bool(tools),
        )
        self._turns = TurnParser(
            dialect, vocabulary, self._encoder, self.tools, grammar, knows_reasoning=self.knows_reasoning
        )

    def with_tools(self, tools: Sequence[ToolSpec]) -> BoundDialect:
        """Return the same dialect with other tools."""
        return BoundDialect(self.dialect, self.vocabulary, tools, self.thinking, self._grammar)

    @cached_property
    def _prompts(self) -> PromptReader:
        # Its patterns cost more than all else that binding does, and most nodes only write prompts.
        return PromptReader(self.dialect, self.vocabulary, self._encoder, self._turns)

    @property
    def name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    # Prompts

    def template(self, chat: Chat | RawPrompt, tools: Sequence[ToolSpec] | None = None) -> PromptTemplate:
        """Return the prompt of a declared chat; its slots are those of the declaration.

        Args:
            chat: the declaration.
            tools: the tools to tell the model about; None for those the dialect was bound with.

        Raises:
            PromptError: tools, results, calls or reasoning for a family, or in this vocabulary, that has no
                form for them; declared calls that would be read back as others.
        """
        told = self._told(tools)
        if isinstance(chat, RawPrompt):  # pieces declare no calls that could be checked
            return self._writer.template(chat, told)
        written = turns_of_chat(chat, self.dialect)
        self._check_calls(written.turns)
        return self._writer.template(written, told)

    def write(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[ToolSpec] | None = None,
        add_generation_prompt: bool = True,
        thinking: ThinkingMode | None = None,
        keep_reasoning: KeptReasoning = None,
    ) -> list[int]:
        """Return the prompt of a chat, in ids.

        A `system` message in front is the system text. What messages spell never becomes a control id.

        Args:
            messages: the chat.
            tools: the tools to tell the model about; None for those the dialect was bound with.
            add_generation_prompt: whether the prompt ends with the opening of the assistant's turn.
            thinking: the thinking mode; None for the mode the dialect was bound with.
            keep_reasoning: whether the reasoning of earlier exchanges stays; `never` if that of the exchange
                that goes on does not stay either; None for what the family does.

        Raises:
            PromptError: a message for which the family, or its form in this vocabulary, has no place; results
                that do not match the calls before them; calls that would be read back as others.
        """
        first = messages[0] if messages and messages[0].role == "system" else None
        turns = MessageTurns(self.dialect).turns(messages[1:] if first is not None else messages)
        self._check_calls(turns)
        chat = WrittenChat(
            system=None if first is None else plain_string(first.content),
            turns=turns,
            thinking=thinking,
            keep_reasoning=keep_reasoning,
            opens=add_generation_prompt,
        )
        return self._writer.chat(chat, self._told(tools))

    def write_after(
        self,
        known: Sequence[int],
        messages: Sequence[Message],
        *,
        begin: int | None = None,
        add_generation_prompt: bool = True,
        thinking: ThinkingMode | None = None,
        keep_reasoning: KeptReasoning = None,
    ) -> list[int]:
        """Return a known prompt with messages added to it; the known ids stay as they are.

        Args:
            known: the ids of a prompt and of the answer to it, as generated: the end of the answer's turn is
                written where it is missing. Only the messages after it are encoded.
            messages: the messages after the answer.
            begin: where the first answer of the last exchange was generated, for families that leave earlier
                reasoning out when a user speaks again: that reasoning is then left out of the known ids. None
                to keep the known ids in any case.
            add_generation_prompt: whether the prompt ends with the opening of the assistant's turn.
            thinking: the thinking mode; None for the mode the dialect was bound with.
            keep_reasoning: as by `write`.

        Raises:
            PromptError: as by `write`; or the known ids are not a prompt of this family.
        """
        before = self.read(known).messages
        # With results alone the exchange goes on, and its reasoning stays.
        speaks_again = any(message.role == "user" for message in messages)
        stays = self.dialect.keeps_reasoning(keep_reasoning, self.absent, with_tools=bool(self.tools))
        if begin is not None and speaks_again and not stays:
            known = self.reasoning.left_out(known, begin)
        behind = self.write_behind(
            known,
            messages,
            before=before,
            add_generation_prompt=add_generation_prompt,
            thinking=thinking,
            keep_reasoning=keep_reasoning,
        )
        return [*known, *behind]

    def write_behind(
        self,
        known: Sequence[int],
        messages: Sequence[Message],
        *,
        before: Sequence[Message],
        add_generation_prompt: bool = True,
        thinking: ThinkingMode | None = None,
        keep_reasoning: KeptReasoning = None,
    ) -> list[int]:
        """Return what `write_after` puts behind a known prompt, which need not be read for it.

        Args:
            known: the last ids of the prompt and the answer to it; those of the answer's end are enough.
            messages: the messages after the answer.
            before: the messages that the whole prompt holds, the answer last.
            add_generation_prompt: whether the ids end with the opening of the assistant's turn.
            thinking: the thinking mode; None for the mode the dialect was bound with.
            keep_reasoning: as by `write`.

        Raises:
            PromptError: as by `write`.
        """
        turns = MessageTurns(self.dialect, before).turns(messages)
        self._check_calls(turns)
        stays = self.dialect.keeps_reasoning(keep_reasoning, self.absent, with_tools=bool(self.tools))
        chat = WrittenChat(
            system=None,
            turns=turns,
            thinking=thinking,
            # Decided here: the known prompt has told the tools, and the writer is given none to tell again.
            keep_reasoning="never" if keep_reasoning == "never" else stays,
            opens=add_generation_prompt,
        )
        return self._writer.behind(known, chat, before[-1].role if before else "")

    def begin_call(
        self, prompt: Sequence[int], names: Sequence[str], *, before: Sequence[Message] = ()
    ) -> list[int]:
        """Return ids that end the reasoning that a prompt has opened, and begin a call of one of some tools.

        A model that reads on behind the prompt and these ids ends the call; of several tools it chooses one.

        Args:
            prompt: a prompt that ends with the opening of the assistant's turn; its last ids are enough.
            names: the tools.
            before: the messages that the prompt holds; families count calls.

        Raises:
            PromptError: the family has no form for calls, or they do not say the name before the arguments,
                or its reasoning has no end that others may write.
        """
        ended = self.end_reasoning(prompt)

        def written(name: str, arguments: dict[str, Any]) -> list[int]:
            call = Message(role="assistant", calls=(MessageCall(name, arguments),))
            return self._writer.called(MessageTurns(self.dialect, before).turns([call])[0])

        begun = begun_call(written, names, pinned=len(names) == 1)
        ended = without_overlap(ended, begun or (), self.vocabulary.special_ids)
        reader = self.reader([*prompt, *ended], with_tools=True)  # of `names`, whatever is bound
        # Cut off there, the turn must hold one call, and that must still be open.
        events = [*reader.feed(begun or ()), *reader.flush("length")]
        opened = [event for event in events if isinstance(event, CallRegion)]
        if begun is None or len(opened) != 1 or opened[0].closed:
            raise PromptError(
                f"the dialect {self.name!r} has no beginning of a call that leaves only the arguments to the "
                "model; let the model choose whether it calls a tool"
            )
        return [*ended, *begun]

    def call_ids(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[int]:
        """Return the ids with which a model of this family calls tools, given as names and arguments.

        Raises:
            PromptError: the family has no form for calls.
        """
        if self.dialect.calls is None or self.dialect.calls.written is None:
            raise PromptError(f"the dialect {self.name!r} has no form in which calls are written")
        message = Message(role="assistant", calls=tuple(MessageCall(*call) for call in calls))
        return self._writer.called(MessageTurns(self.dialect).turns([message])[0])

    @cached_property
    def tells_calls_apart(self) -> bool:
        """True if each call has marks of its own, so that a turn can be ended behind its first one."""
        form = self.dialect.calls
        if form is None or form.written is None:
            return False
        if form.written.most == 1:  # there is no second one to tell apart
            return True
        ids = self.call_ids([("a", {}), ("b", {})])
        reader = self.reader(with_tools=True)
        events = [*reader.feed(ids), *reader.flush("stop")]
        return len([event for event in events if isinstance(event, CallRegion)]) == 2

    def end_reasoning(self, prompt: Sequence[int]) -> list[int]:
        """Return the ids that end the reasoning that a prompt has opened; none where it has opened none.

        Raises:
            PromptError: the family's reasoning has no end that others may write.
        """
        if self.reasoning_in(prompt) != "open":
            return []
        end = self.reasoning.end()
        if end is None:
            raise PromptError(f"the dialect {self.name!r} has no end of reasoning that others may write")
        return end

    def read(self, ids: Sequence[int]) -> ReadPrompt:
        """Return a prompt as messages; control ids decide, and never what content spells."""
        return self._prompts.read(ids)

    def spelled(self, ids: Sequence[int]) -> str:
        """Return a prompt as text, in which control tokens have their names."""
        return self._prompts.spelled(ids)

    def reasoning_in(self, ids: Sequence[int]) -> ReasoningState | None:
        """Return whether a prompt has opened, or closed, the reasoning of the turn that it opens."""
        return self._turns.reasoning_in(ids)

    def _told(self, tools: Sequence[ToolSpec] | None) -> Sequence[ToolSpec]:
        return list(self.tools.values()) if tools is None else tools

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
        *,
        goes_on: bool = True,
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Return what `extend` does, and where each result lies in it: its first id, and the one after it.

        Where the model does not go on, nothing opens its turn behind the results.
        """
        return self._writer.results(generated, attempts, goes_on=goes_on)

    def follow_up(self, history: History, chat: Chat | RawPrompt) -> PromptTemplate:
        """Return the prompt in which a user speaks again: the conversation, and the user's turn.

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
            said = self.reasoning.left_out(said, history.begin).tolist()
        return self._writer.follow_up(said, chat, unread=history.unread)

    def told(self, said: Sequence[int], text: str, thinking: ThinkingMode | None) -> list[int]:
        """Return a conversation with a further turn of the user, in which every character is text.

        Args:
            said: a prompt and the answer to it; they stay as they are, reasoning included.
            text: the user's turn.
            thinking: the thinking mode of the turn that follows; None for the mode the dialect was bound
                with.
        """
        # The strings of a chat are templates, in which a doubled brace is a character.
        chat = Chat(user=text.replace("{", "{{").replace("}", "}}"), thinking=thinking)
        return self._writer.follow_up(said, chat).render({})

    # Turns

    def reader(self, prompt_ids: Sequence[int] = (), *, with_tools: bool | None = None) -> TurnReader:
        """Return a reader for the turn that follows a prompt.

        Args:
            prompt_ids: the prompt.
            with_tools: whether the model was told tools, without which no text is a call; None where those
                that the dialect was bound with say it.
        """
        return self._turns.reader(prompt_ids, with_tools=with_tools)

    def parse_calls(self, region: CallRegion) -> list[ToolCall]:
        """Return the calls of a region; one that cannot be read is a call with an error."""
        return self._turns.calls(region)

    def _check_calls(self, turns: Sequence[WrittenTurn]) -> None:
        """Read calls back as the prompt will hold them, with a probe in their slots."""
        for calls, template in self._writer.calls(turns):
            probe = self._encoder.encode(PROBE)
            ids = template.render(dict.fromkeys(template.slots, probe))
            head = self.dialect.assistant.partition(self.dialect.answer)[0]
            found = self._turns.read_back(self._writer.ids(head), ids)
            spelled = self._encoder.spelled(probe)
            check_calls(self.name, calls, found, spelled, with_ids=self.dialect.writes_call_ids())
