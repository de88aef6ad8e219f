"""The check of an answer that has a declared form, and what the model is told when it fails.

An answer that may be corrected is held back until it is accepted: what has left a node is never taken back.
The correction is a further turn: the next prompt begins with exactly the prompt and the answer before it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from codec_agents.concurrency.apart import run_in_thread
from codec_agents.exceptions import NodeFailedError, OutputError
from codec_agents.graph.chat import Chat
from codec_agents.plan.answer_readers import InvalidAnswerError
from codec_core.detokenizer import detokenize

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltModel
    from codec_agents.plan.output import OutputForm
    from codec_agents.turn import Turn

_log = logging.getLogger("codec_agents")


class AnswerCheck:
    """Reads the answers of one node, and counts its corrections."""

    def __init__(self, node: BuiltModel, output: OutputForm) -> None:
        self._node = node
        self._output = output
        self._left = output.retries

    @property
    def holds(self) -> bool:
        """True if answers may be corrected, so that none may leave before it is checked."""
        return self._output.retries > 0

    async def value(self, turn: Turn) -> Any:
        """Return the value of an answer.

        Raises:
            InvalidAnswerError: it does not have its form.
        """
        # The value leaves the graph, as text does at a sink: a Python program reads it.
        text = detokenize(self._node.vocabulary, turn.answer)
        try:
            if self._output.in_thread:
                return await run_in_thread(partial(self._output.read, text))
            return self._output.read(text)
        except InvalidAnswerError as error:
            if turn.finish_reason != "length":
                raise
            cut = f"it was cut after {len(turn.generated)} ids."
            raise InvalidAnswerError(f"{cut} {error}") from None

    def correct(self, turn: Turn, error: InvalidAnswerError, *, stopping: bool, delivered: int) -> list[int]:
        """Return the next prompt, in which the model is told of the fault.

        Raises:
            NodeFailedError: the retries are used up, or the run asks for no further turns.
        """
        if self._left == 0 or stopping:
            text = detokenize(self._node.vocabulary, turn.answer)
            cause = OutputError(self._node.path, str(error), text, enforced=self._output.enforced)
            raise NodeFailedError(self._node.path, cause, delivered=delivered) from None
        self._left -= 1
        _log.warning("node %s: turn %d has an invalid answer: %s", self._node.path, turn.number, error)
        said = [*turn.prompt, *turn.generated]
        return self._node.dialect.told(said, self._output.correction(str(error)), _thinking(self._node))


def _thinking(node: BuiltModel) -> Any:
    return node.prompt.thinking if isinstance(node.prompt, Chat) else None
