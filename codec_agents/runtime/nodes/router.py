"""A router node: a model answers with a label, and the first ids that distinguish the labels decide.

No text is made: the bytes of the ids are compared with the bytes of the labels. Where the engine draws from
the labels' first ids alone, that one id is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from codec_agents.events import NodeFinished
from codec_agents.exceptions import NodeFailedError, RouteError
from codec_agents.graph.kinds import VALUE
from codec_agents.plan.nodes import declared_path
from codec_agents.runtime.control import STOPPED, NodeSkipped
from codec_agents.runtime.model.conversation import Conversation
from codec_agents.runtime.model.prompt_slots import PromptSlots
from codec_agents.runtime.reporting import report_started
from codec_agents.runtime.wall_time import WallTime
from codec_core.tokenizer import pick_tokenizer

if TYPE_CHECKING:
    from codec_agents.plan.nodes import BuiltRouter
    from codec_agents.runtime.context import NodeContext
    from codec_agents.runtime.edges.wiring import Wiring
    from codec_agents.turn import Turn


def choose(seen: bytes, labels: Mapping[str, bytes], *, ended: bool) -> tuple[bool, str | None]:
    """Return whether the beginning of an answer decides, and for which label.

    White space before the label and the case of ASCII letters do not matter. Where one label begins like
    another, the shorter one is chosen only when the answer has ended or gone on differently.

    Args:
        seen: the bytes of the answer so far.
        labels: the bytes of each label.
        ended: whether the answer is complete.
    """
    seen = seen.lstrip().lower()
    reached = [label for label, name in labels.items() if seen.startswith(name.lower())]
    ahead = [
        label for label, name in labels.items() if name.lower().startswith(seen) and label not in reached
    ]
    if not reached and not ahead:
        return True, None
    if seen and len(reached) + len(ahead) == 1:  # a single label fits an answer that has not begun
        return True, (reached or ahead)[0]
    if ended or not ahead:  # nothing longer can follow: the longest that was reached
        return True, max(reached, key=lambda label: len(labels[label]), default=None)
    return False, None


def decide(contents: Iterable[bytes], labels: Mapping[str, bytes], *, ended: bool) -> tuple[bool, str | None]:
    """Return whether an answer decides, and for which label. It is read id by id, however frames divide it.

    Args:
        contents: the bytes of each id of the answer so far.
        labels: the bytes of each label.
        ended: whether the answer is complete.
    """
    seen, decided, label = read_on(b"", contents, labels)
    return (decided, label) if decided or not ended else choose(seen, labels, ended=True)


def read_on(
    seen: bytes, contents: Iterable[bytes], labels: Mapping[str, bytes]
) -> tuple[bytes, bool, str | None]:
    """Read further ids of an answer until it decides; return what was seen, whether, and for which label.

    Args:
        seen: what an earlier call returned; empty at the beginning.
        contents: the bytes of each further id.
        labels: the bytes of each label.
    """
    for content in contents:
        # White space is dropped here too: a model may write any amount of it before its label.
        seen = (seen + content).lstrip()
        decided, label = choose(seen, labels, ended=False)
        if decided:
            return seen, True, label
    return seen, False, None


ROUNDING = 0.01
"""The most that the logarithm of a probability of 1 is above 0 where it is computed in half precision."""


async def run_router(node: BuiltRouter, wiring: Wiring, context: NodeContext) -> None:
    """Ask the model, stop it as soon as its answer decides, and start the nodes of the chosen label."""
    run = context.run
    slots = PromptSlots.at(node, wiring, context)
    await slots.fill()
    if run.ends_here(node.path, STOPPED):
        raise NodeSkipped(STOPPED)
    with run.telemetry.node(declared_path(node.path), node.model) as scope:
        await report_started(node, context)
        conversation = Conversation(node, wiring, context, scope, slots)
        with node.measured.node_asks(), WallTime(node, wiring):
            turn = await conversation.ask_once(enough=_Watch(node).decides)
    label = _chosen(node, turn)
    targets = node.default if label is None else node.targets[label]
    if targets is None:  # no label and no default
        raise NodeFailedError(node.path, RouteError(node.path, list(node.labels)))
    # Before the label is sent: sending may wait for consumers, and the chosen nodes need not.
    for target in targets:
        context.gates[target].start(node.name)
    for gate in context.gates.values():
        gate.decide(node.name)
    found = label_probabilities(node, turn)
    if found:
        run.probabilities[node.path] = found
    if label is not None:
        run.values[node.path] = label
        await wiring.send(VALUE, pick_tokenizer(node.vocabulary).encode_ordinary(label))
    reason = f"chose {'the default' if label is None else label}"
    await run.emit(NodeFinished(node.path, "finished", reason, run.usage[node.path], run.clock(), found))


def label_probabilities(node: BuiltRouter, turn: Turn) -> dict[str, float]:
    """Return the probability of each label's first id, as far as the engine told it.

    Together they are 1 only where the model would say nothing else.
    """
    values = turn.values
    if values is None or not values.logprobs or turn.generated[0] not in node.label_ids:
        return {}
    told = dict([*(values.top[0] if values.top else ()), (turn.generated[0], values.logprobs[0])])
    known = {label: told[token] for token, label in node.label_ids.items() if token in told}
    # Above 0 by more than rounding it is a score (vLLM's `--logprobs-mode raw_logits`), and no probability.
    return {label: math.exp(logprob) for label, logprob in known.items() if logprob < ROUNDING}


class _Watch:
    """Reads the answer while it comes, each id once."""

    def __init__(self, node: BuiltRouter) -> None:
        self._node = node
        self._turn: Turn | None = None
        self._read = 0
        self._seen = b""

    def decides(self, turn: Turn) -> bool:
        """Return whether the rest of an answer is not needed."""
        # With ids for labels the answer is one id: it ends by itself, and is not stopped before it reports
        # usage.
        if self._node.label_ids:
            return False
        if turn is not self._turn:  # a further one, after reasoning that was closed: its answer begins anew
            self._turn, self._read, self._seen = turn, 0, b""
        new = turn.answer[self._read :]
        self._read += len(new)
        contents = map(self._node.vocabulary.token_bytes, new)
        self._seen, decided, _ = read_on(self._seen, contents, self._node.labels)
        return decided


def _chosen(node: BuiltRouter, turn: Turn) -> str | None:
    """Return the label of an answer; None where none fits."""
    # An engine that gave more, or another id, has not drawn from these alone: then its text decides.
    if len(turn.generated) == 1 and turn.generated[0] in node.label_ids:
        return node.label_ids[turn.generated[0]]
    return decide(map(node.vocabulary.token_bytes, turn.answer), node.labels, ended=True)[1]
