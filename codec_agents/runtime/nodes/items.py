"""The items of a map node's stream, read as they are taken.

Rules:

- An item is complete as soon as its separator arrives.
- Nothing is read while no item is taken, so backpressure reaches the source of the stream.
- A stream that could still be taken back is read to its end first: one from a node whose failure makes the
  edge a branch not taken; and every stream in a run that may be suspended, because an item that has begun
  must finish.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from codec_agents.exceptions import NodeFailedError
from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.edges.channel import Arrivals
from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.edges.transducers import TRANSDUCERS
from codec_agents.runtime.nodes.returned import checked_value
from codec_agents.runtime.nodes.splitting import Gathered, IdSplitter, TextSplitter
from codec_agents.runtime.reporting import ask
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltEdge, Value
    from codec_agents.plan.plan import BuiltMap
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.transducers import Batch
    from codec_agents.runtime.edges.wiring import Wiring


class Items:
    """Reads the edges into a map node, and yields its items one by one."""

    def __init__(self, node: BuiltMap, wiring: Wiring, context: NodeContext) -> None:
        self._node = node
        self._context = context
        self._channels = wiring.channels
        self._slots = Slots(node, wiring, context)
        self._arrivals = Arrivals(wiring.channels, wiring.ready)
        self._edges = [inlet.edge for inlet in wiring.inlets]
        self._open = set(range(len(self._edges)))
        """The edges that have not ended."""
        self._streams = {n: Stream(e) for n, e in enumerate(self._edges) if e.target_slot == node.over}
        self._lanes = deque(self._streams)
        """The edges of the stream, from the one that is split now on: they follow each other in declared
        order."""
        self._others = {n: h for n, h in enumerate(self._slots.handoffs) if n not in self._streams}
        self._splitter = _splitter(node)
        self._found: deque[Value] = deque()
        self._begun: set[int] = set()
        """The edges of the stream whose splitting has begun."""
        self._over = False

    async def other_slots(self) -> dict[str, Value]:
        """Read until the slots that all items share are complete; return their values."""
        while self._others.keys() & self._open:
            await self._read()
        self._slots.handoffs = [h for n, h in self._others.items() if not self._channels[n].skipped]
        return dict(self._slots.values())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Value:
        """Return the next item.

        Raises:
            NodeSkipped: at the end, where no edge into one of the slots was taken.
        """
        while self._open and self._context.suspends:
            await self._read()
        while not self._found:
            if self._open:
                await self._read()
            elif self._over:
                raise StopAsyncIteration
            else:
                self._over = True
                self._found += await self._last()
        return self._found.popleft()

    async def _read(self) -> None:
        """Take everything that is queued on one edge, and find the items that it completes."""
        index, batches = await anext(self._arrivals)
        edge = self._streams[index] if index in self._streams else self._others[index]
        for batch in batches:
            edge.take(batch)
        if not batches:
            edge.finish()
            self._open.discard(index)
        while self._lanes and self._cut(self._lanes[0]):
            self._lanes.popleft()

    def _cut(self, lane: int) -> bool:
        """Split what has arrived on an edge; return whether the edge has ended."""
        stream, ended = self._streams[lane], lane not in self._open
        if ended and self._channels[lane].skipped:
            return True
        if ended or (stream.has_content and self._may_begin(self._edges[lane])):
            if self._begun and lane not in self._begun:  # between two edges, and not before the first
                self._found += self._splitter.feed(self._separator(self._edges[lane]))
            self._begun.add(lane)
            self._found += self._splitter.feed(stream.take_content())
        return ended

    def _may_begin(self, edge: BuiltEdge) -> bool:
        """Return whether what has arrived on an edge can no longer be taken back."""
        return self._context.plan.nodes[edge.source_node].policy.on_failure == "fail"

    def _separator(self, edge: BuiltEdge) -> Any:
        vocabulary = edge.target_vocabulary
        return (
            edge.separator
            if vocabulary is None
            else pick_tokenizer(vocabulary).encode_ordinary(edge.separator)
        )

    async def _last(self) -> Sequence[Value]:
        """Return the items that the end of the stream completes."""
        pairs = zip(self._edges, self._channels, strict=True)
        # Of several edges into one slot, one that was taken is enough.
        if {e.target_slot for e, c in pairs if not c.skipped} != {e.target_slot for e in self._edges}:
            raise NodeSkipped
        if isinstance(self._splitter, Gathered):
            return await self._called(self._splitter.value)
        return self._splitter.flush()

    async def _called(self, value: Value) -> list[Value]:
        assert not isinstance(self._node.split, str)  # content is gathered for a function alone: `_splitter`
        vocabulary = self._node.vocabularies[self._node.over]

        def checked(items: Any) -> list[Value]:
            if isinstance(items, str | bytes) or not isinstance(items, Iterable):
                problem = f"the function that splits returned {type(items).__name__}, not a list of items"
                raise NodeFailedError(self._node.path, TypeError(problem))
            giver = "the function that splits returned among its items"
            return [checked_value(self._node.path, vocabulary, item, giver) for item in items]

        return await ask(self._node.split, self._node, self._context, checked, value)


def _splitter(node: BuiltMap) -> IdSplitter | TextSplitter | Gathered:
    vocabulary = node.vocabularies[node.over]
    if not isinstance(node.split, str):
        return Gathered(has_text=vocabulary is None)
    return TextSplitter(node.split) if vocabulary is None else IdSplitter(node.split.encode(), vocabulary)


class Stream:
    """The part of one edge's content that is not split yet: ids of the map's vocabulary, or text."""

    def __init__(self, edge: BuiltEdge) -> None:
        self._transducer = TRANSDUCERS[edge.strategy](edge)
        self._has_text = edge.target_vocabulary is None
        self._parts: list[Any] = []

    @property
    def has_content(self) -> bool:
        """True if there is something to split."""
        return bool(self._parts)

    def take(self, batch: Batch) -> None:
        """Add a batch."""
        if part := self._transducer.feed(batch):
            self._parts.append(part)

    def finish(self) -> None:
        """Add what the transducer held back until the source finished."""
        self._parts.append(self._transducer.flush())

    def take_content(self) -> Any:
        """Remove and return the content that is not split yet."""
        parts, self._parts = self._parts, []
        return "".join(parts) if self._has_text else list(chain.from_iterable(parts))
