"""A map node: a pipeline run once for each item of a stream, several at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import anyio

from codec_agents.nodes.function import call
from codec_agents.nodes.nested import run_body, sink_vocabulary
from codec_agents.nodes.slots import Slots
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.built import BuiltMap, Value
    from codec_agents.execution import Execution
    from codec_agents.nodes.wiring import Wiring


async def run_map(node: BuiltMap, wiring: Wiring, execution: Execution) -> None:
    """Run the body for each item, and send the results as they come, in the order that the node wants."""
    slots = Slots(node, wiring, execution)
    await slots.fill()
    execution.at_work.add(node.name)
    values = slots.values()
    items = await _items(node, values.pop(node.over))
    results = Results(node, wiring)
    limiter = anyio.CapacityLimiter(node.parallel)

    async def run_item(position: int, item: Value) -> None:
        async with limiter:
            outputs = await run_body(node, position, {**values, node.over: item}, execution)
        await results.add(position, outputs)

    await execution.run_all(run_item, items)


async def _items(node: BuiltMap, value: Value) -> list[Value]:
    vocabulary = node.vocabularies[node.over]
    if isinstance(node.split, str):
        if isinstance(value, str):
            return [item for item in value.split(node.split) if item.strip()]
        assert vocabulary is not None
        return list(split_ids(value, vocabulary, node.split.encode()))
    return [list(item) for item in await call(node.split, value)]


def split_ids(ids: Sequence[int], vocabulary: Vocabulary, separator: bytes) -> Iterator[list[int]]:
    """Cut ids where the bytes that they stand for hold a separator; items without content are left out.

    An id that lies outside all separators stays as it is. One that has a part of a separator is replaced by
    the ids of what else it has, so that an item never has a part of its neighbour.
    """
    contents = [vocabulary.token_bytes(token_id) for token_id in ids]
    starts = list(accumulate(map(len, contents), initial=0))
    whole = b"".join(contents)
    encode = pick_tokenizer(vocabulary).encode_ordinary
    begin = 0
    while begin <= len(whole):
        end = whole.find(separator, begin)
        end = len(whole) if end < 0 else end
        if whole[begin:end].strip():
            first, last = bisect_left(starts, begin), bisect_right(starts, end) - 1
            if first > last:
                yield encode(whole[begin:end].decode("utf-8", "replace"))
            else:
                head = whole[begin : starts[first]].decode("utf-8", "replace")
                tail = whole[starts[last] : end].decode("utf-8", "replace")
                yield [*(encode(head) if head else ()), *ids[first:last], *(encode(tail) if tail else ())]
        begin = end + len(separator)


class Results:
    """Hand on the results of the items in the order that the node wants."""

    def __init__(self, node: BuiltMap, wiring: Wiring) -> None:
        self._node = node
        self._wiring = wiring
        self._waiting: dict[int, dict[str, list[int]]] = {}
        self._next = 0
        self._sent: set[str] = set()
        self._lock = anyio.Lock()

    async def add(self, position: int, outputs: dict[str, list[int]]) -> None:
        """Take the result of one item; send what can leave."""
        async with self._lock:
            if not self._node.in_order:
                await self._send(outputs)
                return
            self._waiting[position] = outputs
            while self._next in self._waiting:
                await self._send(self._waiting.pop(self._next))
                self._next += 1

    async def _send(self, outputs: dict[str, list[int]]) -> None:
        for sink, ids in outputs.items():
            if sink in self._sent:
                vocabulary = sink_vocabulary(self._node.body, sink)
                ids = pick_tokenizer(vocabulary).encode_ordinary(self._node.separator) + ids
            self._sent.add(sink)
            await self._wiring.send(sink, ids)
