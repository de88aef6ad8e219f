"""A Codec server: scripted, transformers, bridge and pipeline back ends behind one ASGI application."""

from codec_agents.server.app import CodecServer, create_app
from codec_agents.server.backends.backend import Backend, BrokenOffError, Job, ServedModel
from codec_agents.server.backends.bridge import BridgeBackend
from codec_agents.server.backends.pipeline import PipelineBackend
from codec_agents.server.backends.scripted import ScriptedBackend
from codec_agents.server.hosting.embedded import EmbeddedServer
from codec_agents.server.hosting.serving import MissingServerError, serve
from codec_agents.server.settings import ServerSettings

__all__ = [
    "Backend",
    "BridgeBackend",
    "BrokenOffError",
    "CodecServer",
    "EmbeddedServer",
    "Job",
    "MissingServerError",
    "PipelineBackend",
    "ScriptedBackend",
    "ServedModel",
    "ServerSettings",
    "create_app",
    "serve",
]
