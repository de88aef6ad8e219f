"""The resources that a declaration names and a build loads: maps, engines and callables.

Each is loaded once a build. A name that leads nowhere raises `ResourceError`, which the build turns into a
fault at the place where the name stands.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from codec_agents.compiler.declared_dialects import FoundDialect, own_dialect
from codec_agents.compiler.engine_maps import map_of_engine
from codec_agents.compiler.hub_maps import local_folder, map_of_hub
from codec_agents.compiler.map_files import id_of_name, key_of_id, map_of_file
from codec_agents.compiler.own_templates import Config, own_config
from codec_agents.concurrency.event_loop import run_in_own_loop
from codec_agents.dialects import BoundDialect, derive_dialect, get_dialect
from codec_agents.engines.base import Engine
from codec_agents.engines.checked import require_engine
from codec_agents.engines.factory import make_engine
from codec_agents.engines.measured import Measured
from codec_agents.engines.pool import EnginePool
from codec_agents.exceptions import (
    CodecAgentsError,
    DialectError,
    ReferenceRefusedError,
    SecretMissingError,
    ToolDefinitionError,
)
from codec_agents.faults import Fault, suggest
from codec_agents.graph.chat import Chat
from codec_agents.graph.kinds import Asking
from codec_agents.graph.live import LiveObjects, unique
from codec_agents.graph.policy import OVERFLOW_NAMES, Policy
from codec_agents.graph.servers import McpSpec, server_of
from codec_agents.graph.sources import LOCAL_KINDS, EngineSpec, MapSpec
from codec_agents.graph.spec import Nested, PipelineSpec
from codec_agents.references.callables import Importer, is_reference
from codec_agents.references.environment import expand, hide, values_of
from codec_agents.references.programs import allowed_command
from codec_agents.tools.mcp_servers import ToolServer
from codec_agents.tools.tool import Tool, Toolset, make_tool
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


class Resources:
    """Loads what one declaration names, each resource once."""

    def __init__(self, spec: PipelineSpec, live: LiveObjects, directory: Path | None) -> None:
        self._spec = spec
        self._live = live
        self._directory = directory
        self.directory = directory or Path()
        """The folder of the declaration, to which relative paths refer."""
        self._importer = Importer(directory, spec.imports)
        self._engines: dict[tuple[str, str, int], Engine] = {}
        self._dialects: dict[str, FoundDialect] = {}
        # By map, dialect, and whether the prompt is a chat: each node asks several times during a build.
        self._asked: dict[object, tuple[FoundDialect, Vocabulary]] = {}
        self._told: dict[tuple[str | None, str | None], TokenizerMap | str] = {}
        """By engine and model: the map that the engine names, or why there is none."""
        self._slots: dict[str, anyio.CapacityLimiter] = {}
        self._measured: dict[int, Measured] = {}
        self.own_engines: dict[str, Engine] = {}
        """The engines that were created here, and that the plan closes."""
        self._servers: dict[tuple[str, str], ToolServer | ResourceError] = {}

    def inside(self, node: str) -> Resources:
        """Return the resources of the pipeline inside a node; engines of the same name are the same."""
        nested = self._spec.nodes[node]
        assert isinstance(nested, Nested)
        live = self._live.within(node, engines=nested.body.engines, maps=nested.body.maps)
        inner = Resources(self._spec.body_of(node), live, self._directory)
        inner._engines, inner._slots, inner.own_engines = self._engines, self._slots, self.own_engines
        inner._measured = self._measured
        inner._servers = self._servers
        return inner

    # --- maps ---

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

    def vocabulary_of(self, node: Asking) -> Vocabulary:
        """Return the vocabulary of a node's map; of one that names none, its engine is asked.

        Raises:
            ResourceError: there is no such map, or the engine tells none.
        """
        if node.map is not None:
            return self.vocabulary(node.map)
        key = (node.engine, node.model)
        if key not in self._told:
            spec = self._spec.engine_of(node.engine)
            model = node.model or (spec.model if spec else None)
            cache = DiskMapCache(map_cache_folder())
            self._told[key] = map_of_engine(self.engine(node.engine), model, cache)
        if isinstance(found := self._told[key], str):
            said, _, remedy = found.rpartition("; ")
            raise ResourceError(said, remedy)
        return vocabulary_of(found)

    def _find_map(self, name: str, spec: MapSpec) -> TokenizerMap:
        cache = DiskMapCache(map_cache_folder())
        if spec.path is not None:
            declared = None if MapSpec.of(name).path else id_of_name(name)
            return map_of_file(self._map_file(spec.path), spec.id or declared, cache)
        cached = cache.read(spec.hash) if spec.hash is not None else None
        if cached is not None:
            return cached
        if spec.hub is not None:
            return _fetched(f"hf:{spec.hub}", partial(map_of_hub, spec.hub, spec.id, cache))
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
        if name in self._live.maps:
            return None
        spec = self._spec.map_of(name)
        path = self._map_file(spec.path) if spec.path is not None else spec.hub and local_folder(spec.hub)
        return own_config(path or None, self.vocabulary(name), DiskMapCache(map_cache_folder()))

    def compare_template(self, bound: BoundDialect, node: Asking, place: str) -> Fault | None:
        """Return a warning if the chat template of a node's model writes otherwise than its dialect."""
        if not isinstance(node.prompt, Chat) or node.prompt.template == "engine" or node.map is None:
            return (
                None  # files that only the engine names are its own: it is asked for ids, not for a template
            )
        try:
            config = self.own_template(node.map)
        except (CodecError, DialectError, OSError) as error:
            return Fault(place, f"the chat template of its map cannot be read: {error}", "", "warning")
        if config is None:
            return None
        from codec_agents.compiler.template_check import template_fault

        cache = DiskMapCache(map_cache_folder())
        return template_fault(bound, config, node.prompt, place=place, cache=cache)

    def _map_file(self, path: str) -> Path:
        return self.directory / Path(path).expanduser()

    def _file_fault(self, path: str, error: Exception) -> tuple[str, str]:
        """Return the fault of a map that a path names, and its remedy."""
        file = self._map_file(path)
        if isinstance(error, FileNotFoundError):
            remedy = "correct the path, which begins at the pipeline file"
            return f"no file {file.name!r} in {file.parent.absolute()}", remedy
        if isinstance(error, OSError):
            return f"cannot read {str(file)!r}: {error.strerror}", _MAP_SOURCES
        return f"{str(file)!r}: {error}", _MAP_SOURCES

    # --- engines ---

    def engine(self, name: str | None) -> Engine:
        """Return the engine that a node names.

        Raises:
            ResourceError: there is no such engine, or what it needs is not there.
        """
        found = self._spec.engine_name(name)
        spec = self._spec.engine_of(name)
        if found is None or spec is None:
            raise ResourceError(f"there is no engine {name!r}", "declare it under `engines`")
        if spec.kind == "live" and found in self._live.engines:
            engine: Engine = self._live.engines[found]
            try:
                require_engine(engine)
            except TypeError as error:
                raise ResourceError(str(error), "see `codec_agents.engines.base.Engine`") from error
            return engine
        # A pipeline inside a node may declare another engine under the same name.
        key = (found, spec.model_dump_json(fallback=repr), id(self._live.scripts.get(found)))
        if key not in self._engines:
            self._engines[key] = self._make_engine(found, spec)
            self.own_engines[unique(found, self.own_engines, None)] = self._engines[key]
        return self._engines[key]

    def engine_slots(self, name: str | None, policy: Policy) -> anyio.CapacityLimiter | None:
        """Return the limiter of concurrent requests to an engine; all nodes that use the engine share it."""
        found, spec = self._spec.engine_name(name), self._spec.engine_of(name)
        bound = (spec.concurrency if spec else None) or policy.concurrency
        if found is None or bound is None:
            return None
        if found not in self._slots:
            self._slots[found] = anyio.CapacityLimiter(bound)
        return self._slots[found]

    def measured(self, name: str | None) -> Measured:
        """Return what is measured of an engine; all nodes that use the engine share it."""
        return self._measured.setdefault(id(self.engine(name)), Measured())

    def _make_engine(self, name: str, spec: EngineSpec) -> Engine:
        texts = {key: value for key, value in spec.options.items() if isinstance(value, str)}
        told = (*spec.addresses, *spec.headers.values(), *texts.values())
        secrets = [value for text in told for value in values_of(text)]
        try:
            make = partial(
                make_engine,
                spec.kind,
                api_key=None if spec.api_key is None else expand(spec.api_key),
                headers={key: expand(value) for key, value in spec.headers.items()},
                format=spec.format,
                compression=spec.compression,
                script=self._script(name, spec),
                ids_a_second=spec.ids_a_second,
                ids_a_frame=spec.ids_a_frame,
                first_id_after=spec.first_id_after,
                seed=spec.seed,
                options={**spec.options, **{key: expand(text) for key, text in texts.items()}},
                secrets=secrets,
            )
            if not spec.urls:
                return make(name=name, url=None if spec.url is None else expand(spec.url))
            urls = enumerate(map(expand, spec.urls), 1)
            return EnginePool([make(name=f"{name}[{n}]", url=url) for n, url in urls], name=name)
        except (ValueError, CodecAgentsError, ImportError) as error:
            found, _, remedy = hide(str(error), secrets).partition("; ")
            raise ResourceError(found, remedy or f"correct the engine {name!r}") from error

    def _script(self, name: str, spec: EngineSpec) -> Any:
        if spec.kind not in LOCAL_KINDS or not isinstance(spec.script, str):
            return spec.script
        if name in self._live.scripts:
            return self._live.scripts[name]
        return self.callable(spec.script) if is_reference(spec.script) else spec.script

    # --- dialects ---

    def dialect(self, name: str) -> FoundDialect:
        """Return the dialect that a node names: one of the declaration's own, or a known one.

        Raises:
            DialectError: there is none of this name, or what is declared is none.
            ResourceError: a reference in it leads nowhere.
        """
        own = self._spec.dialects.get(name)
        if own is None:
            return FoundDialect(get_dialect(name), "named in the declaration")
        if name not in self._dialects:
            self._dialects[name] = own_dialect(name, own, self.directory, self.callable)
        return self._dialects[name]

    def asking(self, node: Asking) -> tuple[FoundDialect, Vocabulary]:
        """Return the dialect of a node that asks a model, and its vocabulary with control markers.

        Raises:
            DialectError: the dialect is unknown, or the map names no family and the prompt needs one.
            ResourceError: the map cannot be loaded, or a reference in the dialect leads nowhere.
        """
        unnamed = (node.engine, node.model) if node.map is None else None
        key = (node.map, unnamed, node.dialect, isinstance(node.prompt, Chat))
        if key not in self._asked:
            vocabulary = self.vocabulary_of(node)
            found = self._dialect_of(node, vocabulary)
            self._asked[key] = found, vocabulary.with_control(found.dialect.all_markers())
        return self._asked[key]

    def _dialect_of(self, node: Asking, vocabulary: Vocabulary) -> FoundDialect:
        if node.dialect is not None:
            return self.dialect(node.dialect)
        try:
            return FoundDialect(*derive_dialect(vocabulary))
        except DialectError:
            if isinstance(node.prompt, Chat):
                raise
            reason = "the map names no family, and the prompt is given as pieces"
            return FoundDialect(get_dialect("plain"), reason)

    # --- tools ---

    def tools(self, reference: str) -> list[Tool]:
        """Return the tools that an entry of a node's `tools` names: a callable, a toolset, an MCP server's.

        Raises:
            ResourceError: there is no such callable or server, or it may not be had.
        """
        named = server_of(reference)
        if named is None:
            found: Any = self.callable(reference)
            try:
                return list(found) if isinstance(found, Toolset) else [make_tool(found)]
            except ToolDefinitionError as error:
                said, _, remedy = str(error).partition("; ")
                raise ResourceError(said, remedy or "give a function with annotated parameters") from error
        name, tool = named
        tools = self._server(name).tools()
        if tool is None:
            return list(tools)
        if (one := tools.get(tool)) is None:
            names = ", ".join(tools.names) or "none"
            raise ResourceError(f"the MCP server {name!r} has no tool {tool!r}", f"its tools are {names}")
        return [one]

    @property
    def servers(self) -> tuple[ToolServer, ...]:
        """The MCP servers whose tools were asked for."""
        return tuple(server for server in self._servers.values() if isinstance(server, ToolServer))

    def _server(self, name: str) -> ToolServer:
        """Return a server that has listed its tools; one that cannot be started is tried only once."""
        spec = self._spec.mcp.get(name)
        if spec is None:
            raise ResourceError(f"there is no MCP server {name!r}", "declare it under `mcp`")
        key = (name, spec.model_dump_json())
        if key not in self._servers:
            try:
                self._servers[key] = self._ask_server(name, spec)
            except ResourceError as error:
                self._servers[key] = error
        found = self._servers[key]
        if isinstance(found, ResourceError):
            raise found
        return found

    def _ask_server(self, name: str, spec: McpSpec) -> ToolServer:
        try:
            command = spec.command and allowed_command(spec.command, self._spec.programs, self._importer)
            server = ToolServer(name, spec, command, self._directory)
            run_in_own_loop(server.ask)
            server.tools()
        except ReferenceRefusedError as error:
            raise ResourceError(f"{error.reference!r}: {error.reason}", error.remedy) from error
        except CodecAgentsError as error:
            raise ResourceError(str(error), f"correct `mcp.{name}`, or start the server") from error
        return server

    # --- callables ---

    def callable(self, reference: str) -> Callable[..., Any]:
        """Return what a reference names.

        Raises:
            ResourceError: it may not be imported, or is not there.
        """
        if reference in self._live.callables:
            found: Callable[..., Any] = self._live.callables[reference]
            return found
        try:
            resolved: Callable[..., Any] = self._importer.resolve(reference)
        except ReferenceRefusedError as error:
            raise ResourceError(f"{error.reference!r}: {error.reason}", error.remedy) from error
        return resolved

    def overflow(self, reference: str) -> Callable[..., Any]:
        """Return the function that an `on_overflow` names.

        Raises:
            ResourceError: there is none, or what is there cannot be called.
        """
        if not is_reference(reference) and reference not in self._live.callables:
            remedy = f"{suggest(reference, OVERFLOW_NAMES, 'policies')}; or write `module:name` of a function"
            raise ResourceError(f"there is no overflow policy {reference!r}", remedy)
        found = self.callable(reference)
        if not callable(found):
            raise ResourceError(f"{reference!r} is a {type(found).__name__}", "name a function")
        return found


def _fetched(url: str, fetch: Callable[[], Awaitable[TokenizerMap]]) -> TokenizerMap:
    """Return a map from a URL. Errors show the URL as declared, without the values of variables."""
    import httpx

    try:
        return run_in_own_loop(fetch)
    except httpx.HTTPError as error:
        reason = hide(str(error) or type(error).__name__, values_of(url))
        raise ResourceError(
            f"the map cannot be fetched from {url}: {reason}",
            "try again, or make it where there is a network, and copy the file: `codec-agents maps build "
            "hf:org/model -o map.json`, or `maps get URL -o map.json`",
        ) from error
