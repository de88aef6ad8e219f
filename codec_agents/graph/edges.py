"""Declared edges: from a node's port to another node's slot, or to a sink."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import Count, Declared, Flag

DEFAULT_BUFFER = 4096
"""Token ids that an edge may hold before its producer waits: seconds of one model's output, 32 KiB."""

DEFAULT_STRIDE = 256
"""Ids between two requests ahead: a request costs about a millisecond, reading 256 ids tens of them."""

DEFAULT_PREFILL_BUDGET = 150_000
"""Ids in all requests ahead for one prompt: each repeats the one before, which costs bytes if not time."""

DEFAULT_SEPARATOR = "\n\n"
"""Inserted between the content of several edges into one slot: a paragraph break."""

Strategy: TypeAlias = Literal["pass_through", "translate", "encode", "decode", "text"]
"""The work of an edge: ids pass through or are translated, text is encoded, ids are decoded, text is kept."""

ARROW = "->"

END_PATTERN = r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)?"
"""`node`, or `node.name`."""


def _end(text: str) -> str:
    if not re.fullmatch(END_PATTERN, text):
        raise PydanticCustomError("edge_end", "an end of an edge is `node` or `node.name`")
    return text


End: TypeAlias = Annotated[
    str, AfterValidator(_end), Field(json_schema_extra={"pattern": f"^{END_PATTERN}$"})
]


def split_end(end: str) -> tuple[str, str | None]:
    """Return the node and, if it is written, the port or slot of one end of an edge."""
    node, _, name = end.partition(".")
    return node, name or None


class EdgeSpec(Declared):
    """One edge. In a file, `planner.answer -> writer.draft` is the short form of `{from:, to:}`."""

    source: Annotated[End, Field(alias="from")]
    """The source: `node.port`, or `node` for the node's default port."""
    target: Annotated[End, Field(alias="to")]
    """The target: `node.slot`, or `node` for a sink and for a node with a single slot."""
    separator: str = DEFAULT_SEPARATOR
    """Inserted before this edge's content in a slot that earlier edges have filled."""
    keep_special: Flag = False
    """Keep special tokens of the source, as the text of their names and never as control ids."""
    buffer: Count = DEFAULT_BUFFER
    """Ids that the edge may hold before its producer waits."""
    prefill: Literal["ahead", "auto", "off"] | None = None
    """`ahead`: the target's engine reads the prompt while the source still streams. `auto`: where it has
    room, and for as long as the cached ids that it reports show a gain. Left out: what the engine declares,
    and otherwise `auto` where the engine is idle and is known to report cached ids."""
    prefill_stride: Count = DEFAULT_STRIDE
    """With `prefill`, the number of ids after which a longer beginning of the prompt is sent."""
    prefill_budget: Count = DEFAULT_PREFILL_BUDGET
    """With `prefill`, the most ids that the requests ahead for one prompt may have together."""
    reasoning: Flag = False
    """Send the reasoning before the answer as well, in the order of the stream."""
    fallback: Flag = False
    """Taken only if the source fails: carries the ids that it had delivered, and starts the target."""

    @property
    def source_node(self) -> str:
        """The source node."""
        return split_end(self.source)[0]

    @property
    def source_port(self) -> str | None:
        """The declared port; None for the node's default port."""
        return split_end(self.source)[1]

    @property
    def target_node(self) -> str:
        """The target node."""
        return split_end(self.target)[0]

    @property
    def target_slot(self) -> str | None:
        """The declared slot; None for the only slot of a node, and for a sink, which has none."""
        return split_end(self.target)[1]

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        """Read `source -> target`, as files write it."""
        if isinstance(data, str):
            return _parse_arrow(data)
        if not isinstance(data, Mapping | EdgeSpec):
            raise PydanticCustomError(
                "edge", "an edge is written `source -> target`, or with `from` and `to`"
            )
        return data


def _parse_arrow(text: str) -> dict[str, str]:
    ends = [end.strip() for end in text.split(ARROW)]
    if len(ends) != 2:
        raise PydanticCustomError("edge", "an edge is written `source -> target`")
    return {"from": ends[0], "to": ends[1]}
