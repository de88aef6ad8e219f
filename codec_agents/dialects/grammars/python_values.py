"""Python literals as values of JSON: the arguments of calls that models write like Python."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from threading import Lock
from typing import Any

from codec_agents.strict_json import unique_names

MAX_PYTHON = 100_000
"""Characters: longer than any call. Python's parser takes up to 500 bytes for each."""

_FILTERS = Lock()
_JSON_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


def parse_python(text: str) -> ast.expr:
    """Return the tree of an expression.

    Raises:
        ValueError: it is too long for the parser, or no Python.
    """
    if len(text) > MAX_PYTHON:
        raise ValueError(f"there are more than {MAX_PYTHON:,} characters")
    try:
        # An escape that Python does not know, as `\d`, stands for itself. Its warning, where a program makes
        # warnings errors, would refuse the call. The filters belong to all threads, hence the lock.
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except (SyntaxError, MemoryError, RecursionError) as error:  # the last two where the nesting is too deep
        raise ValueError(str(error) or type(error).__name__) from None


def python_value(node: ast.expr) -> Any:
    """Return the value of a literal; tuples are lists, and JSON's own words may stand for constants.

    Recursion is safe: Python's parser refuses more than 200 brackets inside one another.

    Raises:
        ValueError: it is no literal, or one that JSON does not have: bytes, a set, a complex number, an
            ellipsis, a key that is no string, or one that is given twice.
        TypeError, RecursionError: as by `ast.literal_eval`.
    """
    match node:
        case ast.List(elements) | ast.Tuple(elements):
            return [python_value(each) for each in elements]
        case ast.Dict(keys, values):
            pairs = zip(map(_key, keys), map(python_value, values), strict=True)
            return unique_names(list(pairs))
        case ast.Name(word) if word in _JSON_WORDS:
            return _JSON_WORDS[word]
    try:
        value = ast.literal_eval(node)
    except ValueError:  # its text has the address of an object: a replay would tell the model another error
        raise ValueError("a name, a call or another expression is none") from None
    # Tools, records and prompts hold arguments as JSON, which would fail there, or hold something else.
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"JSON has no {type(value).__name__}")


def _key(node: ast.expr | None) -> str:
    """Return the key of an entry; None is `**`, which is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("the keys of an object must be strings")
