"""What nodes tell: that they begin; and those without a model, what was decided, and that they are done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from codec_agents.events import Decided, FunctionFinished, NodeFinished, NodeStarted, Usage
from codec_agents.tools.functions import Function, digest_of

if TYPE_CHECKING:
    from codec_agents.plan.plan import BuiltNode
    from codec_agents.runtime.executor import Execution

Answer = TypeVar("Answer")


async def tell_started(node: BuiltNode, execution: Execution) -> None:
    """Say that a node has its inputs and begins its work."""
    execution.at_work.add(node.name)
    await execution.run.emit(NodeStarted(node.path, execution.run.clock()))


async def tell_finished(node: BuiltNode, execution: Execution, reason: str) -> None:
    """Say that a node has given all that it gives."""
    await execution.run.emit(NodeFinished(node.path, "finished", reason, Usage(), execution.run.clock()))


async def tell_decided(node: BuiltNode, execution: Execution, *choices: str | int) -> None:
    """Say what was decided by what came first."""
    await execution.run.emit(Decided(node.path, choices, execution.run.clock()))


async def ask(
    function: Function,
    node: BuiltNode,
    execution: Execution,
    checked: Callable[[Any], Answer],
    *args: Any,
    **kwargs: Any,
) -> Answer:
    """Ask a function of the user's; say what it gave, as it was checked.

    Raises:
        Exception: what the function or the check raises.
    """
    gave = checked(await function.ask(node.path, *args, **kwargs))
    run = execution.run
    if run.observed:
        await run.emit(FunctionFinished(node.path, digest_of(args, kwargs), gave, run.clock()))
    return gave
