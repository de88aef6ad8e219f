"""A Codec server: scripted, transformers, bridge and pipeline back ends behind one ASGI application."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec_agents.server.app import CodecServer, create_app
    from codec_agents.server.backends.backend import Backend, BrokenOffError, Job, ServedModel
    from codec_agents.server.backends.bridge import BridgeBackend
    from codec_agents.server.backends.pipeline import PipelineBackend
    from codec_agents.server.backends.scripted import ScriptedBackend
    from codec_agents.server.gateway.continuation import ReasoningRules
    from codec_agents.server.gateway.server import Affinity, Gateway
    from codec_agents.server.gateway.sqlite_store import SqliteStore
    from codec_agents.server.gateway.store import MemoryStore
    from codec_agents.server.hosting.embedded import EmbeddedServer
    from codec_agents.server.hosting.serving import MissingServerError, serve
    from codec_agents.server.settings import ServerSettings

__all__ = [
    "Affinity",
    "Backend",
    "BridgeBackend",
    "BrokenOffError",
    "CodecServer",
    "EmbeddedServer",
    "Gateway",
    "Job",
    "MemoryStore",
    "MissingServerError",
    "PipelineBackend",
    "ReasoningRules",
    "ScriptedBackend",
    "ServedModel",
    "ServerSettings",
    "SqliteStore",
    "create_app",
    "serve",
]

_MODULES = {
    "codec_agents.server.app": ("CodecServer", "create_app"),
    "codec_agents.server.backends.backend": ("Backend", "BrokenOffError", "Job", "ServedModel"),
    "codec_agents.server.backends.bridge": ("BridgeBackend",),
    "codec_agents.server.backends.pipeline": ("PipelineBackend",),
    "codec_agents.server.backends.scripted": ("ScriptedBackend",),
    "codec_agents.server.gateway.continuation": ("ReasoningRules",),
    "codec_agents.server.gateway.server": ("Affinity", "Gateway"),
    "codec_agents.server.gateway.sqlite_store": ("SqliteStore",),
    "codec_agents.server.gateway.store": ("MemoryStore",),
    "codec_agents.server.hosting.embedded": ("EmbeddedServer",),
    "codec_agents.server.hosting.serving": ("MissingServerError", "serve"),
    "codec_agents.server.settings": ("ServerSettings",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: scripted engines and tests need few modules of a whole server."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
