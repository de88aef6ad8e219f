"""`--input name=value`: the inputs of a pipeline on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from codec_agents.pipeline import Pipeline


input_option = click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input: its value, @FILE for a file's text, or - for standard input.",
)


def inputs_of(pipeline: Pipeline, pairs: Iterable[str]) -> dict[str, str]:
    """Return the values of a pipeline's inputs, by name.

    Raises:
        click.UsageError: An input is missing or unknown.
    """
    from codec_agents.graph import InputNode

    nodes = {name: node for name, node in pipeline.spec.nodes.items() if isinstance(node, InputNode)}
    inputs = parse_inputs(pairs)
    listed = ", ".join(sorted(nodes)) or "none"
    for name in inputs:
        if name not in nodes:
            raise _bad(f"no input {name!r}; the pipeline has: {listed}")
    missing = [name for name, node in nodes.items() if node.default is None and name not in inputs]
    if missing:
        hint = " ".join(f"--input {name}=..." for name in missing)
        raise click.UsageError(f"the pipeline needs an input that is not given; add {hint}")
    return inputs


def parse_inputs(pairs: Iterable[str]) -> dict[str, str]:
    """Return the inputs by name.

    `name=value` is the value itself, `name=-` standard input, `name=@file` a file's text, and `name=@@rest`
    a value that begins with `@`.

    Raises:
        click.BadParameter: A pair has another form, a name is given twice, or a value is not UTF-8 text.
    """
    found: dict[str, str] = {}
    reads_standard_input = ""
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _bad(f"{pair!r} is not name=value, name=@file, or name=- for standard input")
        if name in found:
            raise _bad(f"the input {name!r} is given twice")
        if value == "-" and reads_standard_input:
            raise _bad(
                f"{reads_standard_input!r} and {name!r} both read standard input, which has one text; give "
                "one of them as @FILE"
            )
        reads_standard_input = name if value == "-" else reads_standard_input
        found[name] = _value(value)
    return found


def _value(value: str) -> str:
    if value == "-":
        # `echo` and here-documents end with a line feed that is none of the text; in a file it may be.
        return _text(sys.stdin.buffer.read(), "standard input").removesuffix("\n")
    if value.startswith("@@"):
        return value[1:]
    if value.startswith("@"):
        name = value[1:]
        try:
            return _text(Path(name).read_bytes(), repr(name))
        except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
            reason = error.strerror if isinstance(error, OSError) else error
            raise _bad(f"cannot read {name!r}: {reason}; name an existing file") from error
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # Python hands over the bytes of an argument that is not UTF-8 as lone surrogates.
        raise _bad(f"the value {value!r} is not UTF-8 text; use a UTF-8 terminal, or @FILE") from error
    return value


def _text(content: bytes, source: str) -> str:
    """Decode a file; a byte order mark at its beginning, as some editors write it, is no part of the text."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(
            f"cannot read {source}: byte {error.start} is not UTF-8 text; convert it to UTF-8"
        ) from error


def _bad(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="--input")
