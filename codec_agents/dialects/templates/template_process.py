"""Render a model's chat template in a process of its own, with bounded time, memory and output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any, Self

from codec_agents.exceptions import DialectError

MAX_TEMPLATE = 500_000
"""Characters: the longest known templates have 30,000."""

_WORKER = Path(__file__).with_name("template_worker.py")
_ENVIRONMENT = ("PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""The environment variables that Python needs; all others, keys among them, stay away from foreign code."""


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Bounds of one template's process. A rendering of 1,000 messages takes 0.1 s and 30 MiB.

    Fields:
        seconds: the time of one rendering, and the processor time of all.
        memory: bytes of address space, where the system bounds it.
        characters: the output of one rendering.
    """

    seconds: int = 10
    memory: int = 512 * 2**20
    characters: int = 10_000_000


class TemplateFailedError(DialectError):
    """A chat template refuses a conversation, or has a fault that rendering it shows."""


def template_of(config: Mapping[str, Any]) -> str:
    """Return the chat template of a `tokenizer_config.json`, the one for tools where there are several.

    Raises:
        DialectError: there is none, or it is longer than `MAX_TEMPLATE`.
    """
    template = config.get("chat_template")
    if isinstance(template, list):
        entries = [entry for entry in template if isinstance(entry, Mapping)]
        named = {str(entry.get("name")): entry.get("template") for entry in entries}
        # A dialect writes all chats in one form, those with tools included, so one template has to tell it.
        template = named.get("tool_use") or named.get("default")
    if not isinstance(template, str):
        raise DialectError("tokenizer_config.json has no chat template that can be read; name the dialect")
    if len(template) > MAX_TEMPLATE:
        raise DialectError(
            f"the chat template of tokenizer_config.json has {len(template):,} characters, more than the "
            f"{MAX_TEMPLATE:,} that are read; name the dialect"
        )
    return template


class TemplateProcess:
    """A chat template, rendered in a process that starts with the first rendering and ends with the context.

    jinja2's sandbox runs in it, so a template reaches neither this process nor its environment, and what a
    template uses up is the process's own.
    """

    def __init__(self, config: Mapping[str, Any], limits: RenderLimits | None = None) -> None:
        """Take a template.

        Args:
            config: the model's `tokenizer_config.json`.
            limits: the bounds; None for the usual ones.

        Raises:
            DialectError: there is no template.
        """
        self._limits = limits or RenderLimits()
        self._setup = {
            "template": template_of(config),
            "tokens": {
                f"{kind}_token": token_text(config.get(f"{kind}_token"))
                for kind in ("bos", "eos", "pad", "unk")
            },
            "seconds": self._limits.seconds,
            "memory": self._limits.memory,
            "characters": self._limits.characters,
        }
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        thinking: str | None = None,
        *,
        opening: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Return what the chat template makes of messages.

        Args:
            messages: the conversation.
            tools: what the model may call.
            thinking: `on`, `off` or `forced`; None for what the template does by itself.
            opening: whether the assistant's turn is opened.
            options: further variables of the template.

        Raises:
            TemplateFailedError: the template refuses the conversation, or fails.
            DialectError: jinja2 is not installed, or the template uses more than its limits.
        """
        # None for no tools, as `transformers` gives it: templates ask for that too.
        request = {"messages": list(messages), "tools": list(tools) or None, "add_generation_prompt": opening}
        if thinking is not None:  # most templates know the first name, Kimi K3's and DeepSeek's the other
            request |= {"enable_thinking": thinking != "off", "thinking": thinking != "off"}
        answer = self._ask(json.dumps(request | dict(options or {})))
        if "error" in answer:
            raise TemplateFailedError(f"the chat template fails: {answer['error']}")
        if "bound" in answer:
            raise DialectError(f"the chat template uses more than its limits ({answer['bound']}); {_NAME}")
        return answer["text"]

    def _ask(self, request: str) -> dict[str, str]:
        """Send a request, and return its answer; a process that gives none in time is ended."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = Timer(self._limits.seconds, process.kill)  # a pipe has no deadline on every system
        timer.start()
        try:
            with suppress(BrokenPipeError):  # the process has ended, so that no line comes below
                process.stdin.write(request + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith("\n"):
            answer: dict[str, str] = json.loads(line)
            return answer
        self._stop()
        raise DialectError(
            f"the chat template uses more than its limits ({self._limits.seconds} s, or the memory); {_NAME}"
        )

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            if find_spec("jinja2") is None:
                raise DialectError(
                    "a chat template needs jinja2; install it with: pip install 'codec-agents[templates]'"
                )
            self._process = subprocess.Popen(  # noqa: S603 - the arguments are this package's own
                [sys.executable, "-P", str(_WORKER)],  # -P: modules beside the program are no top-level ones
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a pipe that nothing reads could fill up, and hold the process
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                text=True,
                encoding="utf-8",
            )
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # a program that cannot begin gives no answer, which `_ask` tells
                self._process.stdin.write(json.dumps(self._setup) + "\n")
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


_NAME = "name the dialect instead"


def token_text(value: Any) -> str:
    """Return a token that a configuration writes as a text, or as an object with its `content`."""
    return str(value.get("content", "")) if isinstance(value, Mapping) else str(value or "")
