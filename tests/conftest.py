"""Fixtures that more than one test module uses."""

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from codec_core.maps import TokenizerMap, read_map
from tests.cases import try_all
from tests.limits import keep_large_blocks_apart

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("all", deadline=None, max_examples=100)
settings.load_profile("quick")
keep_large_blocks_apart()


def pytest_configure(config: pytest.Config) -> None:
    """Try more random cases where the slow tests run too."""
    if not config.option.markexpr.startswith("not slow"):
        settings.load_profile("all")
        try_all()


SLOW_SECONDS = 300
"""The time-out of a slow test without one of its own: it starts processes, or runs thousands of cases, and a
busy machine makes a minute of ten seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests their time, and run first what measures memory.

    Later, what grows has to go around what other tests have left.
    """
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
    items.sort(key=lambda item: item.get_closest_marker("memory") is None)


@pytest.hookimpl(optionalhook=True)  # environments that run few tests have no pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return one more than the processors: tests that wait for servers and processes leave a fifth idle."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """Keep what collecting made, ten thousand tests, out of every later run of the garbage collector."""
    gc.collect()
    gc.freeze()


REPOSITORY = Path(__file__).resolve().parent.parent


def maps_directory() -> Path:
    """Where the real tokenizer maps lie: `CODEC_MAPS`, or `../shared/maps` beside the repository."""
    return Path(os.environ.get("CODEC_MAPS") or REPOSITORY.parent / "shared" / "maps")


def vectors_directory() -> Path:
    """Where the public reference cases lie: beside the maps."""
    return maps_directory().parent / "vectors"


def reference_cases(name: str) -> tuple[TokenizerMap, list[dict[str, Any]]]:
    """Load a map and the public cases for it, or skip the test with the reason."""
    path = vectors_directory() / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no reference cases at {path}")
    document = json.loads(path.read_text(encoding="utf-8"))
    return load_shared_map(document["map"]), document["cases"]


_loaded: dict[str, TokenizerMap] = {}


def load_shared_map(map_id: str) -> TokenizerMap:
    """Load a real map once per test session, or skip the test with the reason."""
    if map_id not in _loaded:
        path = maps_directory() / f"{map_id}.json"
        if not path.is_file():
            pytest.skip(f"the real map {map_id} is not at {path}; set CODEC_MAPS to the folder of maps")
        _loaded[map_id] = read_map(path)
    return _loaded[map_id]


@pytest.fixture(scope="session")
def shared_map() -> Callable[[str], TokenizerMap]:
    """Give a function that loads a real map by id, and skips where the maps are not there."""
    return load_shared_map


@pytest.fixture
def anyio_backend() -> str:
    """Run anyio tests on asyncio unless a test asks for more."""
    return "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `both_backends` on asyncio and on trio."""
    marked = any(True for _ in metafunc.definition.iter_markers("both_backends"))
    if marked and "anyio_backend" in metafunc.fixturenames:
        metafunc.parametrize("anyio_backend", ["asyncio", "trio"])
