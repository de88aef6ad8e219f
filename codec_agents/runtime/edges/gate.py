"""A gate before a node that runs only when it is chosen."""

from __future__ import annotations

import anyio


class Gate:
    """Open when one of those who decide starts the node; stay shut when all have decided and none did."""

    __slots__ = ("_decided", "_deciders", "_open")

    def __init__(self) -> None:
        self._deciders: set[str] = set()
        self._decided = anyio.Event()
        self._open = False

    def wait_for(self, decider: str) -> None:
        """Let a node have a say."""
        self._deciders.add(decider)

    def start(self, decider: str) -> None:
        """Let the node behind the gate run."""
        self._open = True
        self.decide(decider)

    def decide(self, decider: str) -> None:
        """Take note that a node has had its say."""
        self._deciders.discard(decider)
        if self._open or not self._deciders:
            self._decided.set()

    @property
    def opened(self) -> bool:
        """Whether the node was started."""
        return self._open

    async def passed(self) -> bool:
        """Wait for the decision; return whether the node runs."""
        await self._decided.wait()
        return self._open
