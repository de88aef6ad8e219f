"""The two roots show the public names and no others, before and after lazy imports."""

from __future__ import annotations

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
