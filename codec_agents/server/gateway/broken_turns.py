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
    detokenizer, text, wanted = Detokenizer(dialect.vocabulary), "", without_edges(turn.content)
    begun = False
    found: int | None = None
    for place, token_id in enumerate(node.sampled, 1):
        for event in reader.feed((token_id,)):
            # A call: what a client sends back of a broken turn is text, and ends before the first one.
            if not isinstance(event, PortIds):
                return found
            if event.port == "answer":
                piece = detokenizer.feed(event.ids)
                text += piece
                begun = begun or bool(without_edges(piece))
        if not detokenizer.whole:
            continue  # no prompt goes on behind a part of a character
        if text == turn.content:
            return place
        # Beyond it, no later id makes an exact match, for whose white space at the end the loop went on.
        if found is not None and len(text) > len(turn.content):
            return found
        # The ends are looked at where the text may be it, not for each id: that would take quadratic time.
        if found is None and begun and len(text) >= len(wanted):
            whole = without_edges(text)
            if whole == wanted:
                found = place
            elif len(whole) > len(wanted):
                return None
    return found
