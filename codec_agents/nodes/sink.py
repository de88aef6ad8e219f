"""A sink node: ids leave the graph, as they are or as the text that a person reads."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from codec_agents.channel import Arrivals
from codec_agents.events import SinkIds, SinkText
from codec_agents.nodes.function import call
from codec_agents.nodes.skipping import NodeSkipped
from codec_core.detokenizer import Detokenizer

if TYPE_CHECKING:
    from codec_agents.built import BuiltSink
    from codec_agents.execution import Execution
    from codec_agents.handoff import Batch
    from codec_agents.nodes.wiring import Inlet, Wiring


async def run_sink(node: BuiltSink, wiring: Wiring, execution: Execution) -> None:
    """Take what arrives on all edges, as it arrives, until all have ended.

    Each edge has a detokenizer of its own: a character of one stream is never completed by another's bytes.
    """
    decoders = [_decoder(node, inlet) for inlet in wiring.inlets]
    with ExitStack() as files:
        writer = Writer(node, execution, files)
        async for index, batches in Arrivals(wiring.channels, wiring.ready):
            decoder = decoders[index]
            for batch in batches:
                await writer.write(*_decode(decoder, batch))
            if not batches and decoder is not None and (tail := decoder.flush()):
                await writer.write([], tail)
    if wiring.inlets and all(inlet.channel.skipped for inlet in wiring.inlets):
        raise NodeSkipped


def _decoder(node: BuiltSink, inlet: Inlet) -> Detokenizer | None:
    vocabulary = inlet.edge.source_vocabulary
    return Detokenizer(vocabulary) if node.text and vocabulary is not None else None


def _decode(decoder: Detokenizer | None, batch: Batch) -> tuple[list[int], str | None]:
    if isinstance(batch, str):
        return [], batch
    return list(batch), None if decoder is None else decoder.feed(batch)


class Writer:
    """Bring what reached a sink to the result, to whoever listens, and to where the declaration says."""

    def __init__(self, node: BuiltSink, execution: Execution, files: ExitStack) -> None:
        self._node = node
        self._run = execution.run
        self._output = execution.sinks[node.name]
        self._calls: list[Callable[[Any], Any]] = list(node.write)
        if node.file is not None:
            file = files.enter_context(Path(node.file).open("w", encoding="utf-8"))  # noqa: SIM115
            self._calls.append(_text_to(file) if node.text else _ids_to(file))

    async def write(self, ids: list[int], text: str | None) -> None:
        """Write one batch."""
        await self._output.write(ids, text)
        piece = text if self._node.text else ids
        if piece:
            for each in self._calls:
                await call(each, piece)
        if self._run.observed:
            await self._tell(ids, text)

    async def _tell(self, ids: list[int], text: str | None) -> None:
        if ids and not self._node.text:
            await self._run.emit(SinkIds(self._node.path, tuple(ids), self._run.clock()))
        if text:
            await self._run.emit(SinkText(self._node.path, text, self._run.clock()))


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
