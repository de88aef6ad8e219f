"""Dialects by name."""

from __future__ import annotations

from importlib import import_module

from codec_agents.dialects.base import Dialect
from codec_agents.exceptions import DialectError

FAMILIES = (
    "hermes",
    "qwen_coder",
    "llama",
    "mistral",
    "deepseek",
    "deepseek_dsml",
    "glm",
    "kimi",
    "harmony",
    "phi",
    "gemma",
    "apertus",
    "cohere",
    "granite",
    "minimax",
    "hunyuan",
    "inkling",
    "laguna",
    "nemotron",
    "ernie",
    "exaone",
    "internlm",
    "jamba",
    "lfm",
    "mimo",
    "olmo",
    "seed",
    "smollm",
    "step",
    "xlam",
    "plain",
)
"""The modules of `families` that hold families, each with its `DIALECTS`."""


def built_in() -> dict[str, Dialect]:
    """Return the dialects of this package, by name."""
    found: dict[str, Dialect] = {}
    for family in FAMILIES:
        for dialect in import_module(f"codec_agents.dialects.families.{family}").DIALECTS:
            found[dialect.name] = dialect
    return found


_dialects: dict[str, Dialect] | None = None


def dialects() -> dict[str, Dialect]:
    """Return all dialects that are known, by name."""
    global _dialects  # noqa: PLW0603 - loaded at first use: most programs speak one family
    if _dialects is None:
        _dialects = built_in()
    return _dialects


def get_dialect(name: str) -> Dialect:
    """Return a dialect by its name.

    Raises:
        DialectError: there is none of this name.
    """
    try:
        return dialects()[name]
    except KeyError:
        raise DialectError(
            f"there is no dialect {name!r}; there are {', '.join(sorted(dialects()))}"
        ) from None


def register(dialect: Dialect) -> None:
    """Make a dialect of your own known by its name.

    Raises:
        DialectError: another dialect has the name.
    """
    known = dialects().setdefault(dialect.name, dialect)
    if known != dialect:
        raise DialectError(f"there is another dialect {dialect.name!r}; choose another name")
