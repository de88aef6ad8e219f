"""The arguments of functions: they are called by name with the slots of their node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from codec_agents import Pipeline
from codec_agents.exceptions import PipelineError

pytestmark = pytest.mark.asyncio


def declared(
    function: Callable[..., str] | str, inputs: Sequence[str] | None = None, **where: Any
) -> Pipeline:
    p = Pipeline("p", **where).input("q").sink("reader")
    p.function("f", function, inputs=inputs, wants="text")
    return p.connect("q", "f").connect("f", "reader")


@pytest.mark.parametrize(
    "function",
    [
        lambda text="none": f"got {text}",
        lambda *, text: f"got {text}",
        lambda text, end="": f"got {text}{end}",
        lambda **texts: f"got {texts['value']}",
        # The names of arguments by which the runtime passes functions on.
        lambda function: f"got {function}",
        lambda node: f"got {node}",
        lambda context: f"got {context}",
        lambda checked: f"got {checked}",
        lambda self: f"got {self}",
    ],
)
async def test_a_function_gets_its_argument_by_any_name(function: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    assert (await declared(function).invoke({"q": "x"}, record=path)).text == {"reader": "got x"}
    assert (await declared(function).replay(path).execute()).text == {"reader": "got x"}


def joined(text: str, end: str) -> str:
    return f"got {text}{end}"


@wraps(joined)
def ended(**given: Any) -> str:
    return joined(**given, end="!")


@wraps(joined)
def renamed(x: str) -> str:
    return joined(x, end="!")


async def test_a_decorated_function_is_called_as_its_decorator_says() -> None:
    assert (await declared(ended, ["text"]).invoke({"q": "x"})).text == {"reader": "got x!"}


@pytest.mark.parametrize(
    ("function", "inputs", "said"),
    [
        (lambda: "x", None, r"called with value: got an unexpected keyword argument 'value'; it takes \(\)"),
        (lambda a="1", b="2": a + b, None, r"it takes \(a='1', b='2'\)"),
        (lambda *texts: str(texts), None, r"it takes \(\*texts\)"),
        (lambda text, /: text, None, "positional.only .*'text'|'text' .*positional.only"),
        (renamed, ["text"], r"it takes \(x\)"),
        (lambda text: text, ["other"], "missing a required argument: 'text'"),
        # A reference is not imported by the declaration, so its slot is the default one.
        ("loud_function:shout", None, "missing a required argument: 'text'"),
    ],
)
async def test_a_function_that_does_not_take_its_slots_is_a_fault(
    function: Callable[..., str] | str, inputs: Sequence[str] | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "loud_function.py").write_text("def shout(text):\n    return text.upper()\n")
    p = declared(function, inputs, directory=tmp_path)
    with pytest.raises(PipelineError, match=rf"nodes\.f: its function cannot be .*({said}).*`inputs`"):
        p.build()
