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


def test_a_program_that_only_declares_imports_neither_the_runtime_nor_dialects_nor_a_client() -> None:
    late = [
        "codec_agents.runtime.run",
        "codec_agents.compiler",
        "codec_agents.dialects",
        "httpx",
        "aiohttp",
        "mcp",
    ]
    code = (
        "import sys; from codec_agents import Chat, Pipeline, tool; "
        "Pipeline('desk').input('q').model('m', prompt=Chat(user='{q}')); "
        f"print([name for name in {late} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
