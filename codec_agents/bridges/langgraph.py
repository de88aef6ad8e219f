"""A pipeline as a node of a LangGraph graph (the extra `langchain`).

A node keeps its memory in the messages of the graph's state: the message that it adds holds the conversation
of each of the pipeline's models, in ids. So a checkpoint of the graph holds it too, and the next run goes on
with exactly these ids. A message that was changed since is refused, never silently replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codec_agents.bridges.langchain import inputs_of, sink_of
from codec_agents.exceptions import InputError
from codec_agents.prompts import History
from codec_core.exceptions import CONVERSION_ERRORS

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from codec_agents.pipeline import Pipeline
    from codec_agents.runtime.result import RunResult

MEMORY: Final = "codec_agents"
"""The key of a message's `additional_kwargs` that holds the conversations."""


class _Kept(msgspec.Struct):
    """The value of `MEMORY` in a message.

    Fields:
        digest: of the message's text, by which a changed one is known.
        histories: by model: the conversation up to the message.
    """

    digest: str
    histories: dict[str, History]


def as_node(pipeline: Pipeline, *, sink: str | None = None) -> Runnable[Any, dict[str, Any]]:
    """Return a node for a graph whose state has `messages`: it answers the last of them.

    Args:
        pipeline: the pipeline; it is built here.
        sink: the sink; may be left out where there is one of text.

    Raises:
        PipelineError: the pipeline has faults, or the sink is ambiguous.
    """
    from langchain_core.runnables import RunnableLambda

    name = sink_of(pipeline, sink)

    # Two functions: LangChain refuses a sync call where it has only an async one. The state is only read:
    # LangGraph appends the messages that a node returns.
    def invoke(state: Any) -> dict[str, Any]:
        question, after = _continued(state)
        result = pipeline.invoke_sync(inputs_of(pipeline, question), after=after)
        return {"messages": [_answer(result, name, after)]}

    async def ainvoke(state: Any) -> dict[str, Any]:
        question, after = _continued(state)
        result = await pipeline.invoke(inputs_of(pipeline, question), after=after)
        return {"messages": [_answer(result, name, after)]}

    return RunnableLambda(invoke, afunc=ainvoke, name=pipeline.name)


def _continued(state: Any) -> tuple[str, Mapping[str, History] | None]:
    """Return the user's text, and the conversations that the answer before it holds.

    Raises:
        InputError: the last message is no text of the user, or the answer before it is not this pipeline's.
    """
    messages: Sequence[Any] = state["messages"] if isinstance(state, Mapping) else state.messages
    if not messages or messages[-1].type != "human":
        raise InputError("the last message of the state must be the user's")
    # System messages are for the graph's other nodes: a pipeline's own prompts say what its models are told.
    before = [message for message in messages[:-1] if message.type != "system"]
    if not before:
        return str(messages[-1].text), None
    # Checkpoints are kept by others: what they give back may be of another node, changed or damaged.
    try:
        kept = msgspec.convert(before[-1].additional_kwargs.get(MEMORY), _Kept)
    except CONVERSION_ERRORS:
        kept = None
    if kept is None or kept.digest != _digest(str(before[-1].text)):
        raise InputError(
            "the message before the user's is not an answer of this node, or it was changed; a pipeline "
            "continues its own answers alone"
        )
    return str(messages[-1].text), kept.histories


def _answer(result: RunResult, sink: str, after: Mapping[str, History] | None) -> Any:
    from langchain_core.messages import AIMessage

    text = result.text[sink]
    # A model that was not asked this time keeps its conversation.
    histories = {**(after or {}), **result.histories}
    kept = msgspec.to_builtins(_Kept(_digest(text), histories))
    return AIMessage(content=text, additional_kwargs={MEMORY: kept})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
