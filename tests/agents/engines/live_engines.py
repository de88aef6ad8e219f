"""Real engines, named by environment variables: an origin, a map, and a model where one must be named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from codec_core.maps import read_map


def live_engine(variable: str) -> tuple[str, Any, str | None]:
    """Return the origin, the map and the model that a variable names; skip the test without it."""
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set: no real engine to test against")
    url, name, *model = os.environ[variable].split()
    return url, read_map(Path(name)), (model[0] if model else None)
