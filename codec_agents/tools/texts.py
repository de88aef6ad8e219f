"""The texts that a model receives for its tool calls: results, errors, and the faults of arguments."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError


def result_text(value: Any) -> str:
    """Return a result as the text that the model reads: a string as it is, anything else as JSON.

    Raises:
        TypeError: the value has no JSON form.
    """
    if isinstance(value, str):
        return value
    try:
        # By pydantic first: it has a form for models, dataclasses, dates and sets, which `json` lacks.
        written = TypeAdapter(Any).dump_python(value, mode="json")
        return json.dumps(written, ensure_ascii=False)
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(f"the result of type {type(value).__name__} has no JSON form: {error}") from error


def message_of(error: BaseException) -> str:
    """Return the message of an exception, or "" where its own `__str__` fails."""
    try:
        return str(error)
    except Exception:
        return ""


def error_text(error: BaseException) -> str:
    """Return the class and the message of an exception."""
    message = message_of(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def argument_faults(error: Exception) -> str:
    """Return the faults of arguments in words that a model can act on; values are not repeated."""
    if not isinstance(error, ValidationError):
        return error_text(error)
    found = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"]) or "the arguments"
        found.append(f"{place}: {fault['msg']}")
    return "; ".join(found)


def cut(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters, and a note of how many are left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[cut: {len(text) - limit} more characters]"


def well_formed(text: str) -> str:
    """Return text that UTF-8 can carry: lone surrogates, which JSON and file names allow, become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def well_formed_json(value: Any) -> Any:
    """Return a JSON value whose strings, keys included, UTF-8 can carry."""
    # By way of its text, because a value may be nested deeper than Python functions can call themselves.
    written = json.dumps(value, ensure_ascii=False)
    fixed = well_formed(written)
    return value if fixed == written else json.loads(fixed)
