"""`--input name=value`: where the values of a pipeline's inputs come from."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click


def parse_inputs(pairs: Iterable[str]) -> dict[str, str]:
    """Return the inputs by name.

    `name=value` is the value itself, `name=-` standard input, `name=@file` a file's text, and `name=@@rest`
    a value that begins with `@`.

    Raises:
        click.BadParameter: a pair is no pair, a name is given twice, or a file cannot be read.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _bad(f"{pair!r} is not name=value, name=@file, or name=- for standard input")
        if name in found:
            raise _bad(f"the input {name!r} is given twice")
        found[name] = _value(value)
    return found


def _value(value: str) -> str:
    if value == "-":
        return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")
    if value.startswith("@@"):
        return value[1:]
    if value.startswith("@"):
        try:
            return Path(value[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _bad(f"cannot read {value[1:]!r}: {error}") from error
    return value


def _bad(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="--input")
