"""The map of a model whose declaration names none: the engine is asked for it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

from codec_agents.compiler.map_files import map_of_file
from codec_agents.concurrency.event_loop import run_in_own_loop
from codec_agents.engines.base import Engine
from codec_agents.engines.told_map import ToldMap, told_map
from codec_agents.exceptions import EngineError
from codec_agents.graph.sources import HUB_PATTERN
from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map
from codec_core.discovery import DiskMapCache, load_map
from codec_core.exceptions import CodecError
from codec_core.maps import TokenizerMap

FILES = (
    "add `map:` with the model's folder, its tokenizer.json or .gguf file, or `hf:org/model`; "
    "or build one once: `codec-agents maps build SOURCE --id NAME`"
)


class EngineMap(NamedTuple):
    """A map that an engine named, and the files that it loaded, where they are on this machine."""

    map: TokenizerMap
    path: Path | None = None


def map_of_engine(engine: Engine, model: str | None, cache: DiskMapCache) -> EngineMap | str:
    """Return the map that an engine names for its model, or why there is none, as `found; remedy`."""
    try:
        told = run_in_own_loop(partial(told_map, engine, model))
    except EngineError as error:
        return f"no map is named, and the engine cannot be asked for its own ({error}); {FILES}"
    if told is None:
        return f"no map is named, and the engine {engine.name!r} tells none; {FILES}"
    import httpx  # here: a pipeline whose maps are named needs it later, or never

    try:
        return _loaded(told, cache)
    except (CodecError, OSError, httpx.HTTPError) as error:
        shown = told.path or told.url
        return f"no map is named, and {str(shown)!r}, which the engine names, gives none ({error}); {FILES}"


def _loaded(told: ToldMap, cache: DiskMapCache) -> EngineMap | str:
    # The files on this machine first: they are what the engine has loaded, and need no network.
    if told.path is not None:
        return EngineMap(map_of_file(told.path, None, cache), told.path)
    if told.hash is not None and (held := _held(told.hash, cache)) is not None:
        return EngineMap(held)
    if told.url is not None:
        fetch = partial(load_map, url=told.url, hash=told.hash, cache=cache)
        return EngineMap(run_in_own_loop(fetch))
    if told.hash is not None:
        found = f"no map is named, and the engine publishes none; its own has the hash {told.hash}"
        return f"{found}; fetch it with `codec-agents maps get`, or {FILES}"
    found = f"no map is named, and the engine's files, {told.model!r}, are not on this machine"
    # `./model` has the form of a name of the hub.
    if told.model is not None and re.fullmatch(HUB_PATTERN, told.model) and told.model[0] != ".":
        build = f"codec-agents maps build hf:{told.model}"
        return f"{found}; add `map: hf:{told.model}`, or build it once with `{build}`"
    return f"{found}; {FILES}"


def _held(wanted: str, cache: DiskMapCache) -> TokenizerMap | None:
    """Return the map of a hash that is bundled or in the cache."""
    bundled = (bundled_map(name) for name in BUNDLED_MAPS)
    return next((each for each in bundled if each.hash == wanted), None) or cache.read(wanted)
