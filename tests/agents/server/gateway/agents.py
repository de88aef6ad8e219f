"""Random agents of one model family: what the model says, and what a client makes of it.

The model's ids are cut otherwise than a tokenizer cuts them, as sampled ids are: a prompt that was written
anew from the text would not hold them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from codec_agents.dialects import BoundDialect, CallRegion
from codec_agents.dialects.messages import Message, MessageCall
from codec_agents.server.gateway.broken_turns import place_of_text
from codec_agents.server.gateway.continuation import Continuation, ReasoningRules, continue_history
from codec_agents.server.gateway.equivalence import without_edges
from codec_agents.server.gateway.history import Asked, History, history_of
from codec_agents.server.gateway.lineage import Lineage
from codec_agents.server.gateway.mint import new_nonce
from codec_agents.server.gateway.store import Store
from codec_agents.server.gateway.tree import Node
from codec_core.detokenizer import Detokenizer
from tests.agents.dialects.families import FAMILIES, READ_ALIKE, TOOLS, Bench

WORDS = ("fares", " to", " Oslo", "\n", "  ", "é", "三", "😀", "3.50", ", ", "\n\n", "e\u0301", "\u00a0")


def family(name: str) -> dict[str, Any]:
    return FAMILIES[READ_ALIKE.get(name, name)]


class Model:
    """Samples turns of one family."""

    def __init__(self, name: str, bench: Bench, draw: random.Random) -> None:
        self._form = family(name)
        self._bench = bench
        self._draw = draw
        self._markers = list(bench.bound.dialect.all_markers())
        self.calls = bench.bound.dialect.results is not None and bench.bound.dialect.tools is not None
        vocabulary = bench.vocabulary
        ordinary = [
            each
            for each in range(vocabulary.size)
            if vocabulary.is_valid(each) and each not in vocabulary.special_ids
        ]
        self._bytes = {
            vocabulary.byte_table[each][0]: each for each in ordinary if len(vocabulary.byte_table[each]) == 1
        }

    def text(self) -> str:
        words = [self._draw.choice((*WORDS, *self._markers)) for _ in range(self._draw.randint(0, 5))]
        return "".join(words)

    def turn(self, prompt: Sequence[int]) -> list[int]:
        """Return the ids of a turn that ends by itself."""
        form, draw = self._form, self._draw
        parts: list[Any] = []
        state = self._bench.bound.reasoning_in(prompt)
        if "thought" in form and (draw.random() < 0.7 or state == "open") and state != "closed":
            start, stop = form["thought"]
            parts += ["" if state == "open" else start, {"text": self.text()}, stop]
        before, after = form.get("answer", ["", ""])
        if self.calls and draw.random() < 0.6:
            calls = form["two"] if "two" in form and draw.random() < 0.5 else form["one"]
            said = "" if form.get("alone") or before else {"text": self.text()}
            parts += [said, calls, form.get("call_end", form["end"])]
        else:
            parts += [before, {"text": "It is " + self.text()}, after, form["end"]]
        return self._cut_otherwise(self._bench.ids([part for part in parts if part != ""]))

    def _cut_otherwise(self, ids: Sequence[int]) -> list[int]:
        special, table = self._bench.vocabulary.special_ids, self._bench.vocabulary.byte_table
        cut: list[int] = []
        for token_id in ids:
            single = (
                [self._bytes.get(byte) for byte in table[token_id]] if token_id not in special else [None]
            )
            if None in single or self._draw.random() < 0.7:
                cut.append(token_id)
            else:
                cut += [each for each in single if each is not None]
        return cut


def delivered(dialect: BoundDialect, prompt: Sequence[int], ids: Sequence[int], finish: str) -> Message:
    """Return a turn as a client gets it."""
    reader = dialect.reader(prompt, with_tools=True)
    lanes = {"answer": Detokenizer(dialect.vocabulary), "reasoning": Detokenizer(dialect.vocabulary)}
    texts, calls = {"answer": "", "reasoning": ""}, []
    for event in [*reader.feed(ids), *reader.flush(finish)]:
        if not isinstance(event, CallRegion):
            texts[event.port] += lanes[event.port].feed(event.ids)
            continue
        for call in dialect.parse_calls(event):
            if call.error is None and call.arguments is not None:
                raw = json.dumps(call.arguments, ensure_ascii=False)
                calls.append(MessageCall(call.name, call.arguments, call.call_id, raw))
            else:
                texts["answer"] += call.text
    for port, lane in lanes.items():
        texts[port] += lane.flush()
    return Message(
        role="assistant",
        content=texts["answer"],
        reasoning=texts["reasoning"] or None,
        calls=tuple(calls),
    )


@dataclass
class Answered:
    """A request, its prompt and the node of its answer."""

    history: History
    continuation: Continuation
    node: Node


class Core:
    """A gateway without HTTP: it finds, writes, samples and stores."""

    def __init__(self, dialect: BoundDialect, store: Store, rules: ReasoningRules | None = None) -> None:
        self.dialect = dialect
        self.lineage = Lineage(store)
        self.rules = rules or ReasoningRules()

    def ask(
        self,
        messages: Sequence[Message],
        tenant: bytes = b"t",
        hints: frozenset[str] = frozenset(),
        tools: Any = TOOLS,
    ) -> Continuation:
        asked = Asked(tenant, "m", messages, tools, self.dialect.thinking, hints)
        history = history_of(asked, self.dialect)
        cut = partial(place_of_text, self.dialect, with_tools=bool(tools))
        found = self.lineage.find(history, tenant, hints, cut)
        return continue_history(asked, history, found, self.dialect, self.rules)

    def answer(
        self,
        continuation: Continuation,
        sampled: Sequence[int],
        finish: str = "stop",
        *,
        partial: bool = False,
    ) -> Node:
        turn = delivered(self.dialect, continuation.prompt, sampled, finish)
        node = continuation.answered(sampled, turn, nonce=new_nonce(), finish_reason=finish, partial=partial)
        self.lineage.store.add(node)
        return node

    def ids(self, node: Node, number: int = 0) -> str:
        """Return an id of a call, as the client gets it."""
        return self.lineage.mint.new_id("call_", node.tenant, node.nonce, number)


@dataclass
class Client:
    """One client with one conversation; it sends history back in a way of its own."""

    core: Core
    model: Model
    draw: random.Random
    tenant: bytes
    system: str | None
    sends_reasoning: bool
    strips: bool
    rewrites: bool
    messages: list[Message] = field(default_factory=list)
    nodes: dict[int, Node] = field(default_factory=dict)
    """The node of each of the model's turns, by its place in `messages`."""
    renamed: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    broken: bool = False
    """Whether the last turn broke off before its end."""

    def sent_back(self, node: Node) -> Message:
        """Return a turn of the model as this client sends it."""
        turn, calls = node.turn, []
        for number, call in enumerate(turn.calls):
            call_id = self.core.ids(node, number)
            if self.rewrites:
                call_id = self.renamed.setdefault(call_id, f"my-{len(self.renamed)}")
            raw = self._rewritten(call.arguments) if self.rewrites else call.text
            calls.append(MessageCall(call.name, call.arguments, call_id, raw))
        return Message(
            role="assistant",
            content=without_edges(turn.content) if self.strips else turn.content,
            reasoning=turn.reasoning if self.sends_reasoning else None,
            calls=tuple(calls),
        )

    def _rewritten(self, arguments: Any) -> str:
        numbers = {
            key: float(value) if type(value) is int else value for key, value in (arguments or {}).items()
        }
        return json.dumps(numbers, sort_keys=True, ensure_ascii=True, indent=1)

    def go_on(self) -> None:
        """Add what follows the last turn: the results of its calls, or the user's next message."""
        last = self.messages[-1] if self.messages else None
        if last is None or not last.calls:
            self.sent += 1
            self.messages.append(Message(role="user", content=f"{self.sent} " + self.model.text()))
            return
        results = [
            Message(role="tool", content=f"{number} {self.model.text()}", call_id=call.id, name=call.name)
            for number, call in enumerate(last.calls)
        ]
        if self.rewrites:
            results.reverse()
        self.messages += results

    def request(self) -> list[Message]:
        system = [] if self.system is None else [Message(role="system", content=self.system)]
        return [*system, *self.messages]

    def hints(self) -> frozenset[str]:
        return frozenset(call.id or "" for message in self.messages for call in message.calls)

    def ask(self) -> Continuation:
        return self.core.ask(self.request(), self.tenant, self.hints())

    def take(self, node: Node) -> None:
        self.nodes[len(self.messages)] = node
        self.messages.append(self.sent_back(node))

    def got(self, node: Node) -> bool:
        """Take what came of a turn that broke off, if it is text; a client gives up on anything else."""
        text = node.turn.content
        if node.turn.calls or not without_edges(text) or "\ufffd" in text:
            return False
        self.nodes[len(self.messages)] = node
        self.messages.append(Message(role="assistant", content=text))
        return True

    def last_node(self) -> Node | None:
        return self.nodes[max(self.nodes)] if self.nodes else None

    def edit(self, place: int) -> None:
        """Change one message; what came behind it stays, as the client's own."""
        self.sent += 1
        message = self.messages[place]
        self.messages[place] = replace(message, content=f"{message.content} edited {self.sent}")
        self.nodes = {each: node for each, node in self.nodes.items() if each < place}
