"""What the tests of the gateway share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agents.dialects.families import small_map_of


@pytest.fixture(autouse=True)
def _maps_of_its_own() -> Iterator[None]:
    """Leave no vocabulary to other tests: a gateway chooses the dialect of the one that it is given."""
    yield
    small_map_of.cache_clear()
