"""The two roots show the public names and no others, before and after lazy imports."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

from codec_agents import Pipeline, Tool, tool
from codec_agents.runtime.options import RunOptions
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", ["codec_core", "codec_agents"])
def test_a_root_lists_exactly_the_public_names(name: str) -> None:
    root = import_module(name)
    assert dir(root) == sorted(root.__all__)
    assert len(root.__all__) == len(set(root.__all__))
    for public in root.__all__:
        getattr(root, public)
    assert root.__version__ == version("codec-agents")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = root.nothing


ALWAYS = {"after": "RunResult | Mapping[str, History] | None", "options": "Unpack[RunOptions]"}


@pytest.mark.parametrize("name", ["run", "invoke_sync", "batch", "batch_as_completed", "resume"])
def test_every_way_to_run_takes_the_options_of_invoke(name: str) -> None:
    """`run` streams; the others differ from `invoke` only in what they are about."""
    own = {"batch": {"concurrency", "progress"}, "batch_as_completed": {"concurrency"}}
    invoke, other = (inspect.signature(getattr(Pipeline, each)).parameters for each in ("invoke", name))
    for option, annotation in ALWAYS.items():
        assert invoke[option].annotation == other[option].annotation == annotation
        assert invoke[option].default is other[option].default
        assert invoke[option].kind is other[option].kind
    inputs = {"pause", "decisions"} if name == "resume" else {"inputs"}
    assert other.keys() == {"self", *inputs, *ALWAYS, *own.get(name, ())}


def test_the_page_on_running_has_every_option() -> None:
    page = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`", page.partition("\n## Options\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert rows == ["after", *RunOptions.__annotations__]


@tool
def fares(origin: str, destination: str, *, day: str = "Friday") -> list[int]:
    """Look up fares."""
    return [len(origin), len(destination), len(day)]


class Desk:
    @tool(approval=True)
    def book(self, flight: str) -> bool:
        """Book a flight."""
        return bool(flight)


def test_a_tool_keeps_the_signature_of_its_function() -> None:
    shown = "(origin: 'str', destination: 'str', *, day: 'str' = 'Friday') -> 'list[int]'"
    assert str(inspect.signature(fares)) == str(inspect.signature(fares.renamed("prices"))) == shown
    assert str(inspect.signature(Desk().book)) == "(flight: 'str') -> 'bool'"
    assert "parameters" in inspect.signature(Tool).parameters
    assert fares("Lisbon", "Oslo") == [6, 4, 6]


DECLARES = """
from codec_agents import Chat, Pipeline, tool
Pipeline("desk").input("q").model("m", prompt=Chat(user="{q}"))
"""
TESTS = """
from codec_agents.testing import Call, Say, ScriptedEngine
ScriptedEngine(lambda prompt: "yes")
"""
RUNS = ["codec_agents.runtime.run", "codec_agents.compiler", "codec_agents.server.app"]
CLIENTS = ["httpx", "aiohttp", "mcp", "uvicorn"]
LATE = {
    "declares": (DECLARES, [*RUNS, *CLIENTS, "codec_agents.dialects", "anyio", "asyncio"]),
    "tests": (TESTS, [*RUNS, *CLIENTS]),
}
"""Programs, and modules that they import late or never, because importing these takes longer than they do."""


@pytest.mark.parametrize(("program", "late"), LATE.values(), ids=LATE)
def test_a_program_imports_late_what_it_may_not_need(program: str, late: list[str]) -> None:
    # pydantic, which declarations are made of, imports asyncio in some versions.
    code = f"import sys, pydantic\nbefore = set(sys.modules)\n{program}\n"
    code += f"print([name for name in {late} if name in sys.modules and name not in before])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
