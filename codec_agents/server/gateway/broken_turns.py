"""The part of a turn that its client had got when the turn broke off."""

from __future__ import annotations

from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.messages import Message
from codec_agents.dialects.values import PortIds
from codec_agents.server.gateway.equivalence import without_edges
from codec_agents.server.gateway.tree import Node
from codec_core.detokenizer import Detokenizer


def place_of_text(dialect: BoundDialect, node: Node, turn: Message, *, with_tools: bool) -> int | None:
    """Return how many of a turn's first ids are the text that a client sends back; None where no number is.

    Args:
        dialect: reads the turn.
        node: the turn that was broken off.
        turn: the client's message.
        with_tools: whether the model was told tools.
    """
    reader = dialect.reader(node.prompt(), with_tools=with_tools)
    detokenizer, text, wanted = Detokenizer(dialect.vocabulary), _Text(), without_edges(turn.content)
    found: int | None = None
    for place, token_id in enumerate(node.sampled, 1):
        before = text.length
        for event in reader.feed((token_id,)):
            # A call: what a client sends back of a broken turn is text, and ends before the first one.
            if not isinstance(event, PortIds):
                return found
            if event.port == "answer":
                text.add(detokenizer.feed(event.ids))
        if not detokenizer.whole:
            continue  # no prompt goes on behind a part of a character
        if before < text.length == len(turn.content) and text.whole == turn.content:
            return place
        # Beyond it, no later id makes an exact match, for whose white space at the end the loop went on.
        if found is not None and text.length > len(turn.content):
            return found
        if found is None and text.inner == len(wanted) and text.inner:
            if without_edges(text.whole) != wanted:
                return None  # as long as it, and another one
            found = place
        elif text.inner > len(wanted):
            return found
    return found


class _Text:
    """A text that grows by pieces. What is asked of its ends takes no time in proportion to it.

    Attributes:
        length: its characters.
        inner: those without white space at the ends.
    """

    def __init__(self) -> None:
        self.length = 0
        self.inner = 0
        self._parts: list[str] = []
        self._begin: int | None = None
        """Where the first character is that is no white space."""

    def add(self, piece: str) -> None:
        """Add a piece behind the others."""
        inner = without_edges(piece)
        if inner:
            if self._begin is None:
                self._begin = self.length + piece.index(inner)
            self.inner = self.length + piece.rindex(inner) + len(inner) - self._begin
        self._parts.append(piece)
        self.length += len(piece)

    @property
    def whole(self) -> str:
        """The text."""
        return "".join(self._parts)
