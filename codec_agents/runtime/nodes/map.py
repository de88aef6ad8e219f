"""A map node: a pipeline that runs once per item of a stream, several items at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from codec_agents.concurrency.task_group import TaskGroup
from codec_agents.plan.nodes import PromptedNode
from codec_agents.plan.variants import prompted_nodes
from codec_agents.runtime.nodes.items import Items
from codec_agents.runtime.nodes.nested import run_body, sink_vocabulary
from codec_agents.runtime.reporting import report_decided, report_finished, report_started
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.plan.nodes import Value
    from codec_agents.plan.plan import BuiltMap, BuiltPipeline
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


RESULTS_AHEAD = 4
"""Bound of the items that have begun and whose result has not left, as a multiple of `parallel`. When
results leave in order and one item is slow, the others continue up to this bound; then the stream is no
longer read."""


async def run_map(node: BuiltMap, wiring: Wiring, context: NodeContext) -> None:
    """Run the body for each item as it arrives; send the results in the declared order.

    Raises:
        NodeSkipped: no edge into one of the slots was taken.
        RunError: what the first item that failed raised; the others are stopped.
    """
    if asks_what_feeds_it(node, context.plan):
        wiring.remove_bound()
    items = Items(node, wiring, context)
    values = await items.other_slots()
    results = Results(node, wiring, context)
    await ItemRuns(node, results, values, context).run(items)
    await results.finish()
    await report_finished(node, context, _reason(results.sent))


def _reason(items: int) -> str:
    return f"items: {items}"


class ItemRuns:
    """Runs the body for each item: a bounded number at once, and a bounded number of waiting results."""

    def __init__(
        self, node: BuiltMap, results: Results, values: dict[str, Value], context: NodeContext
    ) -> None:
        self._node = node
        self._results = results
        self._values = values
        self._context = context
        self._places = anyio.Semaphore(node.parallel)
        self._errors: list[Exception] = []

    async def run(self, items: Items) -> None:
        """Run the body for each item; the first failure, of an item or of the stream, stops the others."""
        async with TaskGroup() as group:
            try:
                await self._start_all(items, group)
            except Exception as error:
                self._fail(error, group)
        if self._errors:
            raise self._errors[0]

    async def _start_all(self, items: Items, group: TaskGroup) -> None:
        position = 0
        async for item in items:
            # The items that have begun end, and leave.
            if self._context.run.ends_here(self._node.path, _reason(position)):
                return
            if not position:  # until its first item it waits for its inputs, as any node does
                await report_started(self._node, self._context)
            # In this order: an item that waits for room must not hold a place.
            await self._results.room.acquire()
            await self._places.acquire()
            group.start_soon(self._run_item, position, item, group)
            position += 1

    async def _run_item(self, position: int, item: Value, group: TaskGroup) -> None:
        values = {**self._values, self._node.over: item}
        try:
            try:
                outputs = await run_body(self._node, position, values, self._context)
            finally:  # a result that waits for its consumers holds no place
                self._places.release()
            await self._results.add(position, outputs)
        except Exception as error:
            self._fail(error, group)

    def _fail(self, error: Exception, group: TaskGroup) -> None:
        self._errors.append(error)
        group.cancel_scope.cancel()


class Results:
    """Sends the results of the items: in the order of the items, in that of a record, or as they complete."""

    def __init__(self, node: BuiltMap, wiring: Wiring, context: NodeContext) -> None:
        self._node = node
        self._wiring = wiring
        self._context = context
        self._waiting: dict[int, dict[str, Value]] = {}
        self._decided = node.decided.get(node.path, ())
        self._used: set[str] = set()
        """The sinks that have sent something: their next result is preceded by a separator."""
        self._lock = anyio.Lock()
        """Held while results are sent: sending waits for consumers, and an item that completes meanwhile
        would choose the same result, or send its own between the sinks of another."""
        self.sent = 0
        """How many results have been sent."""
        self._most = node.parallel * RESULTS_AHEAD
        self.room = anyio.Semaphore(self._most)
        """Acquired by each item that begins, released by each result that was sent."""

    async def add(self, position: int, outputs: dict[str, Value]) -> None:
        """Add the result of one item, and send the results whose turn it is."""
        async with self._lock:
            self._waiting[position] = outputs
            while (leaving := self._next()) in self._waiting:
                await self._send(leaving)

    async def finish(self) -> None:
        """Send the results that wait for an item that is in the record and not in this run."""
        for position in list(self._waiting):
            await self._send(position)

    def _next(self) -> int:
        """Return the item whose result is sent next; in a replay the recorded one, if it can have begun."""
        if self._node.in_order:
            return self.sent
        if self.sent < len(self._decided) and self._decided[self.sent] < self.sent + self._most:
            return self._decided[self.sent]
        return next(iter(self._waiting), -1)  # -1 is no item: nothing waits

    async def _send(self, position: int) -> None:
        if not self._node.in_order:
            await report_decided(self._node, self._context, position)
        for sink, value in self._waiting.pop(position).items():
            await self._wiring.send(sink, self._separated(sink, value))
            self._used.add(sink)
        self.sent += 1
        self.room.release()

    def _separated(self, sink: str, value: Value) -> Value:
        if sink not in self._used:
            return value
        if isinstance(value, str):
            return self._node.separator + value
        vocabulary = sink_vocabulary(self._node.body, sink)
        assert vocabulary is not None
        return [*pick_tokenizer(vocabulary).encode_ordinary(self._node.separator), *value]


def asks_what_feeds_it(node: BuiltMap, built: BuiltPipeline) -> bool:
    """Return whether a map's items use an engine that a model before the map uses too.

    Backpressure on such a stream could deadlock: the model occupies a place at the engine until its stream
    has ended, and the items that it would wait for may be waiting for that place.
    """
    engines = {id(each.engine) for each in prompted_nodes(node.body).values()}
    before = (built.nodes[name] for name in _before(node.name, built))
    return any(isinstance(each, PromptedNode) and id(each.engine) in engines for each in before)


def _before(name: str, built: BuiltPipeline) -> set[str]:
    found: set[str] = set()
    left = [name]
    while left:
        for edge in built.edges_into(left.pop()):
            if edge.source_node not in found:
                found.add(edge.source_node)
                left.append(edge.source_node)
    return found
