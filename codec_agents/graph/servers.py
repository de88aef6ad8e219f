"""Declared MCP servers: how each is reached, and which of its tools are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from codec_agents.graph.base import Declared, FileName, Flag, Seconds
from codec_agents.graph.sources import Headers, Url
from codec_agents.references.environment import is_reference, looks_secret

SERVER_PREFIX = "mcp:"
"""Begins an entry of `tools`: `mcp:fares` for all tools of a server, `mcp:fares/search` for one."""

DEFAULT_START_TIMEOUT = 60.0
"""A program that is downloaded first, as `npx` and `uvx` do, takes half a minute."""


def _command(value: tuple[str, ...]) -> tuple[str, ...]:
    for name, content in _secret_arguments(value):
        if not is_reference(content):
            raise PydanticCustomError(
                "literal_secret",
                "the argument {name} holds a secret; write ${{NAME}} and set the variable",
                {"name": name},
            )
    return value


def _secret_arguments(command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options whose names announce a secret, as in `--token=...` or `--token ...`."""
    for position, argument in enumerate(command):
        name, joined, value = argument.partition("=")
        if not name.startswith("-") or not looks_secret(name):
            continue
        if joined:
            yield name, value
        elif position + 1 < len(command):
            yield name, command[position + 1]


def _environment(value: dict[str, str]) -> dict[str, str]:
    for name, content in value.items():
        if looks_secret(name) and not is_reference(content):
            raise PydanticCustomError(
                "literal_secret",
                "the variable {name} holds a secret; write ${{NAME}} and set the variable",
                {"name": name},
            )
    return value


class McpSpec(Declared):
    """An MCP server: a program that a run starts and speaks to over stdio, or a URL."""

    command: Annotated[tuple[FileName, ...], Field(min_length=1), AfterValidator(_command)] | None = None
    """The program and its arguments; no shell reads them. `python` is the interpreter that runs the pipeline.
    It starts in the folder of the pipeline file."""
    url: Url | None = None
    """Its address, for streamable HTTP."""
    headers: Headers = Field(default_factory=dict)
    """Sent with each request to a `url`."""
    env: Annotated[dict[str, str], AfterValidator(_environment)] = Field(default_factory=dict)
    """Environment variables of a program, besides the few that it inherits, such as PATH and HOME."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    """A prefix of each tool's name, so that the tools of several servers differ."""
    only: tuple[str, ...] | None = None
    """The tools to use, by the server's names; all when left out."""
    timeout: Seconds | None = None
    """Seconds for one call; the policy's when left out."""
    start_timeout: Seconds = DEFAULT_START_TIMEOUT
    """Seconds until the server has listed its tools."""
    approval: Flag = False
    """Ask for approval before a tool of this server runs."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise PydanticCustomError("mcp", "an MCP server has a `command` or a `url`; give one of them")
        if self.command is None and self.env:
            raise PydanticCustomError("mcp", "a server behind a `url` has no `env`; use `headers`")
        if self.url is None and self.headers:
            raise PydanticCustomError("mcp", "a program has no `headers`; use `env`")
        return self

    @property
    def reached(self) -> str:
        """The URL or the command as declared, with references to variables."""
        return self.url if self.url is not None else " ".join(self.command or ())


def server_of(reference: str) -> tuple[str, str | None] | None:
    """Return the server, and its tool, that an entry of `tools` names; None for a callable."""
    if not reference.startswith(SERVER_PREFIX):
        return None
    name, _, tool = reference.removeprefix(SERVER_PREFIX).partition("/")
    return name, tool or None
