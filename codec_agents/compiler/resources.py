"""The resources that a declaration names and a build loads: maps, engines and callables.

Each is loaded once a build. A name that leads nowhere raises `ResourceError`, which the build turns into a
fault at the place where the name stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio

from codec_agents.compiler.declared_dialects import FoundDialect, own_dialect
from codec_agents.compiler.engine_maps import EngineMap
from codec_agents.compiler.maps import Maps, ResourceError
from codec_agents.concurrency.event_loop import run_in_own_loop
from codec_agents.dialects import BoundDialect, derive_dialect, get_dialect
from codec_agents.engines.base import Engine
from codec_agents.engines.checked import require_engine
from codec_agents.engines.factory import make_engine
from codec_agents.engines.measured import Measured, loads_of
from codec_agents.engines.pool import EnginePool
from codec_agents.exceptions import (
    CodecAgentsError,
    DialectError,
    ReferenceRefusedError,
    ToolDefinitionError,
)
from codec_agents.faults import Fault, suggest
from codec_agents.graph.chat import Chat
from codec_agents.graph.checks.nodes import DECLARE_ENGINE, DECLARE_SERVER
from codec_agents.graph.kinds import Asking
from codec_agents.graph.live import LiveObjects, unique
from codec_agents.graph.policy import OVERFLOW_NAMES, Policy
from codec_agents.graph.servers import McpSpec, server_of
from codec_agents.graph.sources import LOCAL_KINDS, EngineSpec
from codec_agents.graph.spec import Nested, PipelineSpec
from codec_agents.references.callables import Importer, is_reference
from codec_agents.references.environment import expand, values_of
from codec_agents.references.programs import allowed_command
from codec_agents.references.secret_texts import hide
from codec_agents.tools.mcp import LIBRARY_REMEDY, NEEDS_LIBRARY
from codec_agents.tools.mcp_servers import ToolServer
from codec_agents.tools.tool import Tool, Toolset, make_tool
from codec_core.exceptions import CodecError
from codec_core.vocabulary import Vocabulary, vocabulary_of


class Resources:
    """Loads what one declaration names, each resource once."""

    def __init__(self, spec: PipelineSpec, live: LiveObjects, directory: Path | None) -> None:
        self._spec = spec
        self._live = live
        # Without one, nothing that is beside the declaration is imported or started.
        self._directory = directory
        self.directory = directory or Path()
        """The folder of the declaration, to which relative paths refer."""
        self._importer = Importer(directory, spec.imports)
        self._engines: dict[tuple[str, str, int], Engine] = {}
        self._dialects: dict[str, FoundDialect] = {}
        # By map, dialect, and whether the prompt is a chat: each node asks several times during a build.
        self._asked: dict[object, tuple[FoundDialect, Vocabulary]] = {}
        self._maps = Maps(spec, live, self.directory)
        # By identity: the build keeps the engines, and another pipeline inside may have one of the same name.
        self._slots: dict[int, anyio.CapacityLimiter] = {}
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
        # Shared, not copied: one engine has one pool of connections, one limit and one set of measurements,
        # whichever pipeline names it. Dialects and named maps are its own: its names may mean others.
        inner._engines, inner._slots, inner.own_engines = self._engines, self._slots, self.own_engines
        inner._measured = self._measured
        inner._maps.told = self._maps.told
        inner._servers = self._servers
        return inner

    # --- maps ---

    def vocabulary(self, name: str) -> Vocabulary:
        """Return the vocabulary of the map that a node names.

        Raises:
            ResourceError: there is no such map, it is damaged, or it has another hash than declared.
        """
        return self._maps.vocabulary(name)

    def vocabulary_of(self, node: Asking) -> Vocabulary:
        """Return the vocabulary of a node's map; of one that names none, its engine is asked.

        Raises:
            ResourceError: there is no such map, or the engine tells none.
        """
        return self.vocabulary(node.map) if node.map is not None else vocabulary_of(self._told_map(node).map)

    def _told_map(self, node: Asking) -> EngineMap:
        spec = self._spec.engine_of(node.engine)
        return self._maps.of_engine(self.engine(node.engine), node.model or (spec.model if spec else None))

    def compare_template(self, bound: BoundDialect, node: Asking, place: str) -> Fault | None:
        """Return a warning if the chat template of a node's model writes otherwise than its dialect."""
        if not isinstance(node.prompt, Chat) or node.prompt.template == "engine":
            return None
        maps = self._maps
        try:
            config = (
                maps.template_of(self._told_map(node)) if node.map is None else maps.own_template(node.map)
            )
        # A warning: the template is not needed for a run, whose prompts the dialect writes.
        except (CodecError, DialectError, OSError) as error:
            return Fault(place, f"the chat template of its map cannot be read: {error}", "", "warning")
        if config is None:
            return None
        from codec_agents.compiler.template_check import template_fault

        return template_fault(bound, config, node.prompt, place=place, cache=maps.cache)

    # --- engines ---

    def engine(self, name: str | None) -> Engine:
        """Return the engine that a node names.

        Raises:
            ResourceError: there is no such engine, or what it needs is not there.
        """
        found = self._spec.engine_name(name)
        spec = self._spec.engine_of(name)
        if found is None or spec is None:
            raise ResourceError(f"there is no engine {name!r}", DECLARE_ENGINE)
        if spec.kind == "live" and found in self._live.engines:
            engine: Engine = self._live.engines[found]
            try:
                require_engine(engine)
            except TypeError as error:
                raise ResourceError(str(error), "see `codec_agents.engines.base.Engine`") from error
            return engine
        # A pipeline inside a node may declare another engine under the same name. Options may hold objects,
        # which JSON cannot.
        key = (found, spec.model_dump_json(fallback=repr), id(self._live.scripts.get(found)))
        if key not in self._engines:
            self._engines[key] = self._make_engine(found, spec)
            self.own_engines[unique(found, self.own_engines, None)] = self._engines[key]
        return self._engines[key]

    def engine_slots(self, name: str | None, policy: Policy) -> anyio.CapacityLimiter | None:
        """Return the limiter of concurrent requests to an engine; all nodes that use the engine share it."""
        spec = self._spec.engine_of(name)
        bound = (spec.concurrency if spec else None) or policy.concurrency
        if bound is None:
            return None
        slots = self._slots.setdefault(id(self.engine(name)), anyio.CapacityLimiter(bound))
        # Of the bounds of several nodes the lowest: what they share cannot keep one of them to less.
        slots.total_tokens = min(slots.total_tokens, bound)
        return slots

    def measured(self, name: str | None) -> Measured:
        """Return what is measured of an engine; all nodes that use the engine share it."""
        engine = self.engine(name)
        if id(engine) not in self._measured:
            self._measured[id(engine)] = Measured(loads_of(engine))
        return self._measured[id(engine)]

    def _make_engine(self, name: str, spec: EngineSpec) -> Engine:
        # Options may hold references, such as a proxy with a password; errors must not show their values. The
        # client hides the key itself.
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
            # Errors of this package are `found; remedy`.
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
        # Without a map the engine is asked for that of its model.
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
                # Errors of this package are `found; remedy`.
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
            raise ResourceError(f"there is no MCP server {name!r}", DECLARE_SERVER)
        key = (name, spec.model_dump_json())
        if key not in self._servers:
            try:
                self._servers[key] = self._ask_server(name, spec)
            # Kept: each node that names the server would wait for its time-out again.
            except ResourceError as error:
                self._servers[key] = error
        found = self._servers[key]
        if isinstance(found, ResourceError):
            raise found
        return found

    def _ask_server(self, name: str, spec: McpSpec) -> ToolServer:
        try:
            # Before anything starts: a file alone must not run programs.
            command = spec.command and allowed_command(spec.command, self._spec.programs, self._importer)
            if find_spec("mcp") is None:
                raise ResourceError(NEEDS_LIBRARY, LIBRARY_REMEDY)
            server = ToolServer(name, spec, command, self._directory)
            run_in_own_loop(server.ask)
            # Asked now, so that a tool of `only` that the server does not offer is a fault of the build.
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
        # Live objects come first: their names are no references.
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
        # Neither a reference nor a live object: most likely one of the two names, misspelt.
        if not is_reference(reference) and reference not in self._live.callables:
            remedy = f"{suggest(reference, OVERFLOW_NAMES, 'policies')}; or write `module:name` of a function"
            raise ResourceError(f"there is no overflow policy {reference!r}", remedy)
        found = self.callable(reference)
        if not callable(found):
            raise ResourceError(f"{reference!r} is a {type(found).__name__}", "name a function")
        return found
