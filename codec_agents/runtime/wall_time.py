"""The limit on the wall time of a node."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from codec_agents.concurrency.deadline import Deadline
from codec_agents.exceptions import LimitExceededError

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltNode
    from codec_agents.runtime.edges.wiring import Wiring


class WallTime(Deadline):
    """Ends what runs inside with a `LimitExceededError` when the node's wall time is over."""

    __slots__ = ("_node", "_wiring")

    def __init__(self, node: BuiltNode, wiring: Wiring) -> None:
        super().__init__(node.policy.limits.wall)
        self._node = node
        self._wiring = wiring

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        stopped = super().__exit__(kind, error, trace)
        if self.passed:
            raise LimitExceededError(
                self._node.path, "wall", self.seconds, delivered=self._wiring.sent()
            ) from None  # the cancellation that the scope caught says nothing more
        return stopped
