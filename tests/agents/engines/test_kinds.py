"""Kinds of engines that other layers, and other packages, add by entry points."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from codec_agents.engines.factory import ENTRY_POINTS, make_engine
from codec_agents.server.embedded_engine import EmbeddedEngine


def test_the_server_adds_its_engine_from_above() -> None:
    assert isinstance(make_engine("embedded", script="hello"), EmbeddedEngine)
    [entry] = entry_points(group=ENTRY_POINTS, name="embedded")
    assert entry.load() is EmbeddedEngine


def test_a_kind_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ValueError, match="no installed package offers an engine of kind 'embedded'"):
        make_engine("embedded", script="hello")
