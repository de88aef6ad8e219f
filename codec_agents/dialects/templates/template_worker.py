"""The program that renders a chat template, run in a process of its own by `template_process`.

A chat template is foreign code. jinja2's sandbox keeps it away from Python's objects, but bounds neither time
nor memory: `'a' * 2_000_000_000` and nested loops are legal. The operating system bounds both here.

The first line of the input holds the template, its tokens and the limits, each further line one request. Each
line of the output answers one request, in order. The file is run by its path and imports nothing of the
package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Template, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import SandboxedEnvironment


class Generation(Extension):
    """The block `{% generation %}`, with which training marks generated text; it renders its body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as a class attribute

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the body of the block, in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def main() -> None:
    """Answer the requests of the standard input until it ends."""
    setup = json.loads(sys.stdin.readline())
    _limit(setup["memory"], setup["seconds"])
    render = _Renderer(setup["template"], setup["tokens"], setup["characters"])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(render, json.loads(line))) + "\n")
        sys.stdout.flush()


def _limit(memory: int, seconds: int) -> None:
    """Bound memory and processor time where the system can: Windows cannot, and macOS ignores the first."""
    try:
        import resource
    except ImportError:
        return
    for kind, bound in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))


def _answer(render: Callable[[Mapping[str, Any]], str], request: Mapping[str, Any]) -> dict[str, str]:
    """Return the text, or how rendering failed; `bound` names a failure that every other request shares."""
    try:
        return {"text": render(request)}
    except (MemoryError, RecursionError, _TooLongError) as error:
        return {"bound": str(error) or type(error).__name__}
    except Exception as error:  # whatever foreign code raises is an answer here
        return {"error": f"{type(error).__name__}: {error}"}


class _TooLongError(Exception):
    """The output is longer than any prompt."""


class _Renderer:
    def __init__(self, source: str, tokens: Mapping[str, str], characters: int) -> None:
        self._source = source
        self._tokens = tokens
        self._characters = characters
        self._template: Template | None = None

    def __call__(self, request: Mapping[str, Any]) -> str:
        if self._template is None:  # compiled at the first request, so that a fault in it is an answer
            self._template = _environment().from_string(self._source)
        return "".join(self._bounded(self._template.generate(**self._tokens, **request)))

    def _bounded(self, parts: Iterator[str]) -> Iterator[str]:
        room = self._characters
        for part in parts:
            room -= len(part)
            if room < 0:
                raise _TooLongError(f"more than {self._characters} characters")
            yield part


def _environment() -> SandboxedEnvironment:
    # Templates may change the lists that they were given, as that of Kimi K2 does: each request has its own.
    environment = SandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.now(UTC).strftime(form),
    }
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as the reference renderer of chat templates does: without escapes for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> str:
    raise ValueError(message)


if __name__ == "__main__":
    main()
