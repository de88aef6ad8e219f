"""The base of all declared values, and the types that their fields share."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError, PydanticKnownError

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*$"
"""Names of nodes, slots, engines: no dot, which separates a node from its port, and no white space."""

BODY_FIELDS = ("pipeline", "each", "loop", "body")
"""The fields of a node that hold a pipeline, or the name of a file with one; `body` means any of them."""


class Declared(BaseModel):
    """A value of a declaration. It is frozen, and refuses unknown fields.

    A message about a bad value never shows the value itself, which may be a secret.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        populate_by_name=True,
        defer_build=True,
    )


def _whole(value: Any) -> Any:
    """Refuse words and booleans where a number is wanted, as YAML and the published schema do."""
    if isinstance(value, bool | str):
        raise PydanticKnownError("int_type")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticKnownError("float_type")
    return value


Flag: TypeAlias = Annotated[bool, Strict()]
"""True or false. Other values that Python takes for one are refused: in YAML, `on` is a word."""

NO_WORD_AS_WHOLE = BeforeValidator(_whole)
NO_WORD_AS_NUMBER = BeforeValidator(_number)
"""Put behind the bounds of a number in an annotation: bounds behind these do not reach the JSON schema."""

Whole: TypeAlias = Annotated[int, NO_WORD_AS_WHOLE]
"""A whole number."""


def _seconds(value: float) -> float:
    if value <= 0:
        raise PydanticCustomError("seconds", "a duration is more than 0 seconds; leave it out for no limit")
    return value


Seconds: TypeAlias = Annotated[
    float, AfterValidator(_seconds), Field(json_schema_extra={"exclusiveMinimum": 0}), NO_WORD_AS_NUMBER
]
"""A duration."""

Count: TypeAlias = Annotated[int, Field(ge=1), NO_WORD_AS_WHOLE]
"""At least one."""

Reference: TypeAlias = str
"""A callable: `module:name`, or the name under which the builder keeps a live object."""


def _file_name(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("file", "the name of a file holds no NUL character; correct it")
    return value


FileName: TypeAlias = Annotated[str, AfterValidator(_file_name)]
"""A text that may be used as a path: with a NUL character the system's calls raise a bare `ValueError`."""

Place: TypeAlias = tuple[str | int, ...]
"""A path into the declaration: `("nodes", "writer", "prompt", "user")`."""


def place_name(path: Place) -> str:
    """Return a path as messages show it: `edges[2].from`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or "the pipeline"
