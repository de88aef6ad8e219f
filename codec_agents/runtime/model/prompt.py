"""The prompt of a model, assembled while its slots are being filled.

Each id is placed, checked and encoded for the engine as soon as no later id can change it, most of them
while the sources still stream. The work that is left when the last id arrives does not grow with the
prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from codec_agents.engines.prompt_body import EncodedPrompt
from codec_agents.exceptions import PromptError
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.plan.nodes import PromptedNode
    from codec_agents.runtime.edges.channel import Channel
    from codec_agents.runtime.edges.handoff import Handoff
    from codec_agents.runtime.edges.transducers import Batch

WRITTEN_AT_ONCE: Final = 16
"""New ids after which the prompt is continued: a step has a fixed cost, a long rest costs time at the end."""


class IncrementalPrompt:
    """One prompt, from its first id to its last."""

    __slots__ = ("_came", "_ends", "_prompt", "_refused", "_settling")

    def __init__(self, node: PromptedNode, ends: Sequence[tuple[Handoff, Channel[Batch]]]) -> None:
        """Begin an empty prompt.

        Args:
            node: the node that asks.
            ends: all edges into it, in declared order.
        """
        self._ends = ends
        self._prompt = EncodedPrompt(node.vocabulary)
        self._settling = node.template.settle(self._content)
        self._refused: PromptError | None = None
        self._came = 0

    def ids_came(self) -> None:
        """Continue the prompt if enough new ids are in the slots."""
        came = sum(len(handoff.ids) for handoff, _ in self._ends)
        if came - self._came >= WRITTEN_AT_ONCE:
            self._came = came
            self._settle()
            self._prompt.write()

    def settled(self) -> int:
        """Return the length of the beginning that no later id can change; 0 for a prompt that is refused."""
        self._settle()
        return len(self._prompt) if self._refused is None else 0

    def so_far(self, most: int | None = None) -> list[int]:
        """Return the beginning that no later id can change: up to and into the first open slot.

        Args:
            most: ids to return at most.
        """
        self._settle()
        return self._prompt[:most]

    def finish(self) -> EncodedPrompt:
        """Return the prompt, now that all edges have ended.

        Raises:
            PromptError: content with a control id, or that the vocabulary cannot spell in a JSON string.
        """
        self._settle()
        if self._refused is not None:
            raise self._refused
        return self._prompt

    def _settle(self) -> None:
        """Append the ids that no later id can change."""
        try:
            for ids in self._settling:
                if ids is None:
                    return
                self._prompt += ids
        # This is the task of a source, which is not at fault: `finish` raises it in the node's own.
        except PromptError as error:
            self._refused = error

    def _content(self, slot: str) -> Iterator[Sequence[int] | None]:
        """Yield the content of a slot, edge after edge; None while it is incomplete."""
        begun = False
        for handoff, channel in self._ends:
            edge, taken = handoff.edge, 0
            # A slot of a prompt always takes ids; the type says less.
            if edge.target_slot != slot or edge.target_vocabulary is None:
                continue
            # Until its first id or its end, it may still be a branch not taken, which gets no separator.
            while handoff.last_in is None and not handoff.ids:
                yield None
            if channel.skipped:
                continue
            if begun:
                yield pick_tokenizer(edge.target_vocabulary).encode_ordinary(edge.separator)
            begun = True
            while handoff.last_in is None:
                new = handoff.ids[taken:]
                taken += len(new)
                yield new
                yield None
            yield handoff.ids[taken:]
