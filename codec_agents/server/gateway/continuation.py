"""The prompt that continues a turn: the ids that are known, and the client's messages behind them.

Rules that hold in this file:

- Known ids stay as they are: `prompt(n+1) = prompt(n) + sampled(n) + what was inserted`. Nothing of them is
  read, decoded or encoded again.
- One exception, which is reported: where a family's template leaves earlier reasoning out, it is left out of
  the known ids, and everything else of them stays.
- What is inserted is written by the dialect, in which content cannot become a control id.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.forms import KeptReasoning
from codec_agents.dialects.messages import Message
from codec_agents.server.gateway.equivalence import without_edges
from codec_agents.server.gateway.history import NOWHERE, Asked, History, key_after, with_call_ids_of
from codec_agents.server.gateway.lineage import Found
from codec_agents.server.gateway.tree import Node, Span, as_array, size_of

Kind: TypeAlias = Literal["extended", "forked", "rendered", "new"]
ReasoningRule: TypeAlias = Literal["all", "tool_cycle", "template"]
UnsentReasoning: TypeAlias = Literal["restore", "follow"]

_Write: TypeAlias = Callable[[Sequence[Message]], list[int]]

COMPARED: Final = (4096, 256, 16, 1)
"""Ids that are compared at once, ever fewer: long prompts share nearly all of theirs."""

LOOK_BACK: Final = 256
"""Ids before a turn among which its opening is looked for; the longest has about thirty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningRules:
    """The reasoning of earlier turns in a prompt.

    Fields:
        kept: `all` keeps it; `tool_cycle` keeps it until a user speaks again; `template` never keeps it. None
            for what the family's own template does.
        unsent: reasoning that a client does not send back is there as if it had (`restore`), or left out
            (`follow`).
    """

    kept: ReasoningRule | None = None
    unsent: UnsentReasoning = "restore"

    def keeps(self, dialect: BoundDialect, *, with_tools: bool) -> bool:
        """Return whether reasoning stays when a user speaks again."""
        if not dialect.knows_reasoning:
            return True
        if self.kept is not None:
            return self.kept == "all"
        return dialect.dialect.keeps_reasoning(None, dialect.absent, with_tools=with_tools)

    def keeps_between_calls(self, dialect: BoundDialect) -> bool:
        """Return whether reasoning stays until a user speaks again."""
        if self.kept is not None:
            return self.kept != "template"
        return dialect.dialect.keeps_reasoning_between_calls(dialect.absent)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a request's prompt came about.

    Fields:
        kind: an exact extension of a known turn, a fork, an extension that leaves reasoning out, or new.
        ids: how many of the prompt's first ids are those of an earlier prompt and its turn.
        turn: of a fork, the first message that differs; of a rendering, the first turn without its reasoning.
            Counted from 1, without the system text in front.
        equal: how many equal turns there were to choose from.
        evicted: whether the history was known, and is no longer.
    """

    kind: Kind
    ids: int = 0
    turn: int | None = None
    equal: int = 1
    evicted: bool = False

    def __str__(self) -> str:
        """Return the value of the header `x-codec-lineage`."""
        match self.kind:
            case "extended":
                return f"extended {self.ids}"
            case "forked":
                return f"forked at turn {self.turn}" + (" (evicted)" if self.evicted else "")
            case "rendered":
                return f"rendered at turn {self.turn} (reasoning)"
        return "new (evicted)" if self.evicted else "new"


@dataclass(frozen=True, slots=True)
class Continuation:
    """A prompt, and its place in the tree.

    Fields:
        history: the request's messages and keys.
        tenant: the client.
        parent: the turn that it continues.
        place: the place of that turn among the messages.
        prompt: the ids.
        kept: how many of the parent's ids it begins with.
        begin: where the first turn since the last user message is, or will be, sampled.
        verdict: how it came about.
        begun: how many of the prompt's last ids are the beginning of the answer's turn.
        size_of_messages: about what the messages behind the parent's turn take in memory, once it is counted.
    """

    history: History
    tenant: bytes
    parent: Node | None
    place: int
    prompt: array[int]
    kept: int
    begin: int
    verdict: Verdict
    begun: int = 0
    size_of_messages: int | None = None

    @property
    def size(self) -> int:
        """About how many bytes it holds in memory: the prompt, and the conversation before it."""
        before = 0 if self.parent is None else self.parent.whole_size
        return before + self.prompt.itemsize * len(self.prompt)

    @property
    def _opening(self) -> bytes:
        """The key after the first message of the request, by which a fork finds turns that began alike."""
        first = self.place + 1
        if first < len(self.history.messages):
            return self.history.keys[first]
        return self.history.origin if self.parent is None else self.parent.key

    @property
    def _messages(self) -> tuple[Message, ...]:
        """The messages behind the parent's turn."""
        return self.history.messages[self.place + 1 :]

    def counted(self) -> Continuation:
        """Return the same with the size of its messages, so that the end of the turn need not count many."""
        return replace(self, size_of_messages=size_of(self._messages))

    def beginning(self, ids: Sequence[int]) -> Continuation:
        """Return the same with the beginning of the answer's turn behind the prompt."""
        return replace(self, prompt=self.prompt + as_array(ids), begun=len(ids)) if ids else self

    def answered(
        self,
        sampled: Sequence[int],
        turn: Message,
        *,
        nonce: bytes,
        finish_reason: str | None,
        partial: bool = False,
        private: bool = False,
        system: str | None = None,
        call_ids: tuple[str, ...] = (),
        spans: tuple[Span, ...] = (),
        created: float = 0.0,
    ) -> Node:
        """Return the node of this request and its answer."""
        history, parent = self.history, self.parent
        # A request may be a system text alone; then the turn follows the first key.
        before = history.keys[len(history.messages) - 1] if history.messages else history.origin
        return Node(
            parent=parent,
            tenant=self.tenant,
            origin=self._opening,
            key=key_after(before, turn),
            kept=self.kept,
            inserted=self.prompt[self.kept :],
            sampled=as_array(sampled),
            messages=self._messages,
            size_of_messages=self.size_of_messages,
            turn=turn,
            nonce=nonce,
            begin=self.begin,
            finish_reason=finish_reason,
            partial=partial,
            private=private,
            system=system if parent is None else None,  # once: those behind have it by their path
            call_ids=call_ids,
            spans=spans,
            created=created,
        )


def continue_history(
    asked: Asked, history: History, found: Found, dialect: BoundDialect, rules: ReasoningRules
) -> Continuation:
    """Write the prompt of a request.

    Raises:
        PromptError: the family has no form for a message.
    """
    return _Writer(asked, history, dialect, rules).continuation(found).counted()


class _Writer:
    def __init__(self, asked: Asked, history: History, dialect: BoundDialect, rules: ReasoningRules) -> None:
        self._asked = asked
        self._history = history
        self._dialect = dialect
        self._rules = rules
        self._keeps = rules.keeps(dialect, with_tools=bool(asked.tools))
        self._keeps_between_calls = rules.keeps_between_calls(dialect)
        self._written: KeptReasoning = self._keeps if self._keeps_between_calls else "never"

    def continuation(self, found: Found) -> Continuation:
        if found.node is None:
            return self._beginning(found)
        known = found.node.ids()
        if found.cut is not None:
            known = known[: found.node.prompt_length + found.cut]
        return self._behind(found, found.node, known)

    def _beginning(self, found: Found) -> Continuation:
        messages = self._history.messages
        prompt = as_array(self._whole(messages))
        begin = self._begin_of(messages, self._whole, prompt)
        if found.differs is None:
            verdict = Verdict("new", evicted=found.evicted)
        else:
            turn = self._history.numbers[found.differs]
            verdict = Verdict("forked", turn=turn, evicted=found.evicted)
        begin = len(prompt) if begin is None else begin
        return Continuation(self._history, self._asked.tenant, None, NOWHERE, prompt, 0, begin, verdict)

    def _whole(self, messages: Sequence[Message]) -> list[int]:
        system = self._history.system
        return self._dialect.write(
            messages if system is None else [system, *messages],
            tools=self._asked.tools,
            thinking=self._asked.thinking,
            keep_reasoning=self._written,
        )

    def _behind(self, found: Found, node: Node, known: array[int]) -> Continuation:
        behind = self._history.messages[found.place + 1 :]
        stripped = self._without_reasoning(found, node, known, behind)
        kept = len(known) if stripped is known else _shared(known, stripped)
        # Of a turn that was cut, the prompt holds what the client got, and no call behind that.
        turn = node.turn if found.cut is None else self._history.messages[found.place]
        before = [*self._history.messages[: found.place], turn]
        end = stripped[-LOOK_BACK:]

        def written(some: Sequence[Message]) -> list[int]:
            return self._dialect.write_behind(
                end,
                with_call_ids_of(some, turn),
                before=before,
                thinking=self._asked.thinking,
                keep_reasoning=self._written,
            )

        inserted = as_array(written(behind))
        begin = self._begin_of(behind, written, inserted)
        prompt = stripped + inserted
        return Continuation(
            self._history,
            self._asked.tenant,
            node,
            found.place,
            prompt,
            kept,
            # Known ids that were cut, or lost reasoning, may end before it.
            min(node.begin, len(stripped)) if begin is None else len(stripped) + begin,
            self._verdict(found, node, kept, len(known)),
        )

    def _verdict(self, found: Found, node: Node, kept: int, known: int) -> Verdict:
        if found.differs is not None:
            return Verdict("forked", kept, self._history.numbers[found.differs], found.equal, found.evicted)
        if kept == known:
            return Verdict("extended", kept, equal=found.equal)
        place, turn = found.place, found.place
        for each in node.path():
            if each.length <= kept:
                break
            turn, place = place, place - len(each.messages) - 1
        return Verdict("rendered", kept, self._history.numbers[turn], found.equal)

    # --- reasoning ---

    def _without_reasoning(
        self, found: Found, node: Node, known: array[int], behind: Sequence[Message]
    ) -> array[int]:
        """Return known ids without the reasoning that the family's template, or the client, leaves out.

        All of it behind the earliest place goes: a template leaves out that of every turn there, and a client
        that leaves out a turn's reasoning is taken to leave out that of the turns behind it.
        """
        begin = self._leaves_out_from(found, node, behind)
        # A broken turn may have been cut before it.
        if begin is None or begin > len(known):
            return known
        start = max(0, begin - LOOK_BACK)
        window = known[start:]
        stripped = self._dialect.reasoning.left_out(window, begin - start)
        return known if stripped == window else known[:start] + stripped

    def _leaves_out_from(self, found: Found, node: Node, behind: Sequence[Message]) -> int | None:
        if not self._dialect.knows_reasoning:
            return None
        places = [] if self._rules.unsent == "restore" else self._unsent(found, node)
        speaks_again = any(message.role == "user" for message in behind)
        if not self._keeps and (speaks_again or not self._keeps_between_calls):
            places.append(node.begin)
        return min(places, default=None)

    def _unsent(self, found: Found, node: Node) -> list[int]:
        """Return where turns were sampled whose reasoning is in the ids, and that the client sent without."""
        places, place, seen = [], found.place, node.length
        for each in node.path():
            sent = self._history.messages[place].reasoning
            # The turns behind begin with `seen` ids: where they end before it, its reasoning is gone already.
            in_ids = without_edges(each.turn.reasoning) and each.prompt_length < seen
            if in_ids and not without_edges(sent):
                places.append(each.prompt_length)
            seen, place = min(seen, each.kept), place - len(each.messages) - 1
        return places

    def _begin_of(self, messages: Sequence[Message], write: _Write, ids: array[int]) -> int | None:
        """Return where, in the ids of messages, the first turn since the last user message begins.

        None where the messages have no user. Only what a client wrote as the model's own can be behind it.
        """
        users = [place for place, message in enumerate(messages) if message.role == "user"]
        if not users:
            return None
        last = users[-1] + 1
        # The usual case, which costs nothing; otherwise messages are written again, without the last ones.
        if not any(message.role == "assistant" for message in messages[last:]):
            return len(ids)
        return _shared(ids, as_array(write(messages[:last])))


def _shared(one: array[int], other: array[int]) -> int:
    """Return how many first ids two prompts share."""
    place, size = 0, min(len(one), len(other))
    for step in COMPARED:
        while place + step <= size and one[place : place + step] == other[place : place + step]:
            place += step
    return place
