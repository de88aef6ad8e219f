"""Real engines for tests that are marked `engines` or `sglang`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from codec_core.maps import read_map
from tests.real_engines.models import smollm2_map
from tests.real_engines.places import UnavailableError
from tests.real_engines.record import MODEL
from tests.real_engines.running import url_of


def live_engine(name: str) -> tuple[str, Any, str | None]:
    """Return the origin, the map and the model of a server; skip the test with the reason if there is none.

    `CODEC_TEST_VLLM` and the like may name a server that runs: its origin, and a map and a model if those are
    not SmolLM2's.
    """
    _, *given = os.environ.get(f"CODEC_TEST_{name.upper()}", "").split()[:3] or [""]
    try:
        url, path = url_of(name), Path(given[0]) if given else smollm2_map()
    except UnavailableError as error:
        pytest.skip(str(error))
    return url, read_map(path), given[1] if len(given) > 1 else None if given else MODEL


def each(*names: str) -> list[Any]:
    """Return engines for `parametrize`, each with its mark."""
    marks = {"sglang": pytest.mark.sglang}
    return [pytest.param(name, marks=marks.get(name, pytest.mark.engines)) for name in names]
