"""A gate before a node that runs only when it is chosen."""

from __future__ import annotations

import anyio


class Gate:
    """Opens when one of the deciding nodes starts the node; stays shut when all have decided otherwise."""

    __slots__ = ("_decided", "_deciders", "_open")

    def __init__(self) -> None:
        self._deciders: set[str] = set()
        self._decided = anyio.Event()
        self._open = False

    def wait_for(self, decider: str) -> None:
        """Add a node that decides."""
        self._deciders.add(decider)

    def start(self, decider: str) -> None:
        """Open the gate."""
        self._open = True
        self.decide(decider)

    def decide(self, decider: str) -> None:
        """Count a node as having decided; one that did not start the gate's node has decided against it."""
        self._deciders.discard(decider)
        if self._open or not self._deciders:
            self._decided.set()

    @property
    def opened(self) -> bool:
        """True if the node was started."""
        return self._open

    async def passed(self) -> bool:
        """Wait for the decision; return whether the node runs."""
        await self._decided.wait()
        return self._open
