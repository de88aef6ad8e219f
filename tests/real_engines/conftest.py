"""Servers for the tests on real engines: each is started when it is first needed, and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from codec_core.maps import read_map
from codec_core.vocabulary import Vocabulary, vocabulary_of
from tests.real_engines.models import gemma_map, smollm2_map
from tests.real_engines.places import UnavailableError
from tests.real_engines.running import url_of

MAPS: dict[str, Callable[[], Path]] = {"gemma": gemma_map}


class Place(NamedTuple):
    """A running server, and the map of its model."""

    kind: str
    url: str
    map: Path
    vocabulary: Vocabulary

    def add_to(self, p: Any, node: str, prompt: Any, **more: Any) -> None:
        """Add a model to a pipeline, with an engine of its own."""
        sampling = {"temperature": 0.0, "max_tokens": 8, **more.pop("sampling", {})}
        engine = more.pop("engine", {})
        p.engine(f"{node}-engine", kind=self.kind, url=self.url, **engine)
        p.model(
            node,
            engine=f"{node}-engine",
            model="smol",
            map=str(self.map),
            prompt=prompt,
            sampling=sampling,
            **more,
        )


def place(name: str) -> Place:
    """Return a running server, or skip the test with the reason why there is none."""
    try:
        url, path = url_of(name), MAPS.get(name, smollm2_map)()
    except UnavailableError as error:
        pytest.skip(str(error))
    return Place("llamacpp" if name == "gemma" else name, url, path, vocabulary_of(read_map(path)))


@pytest.fixture
def vllm() -> Place:
    return place("vllm")


@pytest.fixture
def llamacpp() -> Place:
    return place("llamacpp")


@pytest.fixture
def gemma() -> Place:
    return place("gemma")


@pytest.fixture(params=["vllm", "llamacpp"])
def smol(request: pytest.FixtureRequest) -> Place:
    """Give each server of SmolLM2."""
    return place(request.param)
