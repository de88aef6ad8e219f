"""Kinds of engines that other layers, and other packages, add by entry points."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from codec_agents.engines.base import GenerationRequest
from codec_agents.engines.factory import ENTRY_POINTS, make_engine
from codec_agents.server.embedded_engine import EmbeddedEngine
from codec_agents.testing import scripted_server, turns
from codec_agents.vocabularies import bundled_map
from codec_core import compression
from codec_core.vocabulary import vocabulary_of


def test_the_server_adds_its_engine_from_above() -> None:
    assert isinstance(make_engine("embedded", script="hello"), EmbeddedEngine)
    [entry] = entry_points(group=ENTRY_POINTS, name="embedded")
    assert entry.load() is EmbeddedEngine


def test_a_kind_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ValueError, match="no installed package offers an engine of kind 'embedded'"):
        make_engine("embedded", script="hello")


@pytest.mark.asyncio
async def test_compression_asks_for_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has brotli would compress with it for a client that has not, and cannot read it."""
    monkeypatch.setattr(compression, "find_spec", lambda _: None)
    vocabulary = vocabulary_of(bundled_map("demo/words"))
    request = GenerationRequest(prompt_ids=[20], vocabulary=vocabulary)
    with scripted_server(vocabulary, turns("x")) as server:
        engine = make_engine("codec", url=server.url, compression=True)
        async with engine.stream(request) as stream:
            assert [frame.done async for frame in stream][-1]
        await engine.aclose()
        [exchange] = server.app.exchanges.generations
    assert exchange.request.headers["accept-encoding"] == "gzip"
