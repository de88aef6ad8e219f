"""`--input name=value`: where the values of a pipeline's inputs come from."""

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
        click.UsageError: an input is missing, or given and not declared.
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
        except OSError as error:
            raise _bad(f"cannot read {value[1:]!r}: {error.strerror}; name a file that is there") from error
        except UnicodeDecodeError as error:
            raise _bad(f"cannot read {value[1:]!r}: it is no UTF-8 text") from error
    return value


def _bad(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint="--input")
