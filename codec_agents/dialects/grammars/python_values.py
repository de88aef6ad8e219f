"""Python literals as values of JSON: the arguments of calls that models write like Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, Final

from codec_agents.strict_json import unique_names

MAX_PYTHON = 100_000
"""Characters: longer than any call. Python's parser takes up to 500 bytes for each."""

MOST_BITS = 1024
"""Of a whole number, as a float has. Python reads any number of hexadecimal digits, and writes at most 4,300
decimal ones."""

KNOWN_ESCAPES: Final = frozenset("\r\n\\'\"abfnrtv01234567xNuU")
"""Characters that mean something behind a backslash in a string."""

_JSON_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}

_STRING = re.compile(
    r"""\#[^\r\n]*"""
    r"""|(?:\b(?P<prefix>[A-Za-z]{1,2}))?(?P<quote>'''|\"\"\"|'|")"""
    r"""(?P<body>(?:\\.|(?!(?P=quote))[^\\])*)(?:(?P=quote)|\\?\Z)""",
    re.DOTALL,
)
"""A comment, or a string. One that nothing ends goes on to the end: tried again from each of its quotes, it
would take quadratic time."""

_ESCAPE = re.compile(r"\\([4-7][0-7]{2}|.)", re.DOTALL)


def parse_python(text: str) -> ast.expr:
    """Return the tree of an expression.

    Raises:
        ValueError: it is too long for the parser, or no Python.
    """
    if len(text) > MAX_PYTHON:
        raise ValueError(f"there are more than {MAX_PYTHON:,} characters")
    try:
        return ast.parse(_with_known_escapes(text), mode="eval").body
    except (SyntaxError, MemoryError, RecursionError) as error:  # the last two where the nesting is too deep
        raise ValueError(str(error) or type(error).__name__) from None


def _with_known_escapes(text: str) -> str:
    """Return Python with the same values in which each escape is one that Python knows.

    An unknown one stands for itself, as that of a pattern. Python warns of it, and where a program makes
    warnings errors, that would refuse the call. The filters of warnings belong to all threads of the program.
    """
    if "\\" not in text:
        return text
    known: list[str] = []
    end = 0
    for match in _STRING.finditer(text):
        prefix = (match["prefix"] or "").lower()
        # Expressions in it may hold strings with the same quotes. No value has one, so the text is refused.
        if "f" in prefix or "t" in prefix:
            break
        if match["body"] is None or "r" in prefix:
            continue
        known += text[end : match.start("body")], _ESCAPE.sub(_known_escape, match["body"])
        end = match.end("body")
    return "".join(known) + text[end:]


def _known_escape(escape: re.Match[str]) -> str:
    behind = escape[1]
    if len(behind) > 1:  # in octal; Python warns of those beyond a byte
        return f"\\u{int(behind, 8):04x}"
    return escape[0] if behind in KNOWN_ESCAPES else f"\\{escape[0]}"


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
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError("the number is too large")
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"JSON has no {type(value).__name__}")


def _key(node: ast.expr | None) -> str:
    """Return the key of an entry; None is `**`, which is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("the keys of an object must be strings")
