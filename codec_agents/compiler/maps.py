"""The maps that a declaration names: bundled, cached, built from files, fetched, or told by an engine."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from pathlib import Path

from codec_agents.compiler.engine_maps import EngineMap, map_of_engine
from codec_agents.compiler.hub_maps import hub_endpoint, local_folder, map_of_hub
from codec_agents.compiler.map_files import id_of_name, key_of_id, map_of_file
from codec_agents.compiler.own_templates import Config, own_config
from codec_agents.concurrency.event_loop import run_in_own_loop
from codec_agents.engines.base import Engine
from codec_agents.exceptions import SecretMissingError
from codec_agents.graph.live import LiveObjects
from codec_agents.graph.sources import MapSpec
from codec_agents.graph.spec import PipelineSpec
from codec_agents.references.environment import expand, values_of
from codec_agents.references.secret_texts import hide
from codec_agents.references.unreachable import by_way_of, unreachable
from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map
from codec_core.discovery import DiskMapCache, load_map
from codec_core.exceptions import CodecError
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of

_MAP_SOURCES = (
    "give a map, a tokenizer file (tokenizer.json, tekken.json, .gguf, .model), or a model's folder"
)

CACHE_VARIABLE = "CODEC_CACHE"
"""The environment variable that names the folder for downloaded maps."""


def map_cache_folder() -> Path:
    """Return the folder for downloaded maps: `$CODEC_CACHE`, or `codec/maps` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "codec" / "maps"


class ResourceError(Exception):
    """A name cannot be resolved: what was found, and what to do."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f"{found}; {remedy}")
        self.found = found
        self.remedy = remedy


class Maps:
    """Loads the maps of one declaration."""

    def __init__(self, spec: PipelineSpec, live: LiveObjects, directory: Path) -> None:
        self._spec = spec
        self._live = live
        self._directory = directory
        self.told: dict[tuple[int, str | None], EngineMap | str] = {}
        """By engine and model: the map that the engine names, or why there is none."""

    @cached_property
    def cache(self) -> DiskMapCache:
        """The maps that were downloaded or built before."""
        return DiskMapCache(map_cache_folder())

    def vocabulary(self, name: str) -> Vocabulary:
        """Return the vocabulary of the map that a node names.

        Raises:
            ResourceError: there is no such map, it is damaged, or it has another hash than declared.
        """
        spec = self._spec.map_of(name)
        try:
            found = self._live.maps.get(name) or self._find_map(name, spec)
        except SecretMissingError as error:
            # The message is `found; remedy`.
            found, _, remedy = str(error).partition("; ")
            raise ResourceError(found, remedy) from error
        except (CodecError, OSError) as error:
            if spec.path is not None:
                raise ResourceError(*self._file_fault(spec.path, error)) from error
            # The error names the URL with its `${...}` references expanded, so their values are hidden.
            said = hide(str(error), values_of(spec.url or ""))
            raise ResourceError(said, f"correct the map {name!r}, or name another one") from error
        if spec.hash is not None and found.hash != spec.hash:
            raise ResourceError(
                f"the map {name!r} has the hash {found.hash}, and {spec.hash} is declared",
                "declare the hash of the map that the model was trained with",
            )
        return vocabulary_of(found)

    def of_engine(self, engine: Engine, model: str | None) -> EngineMap:
        """Return the map that an engine names for its model.

        Raises:
            ResourceError: it names none, or one that cannot be loaded.
        """
        # By identity: the resources of the build keep the engine, so no other one gets its number.
        key = (id(engine), model)
        if key not in self.told:
            self.told[key] = map_of_engine(engine, model, self.cache)
        if isinstance(found := self.told[key], str):
            # From the right: the error of an engine inside of it has a remedy of its own.
            said, _, remedy = found.rpartition("; ")
            raise ResourceError(said, remedy)
        return found

    def _find_map(self, name: str, spec: MapSpec) -> TokenizerMap:
        cache = self.cache
        if spec.path is not None:
            # A map of `maps:` has the name that it has there; one that a node names by its path, its file's.
            declared = None if MapSpec.of(name).path else id_of_name(name)
            return map_of_file(self._map_file(spec.path), spec.id or declared, cache)
        # By its hash before anything is fetched: the document is the same wherever it comes from.
        cached = cache.read(spec.hash) if spec.hash is not None else None
        if cached is not None:
            return cached
        if spec.hub is not None:
            return _fetched(f"hf:{spec.hub}", partial(map_of_hub, spec.hub, spec.id, cache), hub_endpoint())
        if spec.url is not None:
            return _fetched(spec.url, partial(load_map, url=expand(spec.url), hash=spec.hash, cache=cache))
        if (map_id := spec.id or name) in BUNDLED_MAPS:
            return bundled_map(map_id)
        if (kept := cache.read(key_of_id(map_id))) is not None:
            return kept
        raise ResourceError(
            f"no map {map_id!r} is bundled or in the cache",
            "name the model's folder, its tokenizer.json or .gguf file as `map:`, or `hf:org/model`; or "
            f"build it once: `codec-agents maps build SOURCE --id {map_id}`; bundled are "
            f"{', '.join(BUNDLED_MAPS)}",
        )

    def own_template(self, name: str) -> Config | None:
        """Return what renders the chat template that a map's model has, where its files hold one.

        Raises:
            DialectError: a file beside the tokenizer cannot be read.
            CodecError: a GGUF file is damaged.
            OSError: a file cannot be read.
        """
        # A loaded map comes without files.
        if name in self._live.maps:
            return None
        spec = self._spec.map_of(name)
        path = self._map_file(spec.path) if spec.path is not None else spec.hub and local_folder(spec.hub)
        return own_config(path or None, self.vocabulary(name), self.cache)

    def template_of(self, told: EngineMap) -> Config | None:
        """Return what renders the chat template of the files that an engine has loaded.

        Raises:
            DialectError: a file beside the tokenizer cannot be read.
            CodecError: a GGUF file is damaged.
            OSError: a file cannot be read.
        """
        return own_config(told.path, vocabulary_of(told.map), self.cache)

    def _map_file(self, path: str) -> Path:
        # Unlike `Path.expanduser`, it leaves the name of an unknown user as it is: there is no such file.
        return self._directory / os.path.expanduser(path)  # noqa: PTH111

    def _file_fault(self, path: str, error: Exception) -> tuple[str, str]:
        """Return the fault of a map that a path names, and its remedy."""
        file = self._map_file(path)
        if isinstance(error, FileNotFoundError):
            remedy = "correct the path, which begins at the pipeline file"
            return f"no file {file.name!r} in {file.parent.absolute()}", remedy
        if isinstance(error, OSError):
            return f"cannot read {str(file)!r}: {error.strerror}", _MAP_SOURCES
        said = str(error)
        return said if str(file) in said else f"{str(file)!r}: {said}", _MAP_SOURCES


ELSEWHERE = (
    "try again, or make it where there is a network, and copy the file: `codec-agents maps build "
    "hf:org/model -o map.json`, or `maps get URL -o map.json`"
)
"""The remedy where a map cannot be fetched."""


def _fetched(
    url: str, fetch: Callable[[], Awaitable[TokenizerMap]], server: str | None = None
) -> TokenizerMap:
    """Return a map from a URL. Errors show the URL as declared, without the values of variables.

    Args:
        url: as it is declared.
        fetch: fetches the map.
        server: the URL of the server that is asked, where `url` does not name it.
    """
    import httpx

    try:
        return run_in_own_loop(fetch)
    except httpx.ConnectError as error:
        what = "the map cannot be fetched" if server is None else f"the map cannot be fetched from {url}"
        raise ResourceError(f"{what}: {unreachable(error, by_way_of(server or url))}", ELSEWHERE) from error
    except httpx.HTTPError as error:
        # Some errors of httpx have no text.
        reason = hide(str(error) or type(error).__name__, values_of(url))
        raise ResourceError(f"the map cannot be fetched from {url}: {reason}", ELSEWHERE) from error
