"""The two roots show the public names and no others, before and after lazy imports."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest


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
