"""What nodes tell: that they begin; and those without a model, what was decided, and that they are done."""

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
    """Say that a node has its inputs and begins its work."""
    context.at_work.add(node.name)
    await context.run.emit(NodeStarted(node.path, context.run.clock()))


async def report_finished(node: BuiltNode, context: NodeContext, reason: str) -> None:
    """Say that a node has given all that it gives."""
    await context.run.emit(NodeFinished(node.path, "finished", reason, Usage(), context.run.clock()))


async def report_decided(node: BuiltNode, context: NodeContext, *choices: str | int) -> None:
    """Say what was decided by what came first."""
    await context.run.emit(Decided(node.path, choices, context.run.clock()))


async def ask(
    function: Function,
    node: BuiltNode,
    context: NodeContext,
    checked: Callable[[Any], Answer],
    *args: Any,
    **kwargs: Any,
) -> Answer:
    """Ask a function of the user's; say what it gave, as it was checked.

    Raises:
        Exception: what the function or the check raises.
    """
    gave = checked(await function.ask(node.path, *args, **kwargs))
    run = context.run
    if run.observed:
        await run.emit(FunctionFinished(node.path, digest_of(args, kwargs), gave, run.clock()))
    return gave
