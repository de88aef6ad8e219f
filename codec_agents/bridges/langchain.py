"""A pipeline as a LangChain `Runnable` (the extra `langchain`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio

from codec_agents.exceptions import InputError, PipelineError
from codec_agents.faults import Fault, suggest

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from codec_agents.pipeline import Pipeline


def as_runnable(pipeline: Pipeline, *, sink: str | None = None) -> Runnable[Any, str]:
    """Return a runnable from a text, or a mapping of the pipeline's inputs, to the text of one sink.

    Text comes as it arrives with `astream`; with `stream` it comes at the end.

    Args:
        pipeline: the pipeline; it is built here.
        sink: the sink; may be left out where there is one of text.

    Raises:
        PipelineError: the pipeline has faults, or the sink is ambiguous.
    """
    from langchain_core.runnables import RunnableLambda

    name = sink_of(pipeline, sink)

    # Two functions: LangChain refuses a sync call where it has only an async one.
    def invoke(value: Any) -> str:
        return pipeline.invoke_sync(inputs_of(pipeline, value)).text[name]

    # An async generator function: LangChain streams from no other kind.
    async def stream(value: Any) -> AsyncGenerator[str]:
        async with aclosing(_streamed(pipeline, inputs_of(pipeline, value), name)) as pieces:
            async for piece in pieces:
                yield piece

    return RunnableLambda(invoke, afunc=stream, name=pipeline.name)


async def _streamed(pipeline: Pipeline, inputs: Mapping[str, Any], sink: str) -> AsyncGenerator[str]:
    """Yield the text of a sink. The run has a task of its own, as LangChain asks from a new one each time."""
    send, receive = anyio.create_memory_object_stream[str]()  # without a buffer: a slow reader slows the run

    async def produce() -> None:
        async with send, pipeline.run(inputs) as run:
            async for piece in run.text(sink):
                await send.send(piece)

    task = asyncio.create_task(produce())
    try:
        async with receive:
            async for piece in receive:
                yield piece
        await task  # the stream ends for a failure as well, which is raised here
    finally:
        task.cancel()
        await asyncio.wait([task])  # until the run has closed its requests; its own error is not raised twice


def sink_of(pipeline: Pipeline, sink: str | None) -> str:
    """Return the sink whose text is the answer: the one that is named, or the only one of text.

    Raises:
        PipelineError: there is none of that name, or there are several.
    """
    texts = [name for name, node in pipeline.build().sinks.items() if node.text]
    if sink is None and len(texts) == 1:
        return texts[0]
    if sink not in texts:
        found = "several sinks give text" if sink is None else f"there is no sink of text {sink!r}"
        raise PipelineError(
            [Fault("nodes", found, suggest(sink or "", texts, "sinks of text"))], pipeline.name
        )
    return sink


def inputs_of(pipeline: Pipeline, value: Any) -> Mapping[str, Any]:
    """Return the inputs: a text is the one that has no default.

    Raises:
        InputError: the value is a text, and no input or several have no default.
    """
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]  # the run checks it, and names what is wrong
    needed = [node.name for node in pipeline.build().inputs.values() if node.default is None]
    if len(needed) != 1:
        raise InputError(f"a text is the value of one input, and {len(needed)} need one; give a mapping")
    return {needed[0]: value}
