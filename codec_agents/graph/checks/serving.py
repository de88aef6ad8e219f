"""Rules about how a pipeline is served."""

from __future__ import annotations

from collections.abc import Iterator

from codec_agents.faults import Fault, suggest
from codec_agents.graph.chat import Chat
from codec_agents.graph.checks.base import Checked, CheckRule, error
from codec_agents.graph.kinds import InputNode, ModelNode, Node, SinkNode

KINDS: dict[str, type[Node]] = {
    "input": InputNode,
    "sink": SinkNode,
    "system": ModelNode,
    "tools": ModelNode,
}
"""The kind of node that each place names."""


def _places(checked: Checked) -> Iterator[Fault]:
    serve = checked.spec.serve
    if serve is None:
        return
    if checked.is_body:
        yield error(("serve",), "only the outermost pipeline is served", "move it there")
    for place, kind in KINDS.items():
        name = getattr(serve, place)
        if name is None or name in checked.unread:
            continue
        node = checked.spec.nodes.get(name)
        if not isinstance(node, kind):
            # The word that files use: the default of a field with one literal.
            word = kind.model_fields["kind"].default
            known = [other for other, each in checked.spec.nodes.items() if isinstance(each, kind)]
            found = f"there is no {word} {name!r}" if node is None else f"{name!r} is no {word}"
            yield error(("serve", place), found, suggest(name, known, f"nodes of the kind {word}"))
        elif isinstance(node, ModelNode) and not isinstance(node.prompt, Chat):
            found = f"the prompt of {name!r} is given as pieces, which have no place for it"
            yield error(("serve", place), found, "write the prompt as a chat")


RULES: tuple[CheckRule, ...] = (_places,)
