"""A map node: a pipeline run once for each item of a stream, several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

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
"""Items begun and not handed on, for each that may be under way: while a slow item holds up the order of the
results, the others go on for four times as long; then the stream is no longer read."""


async def run_map(node: BuiltMap, wiring: Wiring, context: NodeContext) -> None:
    """Run the body for each item as it comes; send the results in the order that the node wants.

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
    await report_finished(node, context, f"items: {results.sent}")


class ItemRuns:
    """The runs of the body: as many at once as the node says, and a bounded number whose result waits."""

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
        """Run the body for each item; the first failure, of an item or of the stream, ends all of it."""
        async with anyio.create_task_group() as group:
            try:
                await self._start_all(items, group)
            except Exception as error:
                self._fail(error, group)
        if self._errors:
            raise self._errors[0]

    async def _start_all(self, items: Items, group: anyio.abc.TaskGroup) -> None:
        position = 0
        async for item in items:
            if self._context.run.stopping:
                return
            if not position:
                await report_started(self._node, self._context)
            await self._results.room.acquire()
            await self._places.acquire()
            group.start_soon(self._run_item, position, item, group)
            position += 1

    async def _run_item(self, position: int, item: Value, group: anyio.abc.TaskGroup) -> None:
        values = {**self._values, self._node.over: item}
        try:
            try:
                outputs = await run_body(self._node, position, values, self._context)
            finally:
                self._places.release()
            await self._results.add(position, outputs)
        except Exception as error:
            self._fail(error, group)

    def _fail(self, error: Exception, group: anyio.abc.TaskGroup) -> None:
        self._errors.append(error)
        group.cancel_scope.cancel()


class Results:
    """Hand on the results of the items: in the order of the items, that of the record, or as they come."""

    def __init__(self, node: BuiltMap, wiring: Wiring, context: NodeContext) -> None:
        self._node = node
        self._wiring = wiring
        self._context = context
        self._waiting: dict[int, dict[str, list[int]]] = {}
        self._decided = node.decided.get(node.path, ())
        self._used: set[str] = set()
        """The sinks of the body that have given something, behind which a separator is needed."""
        self._lock = anyio.Lock()
        self.sent = 0
        """How many have left."""
        self._most = node.parallel * RESULTS_AHEAD
        self.room = anyio.Semaphore(self._most)
        """Taken by each item that begins, given back by each result that has left."""

    async def add(self, position: int, outputs: dict[str, list[int]]) -> None:
        """Take the result of one item; send what can leave."""
        async with self._lock:
            self._waiting[position] = outputs
            while (leaving := self._next()) in self._waiting:
                await self._send(leaving)

    async def finish(self) -> None:
        """Send what waits for an item of the record that there is none of now."""
        for position in list(self._waiting):
            await self._send(position)

    def _next(self) -> int:
        """Return the item whose result leaves next; one of the record only if it can have begun."""
        if self._node.in_order:
            return self.sent
        if self.sent < len(self._decided) and self._decided[self.sent] < self.sent + self._most:
            return self._decided[self.sent]
        return next(iter(self._waiting), -1)

    async def _send(self, position: int) -> None:
        if not self._node.in_order:
            await report_decided(self._node, self._context, position)
        for sink, ids in self._waiting.pop(position).items():
            if sink in self._used:
                vocabulary = sink_vocabulary(self._node.body, sink)
                ids = pick_tokenizer(vocabulary).encode_ordinary(self._node.separator) + ids
            self._used.add(sink)
            await self._wiring.send(sink, ids)
        self.sent += 1
        self.room.release()


def asks_what_feeds_it(node: BuiltMap, built: BuiltPipeline) -> bool:
    """Whether a map's items ask an engine that a model before the map asks as well.

    Such a stream must not be held up: the model holds a place at the engine until its stream has ended, and
    the items, for whom it would wait, may be waiting for that place.
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
