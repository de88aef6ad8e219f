"""A function node: a Python callable on ids, or on text where it says so."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from codec_agents.exceptions import NodeFailedError
from codec_agents.graph.kinds import VALUE
from codec_agents.runtime.edges.slots import Slots
from codec_agents.runtime.reporting import ask, report_finished, report_started
from codec_agents.runtime.wall_time import WallTime
from codec_core.exceptions import UnencodableTextError
from codec_core.tokenizer import check_text

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltFunction
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring


async def run_function(node: BuiltFunction, wiring: Wiring, context: NodeContext) -> None:
    """Call the function once, when all its arguments are complete, and send its result."""
    slots = Slots.at(node, wiring, context)
    await slots.fill()
    await report_started(node, context)
    with WallTime(node, wiring):
        value = await ask(node.call, node, context, partial(_checked, node), **slots.values())
    await wiring.send(VALUE, value)
    await report_finished(node, context, "returned")


def _checked(node: BuiltFunction, result: Any) -> list[int] | str:
    """Return the result of a function; refuse a result that the edges from the node cannot carry."""
    if node.vocabulary is None:
        if not isinstance(result, str):
            raise NodeFailedError(
                node.path, TypeError(f"the function returned {type(result).__name__}, not text")
            )
        try:
            check_text(result)  # a record and a file could not hold it
        except UnencodableTextError as error:
            raise NodeFailedError(node.path, error) from None
        return result
    if isinstance(result, str) or not isinstance(result, Iterable):
        problem = f"the function returned {type(result).__name__}, not ids of the map {node.vocabulary.id}"
        raise NodeFailedError(node.path, TypeError(problem))
    ids = list(result)
    for token_id in ids:
        # A `bool` is an `int` as well, and numpy's integers are none that a record could hold.
        if type(token_id) is not int or not node.vocabulary.is_valid(token_id):
            problem = f"the function returned {token_id!r}, which is no id of the map {node.vocabulary.id}"
            raise NodeFailedError(node.path, ValueError(problem))
    return ids
