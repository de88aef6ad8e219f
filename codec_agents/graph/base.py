"""What all declared values have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*$"
"""Names of nodes, slots, engines: no dot, which separates a node from its port, and no white space."""

BODY_FIELDS = ("pipeline", "each", "loop", "body")
"""The fields of a node that hold a pipeline, or the name of a file with one; `body` stands for all."""


class Declared(BaseModel):
    """A value of a declaration: frozen, and strict about names it does not know.

    A message about a bad value never shows the value itself, which may be a secret.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
        defer_build=True,
    )


def _seconds(value: float) -> float:
    if value <= 0:
        raise PydanticCustomError("seconds", "a duration is more than 0 seconds; leave it out for no limit")
    return value


Seconds: TypeAlias = Annotated[float, AfterValidator(_seconds)]
"""A duration."""

Count: TypeAlias = Annotated[int, Field(ge=1)]
"""At least one."""

Reference: TypeAlias = str
"""A callable: `module:name`, or the name under which the builder keeps a live object."""

Place: TypeAlias = tuple[str | int, ...]
"""A path into the declaration: `("nodes", "writer", "prompt", "user")`."""


def place_name(path: Place) -> str:
    """Return a path as people read it: `edges[2].from`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or "the pipeline"
