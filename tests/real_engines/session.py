"""A session of tests on real servers, as a plugin of pytest: `-p tests.real_engines.session`.

Servers that the chosen tests need start at once, and the tests of those that are ready sooner run first. At
the end it prints how many ids the servers generated and read for each test, and how many requests they had:
on a shared machine these are figures, and times are not.
"""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.real_engines.places import UnavailableError
from tests.real_engines.running import launch, ready_servers

SLOW_TO_START = ("vllm", "sglang")
"""Seconds pass until these answer; llama.cpp takes one."""

SHOWN = 15


class Counts(NamedTuple):
    """What servers have done."""

    generated: int = 0
    read: int = 0
    requests: int = 0

    def __add__(self, other: object) -> Counts:
        assert isinstance(other, Counts)
        return Counts(*map(sum, zip(self, other, strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(one - before for one, before in zip(self, other, strict=True)))


HTTP = r'http_requests_total\{(?!handler="/(metrics|health)")'
"""Asking for metrics, and for whether it is ready, are no requests of a test."""

METRICS = {
    "vllm": (
        r"vllm:generation_tokens_total\{",
        r'vllm:prompt_tokens_by_source_total\{.*"local_compute"',
        HTTP,
    ),
    "sglang": (r"sglang:generation_tokens_total\{", r"sglang:prompt_tokens_total\{", HTTP),
    "llamacpp": ("llamacpp:tokens_predicted_total ", "llamacpp:prompt_tokens_total ", "none"),
}
"""Patterns of the lines that count ids generated, ids of prompts that were read, and requests. llama.cpp
counts no requests."""

METRICS["qwen3"], METRICS["gemma"] = METRICS["vllm"], METRICS["llamacpp"]


def counted(name: str, url: str) -> Counts:
    """Return what a server says that it has done; nothing if it shows no metrics."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    except OSError:
        return Counts()
    lines = text.splitlines()
    sums = (
        sum(float(line.rpartition(" ")[2]) for line in lines if re.match(metric, line))
        for metric in METRICS[name]
    )
    return Counts(*map(round, sums))


class Session:
    """Starts servers early, and counts."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Counts, float]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Run first what needs no server that is slow to start; files and modules stay together."""
        items.sort(key=lambda item: needs(item) is not None)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for name in sorted({name for item in session.items if (name := needs(item))}):
            with contextlib.suppress(UnavailableError):  # each test that needs it says so
                launch(name)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        before, began = {name: counted(name, url) for name, url in ready_servers().items()}, time.monotonic()
        result = yield
        seconds = time.monotonic() - began
        done = [counted(name, url) - before.get(name, Counts()) for name, url in ready_servers().items()]
        self._found[item.nodeid.rpartition("/")[2]] = (sum(done, Counts()), seconds)
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        total = sum((counts for counts, _ in self._found.values()), Counts())
        terminalreporter.write_sep("=", "what the servers did")
        terminalreporter.write_line(f"{'generated':>10}{'read':>8}{'requests':>10}{'seconds':>9}")
        by_cost = sorted(self._found.items(), key=lambda item: item[1], reverse=True)
        for name, (counts, seconds) in by_cost[:SHOWN]:
            terminalreporter.write_line(
                f"{counts.generated:>10}{counts.read:>8}{counts.requests:>10}{seconds:>9.1f}  {name}"
            )
        seconds = sum(seconds for _, seconds in self._found.values())
        terminalreporter.write_line(
            f"{total.generated:>10}{total.read:>8}{total.requests:>10}{seconds:>9.1f}  all of them"
        )


def needs(item: pytest.Item) -> str | None:
    """Return the server that is slow to start which a test needs, as its id, fixtures or module tell."""
    fixtures = getattr(item, "fixturenames", ())
    said = item.nodeid.partition("[")[2]
    module = getattr(getattr(item, "module", None), "ENGINE", "")
    return next((name for name in SLOW_TO_START if name in (*fixtures, module) or name in said), None)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Session(), "real-engines-session")
