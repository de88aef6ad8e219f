"""Names for the engines and maps that a Python program gives as values or as live objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from codec_agents.exceptions import PipelineError
from codec_agents.faults import Fault
from codec_agents.graph.live import LiveEngine, LiveObjects, unique
from codec_agents.graph.sources import EngineSpec, MapSpec

if TYPE_CHECKING:
    from codec_core.maps import TokenizerMap

EngineLike: TypeAlias = "str | EngineSpec | LiveEngine"
"""The name of a declared engine, the URL of one, a declaration, or a live engine."""

MapLike: TypeAlias = "str | Path | MapSpec | TokenizerMap"
"""The name of a declared map, an id, a path, a declaration, or a loaded map."""


class Names:
    """The engines and maps of a declaration; equal ones, and the same objects, are declared once."""

    def __init__(self, live: LiveObjects) -> None:
        self.engines: dict[str, EngineSpec] = {}
        self.maps: dict[str, MapSpec] = {}
        self._live = live

    def engine(self, node: str, engine: EngineLike | None) -> str | None:
        """Return the name of an engine, and declare it if it has none yet."""
        if engine is None or isinstance(engine, str):
            return engine
        known = _name_of(engine, self.engines, self._live.engines)
        if known is not None:
            return known
        # A live engine brings a name; a declaration is named after the first node that gives it. Names have
        # ASCII letters, digits, `_` and `-`, and no digit or `-` first.
        wish = re.sub(r"[^A-Za-z0-9_-]", "_", str(getattr(engine, "name", "") or f"{node}_engine"))
        name = unique(wish if wish[0].isalpha() else f"_{wish}", self.engines, engine)
        self.engines[name] = self.engine_spec(name, engine)
        return name

    def engine_spec(self, name: str, engine: EngineSpec | LiveEngine) -> EngineSpec:
        """Return the declaration of an engine; a live one is kept beside it."""
        if isinstance(engine, EngineSpec):
            return engine
        self._live.engines[name] = engine
        return EngineSpec(kind="live")

    def map(self, source: MapLike | None) -> str | None:
        """Return the name of a map, and declare it if it has none yet."""
        if source is None or isinstance(source, str):
            return source
        source = map_value(source)
        known = _name_of(source, self.maps, self._live.maps)
        if known is not None:
            return known
        # A loaded map has an id alone; a declaration without one is named by its source.
        sources = (getattr(source, field, None) for field in ("id", "path", "url", "hub"))
        wish = next(filter(None, sources), "map")
        name = unique(str(wish), self.maps, source)
        self.maps[name] = self.map_spec(name, source)
        return name

    def map_spec(self, name: str, source: MapSpec | TokenizerMap) -> MapSpec:
        """Return the declaration of a map; a loaded one is kept beside it."""
        if isinstance(source, MapSpec):
            return source
        self._live.maps[name] = source
        return MapSpec(id=source.id, hash=source.hash)


def map_value(source: MapLike | object) -> MapSpec | TokenizerMap:
    """Return the declaration of a map, or the loaded map.

    Raises:
        PipelineError: the caller gave something else.
    """
    if isinstance(source, Path):
        return MapSpec(path=str(source))
    if isinstance(source, str):
        return MapSpec.of(source)
    from codec_core.maps import TokenizerMap  # here: most declarations name their maps

    if not isinstance(source, MapSpec | TokenizerMap):
        remedy = "give an id, a path, a `MapSpec`, or a `TokenizerMap`"
        raise PipelineError([Fault("maps", f"{type(source).__name__} is not a map", remedy)])
    return source


def _name_of(given: Any, declared: Mapping[str, Any], live: Mapping[str, Any]) -> str | None:
    """Return the name under which an equal declaration, or the same object, is known."""
    same = (name for name, value in live.items() if value is given)
    equal = (name for name, value in declared.items() if type(value) is type(given) and value == given)
    return next(same, None) or next(equal, None)
