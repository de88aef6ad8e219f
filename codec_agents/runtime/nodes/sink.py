"""A sink node: ids leave the graph, as ids or as text for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from codec_agents.events import SinkIds, SinkText
from codec_agents.runtime.control import NodeSkipped
from codec_agents.runtime.edges.channel import Arrivals
from codec_agents.tools.functions import call
from codec_core.detokenizer import Detokenizer

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltSink
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.transducers import Batch
    from codec_agents.runtime.edges.wiring import Inlet, Wiring


async def run_sink(node: BuiltSink, wiring: Wiring, context: NodeContext) -> None:
    """Write what arrives on all edges, in the order of arrival, until all have ended."""
    with ExitStack() as files:
        writer = Writer(node, context, files)
        inlets = [SinkInlet(writer, inlet) for inlet in wiring.inlets]
        async for index, batches in Arrivals(wiring.channels, wiring.ready):
            for batch in batches:
                await inlets[index].take(batch)
            if not batches:
                await inlets[index].flush()
    if all(inlet.channel.skipped for inlet in wiring.inlets):
        raise NodeSkipped


async def open_sink(
    node: BuiltSink, wiring: Wiring, context: NodeContext, on_end: Callable[[], None]
) -> None:
    """Let the sources of a sink write to it directly; call `on_end` when all have ended."""
    writer = Writer(node, context)
    still_open = len(wiring.inlets)

    def ended() -> None:
        nonlocal still_open
        still_open -= 1
        if not still_open:
            on_end()

    for inlet in wiring.inlets:
        await inlet.channel.deliver_to(SinkInlet(writer, inlet, ended))


class SinkInlet:
    """Moves what arrives on one edge to its sink.

    Each edge has a detokenizer of its own: a character of one stream is never completed by another's bytes.
    """

    __slots__ = ("_channel", "_decoder", "_on_end", "_output", "_run", "_writer")

    def __init__(self, writer: Writer, inlet: Inlet, on_end: Callable[[], None] | None = None) -> None:
        vocabulary = inlet.edge.source_vocabulary
        self._channel = inlet.channel
        self._writer = writer
        self._run = writer.run
        self._output = writer.output
        self._decoder = Detokenizer(vocabulary) if writer.decodes and vocabulary is not None else None
        self._on_end = on_end

    async def take(self, batch: Batch, /) -> None:
        """Write one batch; wait while the sink's reader is far behind."""
        ids: Sequence[int] = ()
        text: str | None
        if isinstance(batch, str):
            text = batch
        else:
            ids, text = batch, None if self._decoder is None else self._decoder.feed(batch)
        # Kept first: a reader sees a batch also where a callable or the record fails with it.
        lags = self._output.add(ids, text)
        if self._writer.calls or self._run.observed:  # nearly always neither
            await self._writer.tell(ids, text)
        while lags:
            await self._channel.wait_for_room(self._output.room)
            lags = self._output.lags

    async def flush(self) -> None:
        """Write the replacement of an incomplete character."""
        if self._decoder is not None and (tail := self._decoder.flush()):
            self._output.add((), tail)
            await self._writer.tell((), tail)

    def end(self, *, skipped: bool) -> None:  # noqa: ARG002 - in a pipeline with branches, sinks have tasks
        """Count the edge as ended."""
        if self._on_end is not None:
            self._on_end()


class Writer:
    """Writes the output of a sink: for its reader, to observers, and where the declaration says."""

    def __init__(self, node: BuiltSink, context: NodeContext, files: ExitStack | None = None) -> None:
        self._node = node
        self.run = context.run
        self.output = context.sinks[node.name]
        self.decodes = node.text
        self.calls: list[Callable[[Any], Any]] = list(node.write)
        """Called with each piece."""
        # Without `files`, a sink is written to by its sources; one with a file has a task (`Executor`).
        if node.file is not None and files is not None:
            file = files.enter_context(Path(node.file).open("w", encoding="utf-8"))  # noqa: SIM115 - `files` does
            self.calls.append(_text_to(file) if node.text else _ids_to(file))

    async def tell(self, ids: Sequence[int], text: str | None) -> None:
        """Pass one batch to the callables, and emit it."""
        # A sink of a body decodes nothing: it is given ids, or the text of a function.
        if piece := text if self.decodes or not ids else list(ids):
            for each in self.calls:
                await call(each, piece)
        if self.run.observed:
            await self._emit(ids, text)

    async def _emit(self, ids: Sequence[int], text: str | None) -> None:
        if ids and not self.decodes:
            await self.run.emit(SinkIds(self._node.path, tuple(ids), self.run.clock()))
        # Text that a sink of a body passes on has not reached a text sink yet.
        if text and self.decodes:
            await self.run.emit(SinkText(self._node.path, text, self.run.clock()))


def _text_to(file: TextIO) -> Callable[[str], None]:
    def write(text: str) -> None:
        file.write(text)
        file.flush()

    return write


def _ids_to(file: TextIO) -> Callable[[list[int]], None]:
    def write(ids: list[int]) -> None:
        file.write(msgspec.json.encode(ids).decode() + "\n")
        file.flush()

    return write
