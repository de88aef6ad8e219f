"""Find the turn that a request continues.

Rules that hold in this file:

- Content decides. A turn is continued only if every message before it is the same; ids that the gateway gave
  out choose among equal turns, and a session's name decides nothing, because sub-agents share it.
- The search begins at the last of the model's turns in the request, which is nearly always a known one: one
  access to the store.
- Whatever of the request is behind the turn that was found is the client's text, and is written as such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

from codec_agents.dialects.messages import Message
from codec_agents.server.gateway.equivalence import (
    same_inserted_turn,
    same_model_turn,
    same_reasoning,
    without_edges,
)
from codec_agents.server.gateway.history import NOWHERE, History
from codec_agents.server.gateway.mint import Mint
from codec_agents.server.gateway.store import Store
from codec_agents.server.gateway.tree import Node


@dataclass(frozen=True, slots=True)
class Found:
    """The place of a request in the tree.

    Fields:
        node: the turn that it continues; None for a beginning.
        place: the place of that turn among the messages; `NOWHERE` for a beginning.
        equal: how many equal turns there were to choose from.
        differs: the first message that no known turn has, where the client's history differs from what is
            known; None where it continues it.
        evicted: whether the history was known, and is no longer.
        cut: of a turn that broke off, how many of its ids are what the client sends back.
    """

    node: Node | None
    place: int
    equal: int = 1
    differs: int | None = None
    evicted: bool = False
    cut: int | None = None


MOST_CUT: Final = 8
"""Equal turns that broke off of which the text is read, each in time in proportion to its ids. The first one
fits, unless a client sends back a part of what one id spells."""

MOST_COMPARED: Final = 100_000
"""Messages of one request that are compared with those of equal turns, of which the newest come first: a
client can store hundreds of turns behind thousands of equal messages."""

Cut: TypeAlias = Callable[[Node, Message], int | None]
"""Returns how many of a broken turn's first ids spell what a client sends back; None where no number does."""

Named: TypeAlias = Callable[[], frozenset[bytes | None]]
"""Returns the numbers of the turns whose ids the client sent. Only asked for among several turns: each id
costs a hash."""


class Lineage:
    """Finds the turns of one store.

    Args:
        store: the store.
        most_compared: the most messages of one request that are compared, if it has not half as many itself.
    """

    def __init__(self, store: Store, *, most_compared: int = MOST_COMPARED) -> None:
        self.store = store
        self._most_compared = most_compared
        self.mint = Mint(store.secret)

    def find(
        self, history: History, tenant: bytes, hints: frozenset[str] = frozenset(), cut: Cut | None = None
    ) -> Found:
        """Return the last known turn of a history.

        Args:
            history: the history.
            tenant: the client.
            hints: ids in the request, which choose among equal turns.
            cut: finds the place in a turn that broke off; None to continue no such turn.
        """
        turns = history.model_turns()
        place, nodes = self._deepest(history, turns)
        named = partial(self._named, tenant, hints)
        chosen = _chosen(nodes, named) if nodes else None
        # No turn of the model is unknown, so nothing can have forked: the second access is saved.
        if not any(turn > place for turn in turns):
            return Found(chosen, place, max(1, len(nodes)))
        return self._fork(history, Found(chosen, place, max(1, len(nodes))), named, cut)

    def _deepest(self, history: History, turns: Sequence[int]) -> tuple[int, list[Node]]:
        """Return the last of the model's turns that is known, and the nodes that it may be."""
        keys, first = [history.keys[turn] for turn in turns], 0
        compared = _Compared(history.messages, self._most_compared)
        while first < len(turns):
            found = self.store.find(keys[first:])
            if not found:
                break
            first = keys.index(found[0].key, first)
            place = turns[first]
            # The newest first: of those that nothing is left for, the oldest go.
            nodes = [node for node in reversed(found) if compared.is_history(node, place)][::-1]
            if nodes:
                return place, nodes
            # The keys were equal and the reasoning was not: an earlier turn may still be the same.
            first += 1
        return NOWHERE, []

    def _named(self, tenant: bytes, hints: frozenset[str]) -> frozenset[bytes | None]:
        return frozenset(self.mint.nonce_of(hint, tenant) for hint in hints)

    def _fork(self, history: History, found: Found, named: Named, cut: Cut | None) -> Found:
        """Return where a history leaves the known ones, behind a turn that is known.

        On the way it goes on from turns that broke off, of which there may be any number in a row.
        """
        last = history.model_turns()[0]
        while True:
            known = self._known_behind(history, found)
            broken = _broken(known, history.messages[found.place + 1 :], named, cut)
            if broken is None:
                return self._parted(history, found, known)
            child, kept = broken
            found = Found(child, found.place + 1 + len(child.messages), cut=kept)
            # No later turn of the model is there that could differ.
            if last <= found.place:
                return found

    def _known_behind(self, history: History, found: Found) -> list[Node]:
        """Return turns that continue the one found, and whose requests may have begun as this one goes on."""
        node = found.node
        # Turns whose request began with the same message, and those whose request had none of its own. Others
        # share nothing behind this place, and one system text may begin conversations by the thousand.
        openings = (history.origin if node is None else node.key, history.keys[found.place + 1])
        near = [each for opening in openings for each in self.store.children(opening)]
        known = [each for each in near if _nonce(each.parent) == _nonce(node)]
        left, compared = self._most_compared, list[Node]()
        for each in reversed(known):
            left -= len(each.messages)
            if left < 0 and compared:
                break
            compared.append(each)
        return compared[::-1]

    def _parted(self, history: History, found: Found, known: Sequence[Node]) -> Found:
        """Return the place found, with the first message that none of the known turns has."""
        behind = history.messages[found.place + 1 :]
        turns = [turn for turn in history.model_turns() if turn > found.place]
        evicted = self.store.was_evicted([history.keys[turn] for turn in turns])
        # Nothing begins like it, so it differs from nothing: a conversation of its own, and no fork.
        if found.node is None and not known:
            return replace(found, evicted=evicted)
        shared = max((_shared(child, behind) for child in known), default=0)
        if shared == len(behind):  # asked once more, with the client's own text as the model's last turn
            return replace(found, evicted=evicted)
        return replace(found, differs=found.place + 1 + shared, evicted=evicted)


def _nonce(node: Node | None) -> bytes | None:
    return None if node is None else node.nonce


class _Compared:
    """Compares the messages of a request with turns, each turn once, and many messages at most.

    The keys are equal: what they leave out is compared, reasoning and what a client wrote as an assistant's.

    Args:
        messages: those of the request.
        most: how many are compared, if the request has not half as many itself.
    """

    def __init__(self, messages: Sequence[Message], most: int) -> None:
        self._messages = messages
        self._left = max(most, 2 * len(messages))
        self._same: dict[bytes, bool] = {}
        """Whether everything up to a turn is the same, by its number."""

    def is_history(self, node: Node, place: int) -> bool:
        """Return whether a turn is the message at a place, and everything before it is the same."""
        looked: list[bytes] = []
        same: bool | None = None
        for each in node.path():
            same = self._same.get(each.nonce)
            if same is not None:
                break
            looked.append(each.nonce)
            start = place - len(each.messages)
            self._left -= place - start + 1
            if self._left < 0 or not self._is_same(each, start, place):
                same = False
                break
            place = start - 1
        if same is None:
            same = place == NOWHERE
        # Keys are equal only behind equally many messages, so a turn has one place in the request.
        self._same |= dict.fromkeys(looked, same)
        return same

    def _is_same(self, node: Node, start: int, place: int) -> bool:
        if start < 0 or not _is_turn(node, self._messages[place]):
            return False
        # Keys leave reasoning and edges of texts out of every assistant's message. Those that the model did
        # not write have to be exactly equal.
        inserted = zip(node.messages, self._messages[start:place], strict=True)
        return all(one.role != "assistant" or same_inserted_turn(one, other) for one, other in inserted)


def _is_turn(node: Node, message: Message) -> bool:
    if node.partial:  # a later turn continues what the client had got of it
        return without_edges(node.turn.reasoning).startswith(without_edges(message.reasoning))
    return same_reasoning(node.turn.reasoning, message.reasoning)


def _chosen(nodes: Sequence[Node], named: Named) -> Node:
    """Return one of equal turns: the one whose ids the client sent, or else the last one."""
    if len(nodes) == 1:
        return nodes[0]
    sent = named()
    counts = [(sum(each.nonce in sent for each in node.path()), node.created, node.number) for node in nodes]
    return nodes[counts.index(max(counts))]


def _broken(
    nodes: Sequence[Node], messages: Sequence[Message], named: Named, cut: Cut | None
) -> tuple[Node, int] | None:
    """Return the broken turn that messages go on from, and how many of its ids they send back."""
    if cut is None:
        return None

    fitting = [node for node in nodes if node.partial and _was_left_at(node, messages)]
    if len(fitting) > 1:
        sent = named()
        # The one with the most messages first: of all that fit, it leaves the least to be written anew. Of
        # those with as many, as of equal turns: the one whose ids the client sent, or else the last one.
        fitting.sort(
            key=lambda each: (-len(each.messages), each.nonce not in sent, -each.created, -each.number)
        )
    for node in fitting[:MOST_CUT]:
        kept = cut(node, messages[len(node.messages)])
        if kept is not None:
            return node, kept
    return None


def _was_left_at(node: Node, messages: Sequence[Message]) -> bool:
    """Return whether messages are those of a broken turn's request, and then what its client may have got."""
    if len(messages) <= len(node.messages):
        return False
    turn = messages[len(node.messages)]
    return (
        all(map(_same, node.messages, messages))
        and turn.role == "assistant"
        # Calls go out whole, at their end: a turn that broke off behind one is no text that was cut.
        and not turn.calls
        # An empty text is the beginning of every turn.
        and bool(without_edges(turn.content))
        and without_edges(node.turn.content).startswith(without_edges(turn.content))
        and same_reasoning(node.turn.reasoning, turn.reasoning)
    )


def _shared(node: Node, messages: Sequence[Message]) -> int:
    """Return how many messages are those of a node, its turn included."""
    for number, (one, other) in enumerate(zip(node.messages, messages, strict=False)):
        if not _same(one, other):
            return number
    inserted = len(node.messages)
    # A broken turn is equal to no message; `_broken` has looked at what was got of it.
    behind = () if node.partial else messages[inserted : inserted + 1]
    return inserted + sum(same_model_turn(node.turn, turn) for turn in behind)


def _same(one: Message, other: Message) -> bool:
    if one.role == "assistant":
        return same_inserted_turn(one, other)
    return one.role == other.role and one.content == other.content
