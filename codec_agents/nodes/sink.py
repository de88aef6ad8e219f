"""A sink node: ids leave the graph, as they are or as the text that a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codec_agents.channel import receive_all
from codec_agents.events import SinkIds, SinkText
from codec_core.detokenizer import Detokenizer

if TYPE_CHECKING:
    from codec_agents.build import BuiltSink
    from codec_agents.handoff import Batch
    from codec_agents.nodes.wiring import Inlet, Wiring
    from codec_agents.runtime import Run


async def run_sink(node: BuiltSink, wiring: Wiring, run: Run) -> None:
    """Take what arrives on all edges, as it arrives, until all have ended.

    Each edge has a detokenizer of its own: a character of one stream is never completed by another's bytes.
    """
    decoders = [_decoder(node, inlet) for inlet in wiring.inlets]
    channels = [inlet.channel for inlet in wiring.inlets]
    async for index, batches in receive_all(channels, wiring.ready):
        decoder = decoders[index]
        if batches:
            for batch in batches:
                await _write(node, run, *_decode(decoder, batch))
        elif decoder is not None and (tail := decoder.flush()):
            await _write(node, run, [], tail)


def _decoder(node: BuiltSink, inlet: Inlet) -> Detokenizer | None:
    vocabulary = inlet.edge.source_vocabulary
    return Detokenizer(vocabulary) if node.text and vocabulary is not None else None


def _decode(decoder: Detokenizer | None, batch: Batch) -> tuple[list[int], str | None]:
    if isinstance(batch, str):
        return [], batch
    return list(batch), None if decoder is None else decoder.feed(batch)


async def _write(node: BuiltSink, run: Run, ids: list[int], text: str | None) -> None:
    await run.sinks[node.name].write(ids, text)
    if not run.observed:
        return
    if ids and not node.text:
        await run.emit(SinkIds(node.name, tuple(ids), run.clock()))
    if text:
        await run.emit(SinkText(node.name, text, run.clock()))
