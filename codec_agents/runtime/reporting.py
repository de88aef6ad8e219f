"""The events that nodes of every kind emit, and calls of the user's functions with their event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from codec_agents.events import Decided, FunctionFinished, NodeFinished, NodeStarted, Usage
from codec_agents.tools.functions import Function, digest_of

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltNode
    from codec_agents.runtime.context import NodeContext

Answer = TypeVar("Answer")


async def report_started(node: BuiltNode, context: NodeContext) -> None:
    """Emit that a node has its inputs and begins to work."""
    context.at_work.add(node.name)
    await context.run.emit(NodeStarted(node.path, context.run.clock()))


async def report_finished(node: BuiltNode, context: NodeContext, reason: str) -> None:
    """Emit that a node without a model has sent everything."""
    await context.run.emit(NodeFinished(node.path, "finished", reason, Usage(), context.run.clock()))


async def report_decided(node: BuiltNode, context: NodeContext, *choices: str | int) -> None:
    """Emit a decision that depended on which input came first: a replay decides the same."""
    await context.run.emit(Decided(node.path, choices, context.run.clock()))


async def ask(
    function: Function,
    node: BuiltNode,
    context: NodeContext,
    checked: Callable[[Any], Answer],
    /,  # the arguments of the function may have these names
    *args: Any,
    **kwargs: Any,
) -> Answer:
    """Call a function of the user's, check its result, emit and return it.

    Raises:
        Exception: what the function or the check raises.
    """
    # Checked before it is recorded: a record holds no answer that the run refused.
    gave = checked(await function.ask(node.path, *args, **kwargs))
    run = context.run
    if run.observed:
        await run.emit(FunctionFinished(node.path, digest_of(args, kwargs), gave, run.clock()))
    return gave
