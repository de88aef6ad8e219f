"""A scripted model behind a real Codec server, inside this process: the engine that needs nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import msgspec
from anyio.lowlevel import current_token

from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.scripted.engine import ScriptedModel
from codec_agents.engines.scripted.script import Script
from codec_agents.exceptions import EngineError
from codec_agents.server.exchanges import Exchanges

if TYPE_CHECKING:
    from codec_agents.server import CodecServer, EmbeddedServer, ScriptedBackend


@dataclass(slots=True)
class _Running:
    """What belongs to one event loop."""

    loop: object
    backend: ScriptedBackend
    server: EmbeddedServer[CodecServer]
    client: CodecEngine


class EmbeddedEngine:
    """Starts a Codec server on loopback at its first request, and talks to it over HTTP.

    The server learns a model for every model name and vocabulary that it is asked for. Needs the extra
    `server`; keyword arguments beyond the model are those of `CodecEngine`.
    """

    provider = "codec"
    continues = True
    exchanges: ClassVar[type[Exchanges]] = Exchanges
    """Makes what counts the server's requests. Tests have a subclass that keeps them."""

    def __init__(self, model: ScriptedModel | Script, *, name: str = "embedded", **client: Any) -> None:
        self.name = name
        self.model = model if isinstance(model, ScriptedModel) else ScriptedModel(script=model)
        self._client = client
        CodecEngine("http://127.0.0.1", **client)  # what it does not know fails now
        self._running: _Running | None = None
        self._starting = anyio.Lock()

    @property
    def app(self) -> CodecServer | None:
        """The server's application, with the exchanges it has seen; None before the first request."""
        return None if self._running is None else self._running.server.app

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Send a request; leaving the context closes it, and the server notices.

        Raises:
            EngineError: as `CodecEngine` does.
        """
        running = await self._started()
        served = self._serve(running.backend, request)
        async with running.client.stream(msgspec.structs.replace(request, model=served)) as frames:
            yield frames

    async def aclose(self) -> None:
        """Stop the server and close the connections."""
        if self._running is None:
            return
        running, self._running = self._running, None
        if running.loop == current_token():
            await running.client.aclose()
            await running.server.__aexit__(None, None, None)

    async def prepare(self, request: GenerationRequest) -> None:
        """Start the server, and open a connection to it."""
        running = await self._started()
        await running.client.prepare(request)

    async def start(self) -> None:
        """Start the server now, so that the first request does not wait for it."""
        await self._started()

    async def _started(self) -> _Running:
        loop = current_token()
        if self._running is not None and self._running.loop == loop:  # a lock would let others run first
            return self._running
        async with self._starting:  # several requests may be the first one
            if self._running is None or self._running.loop != loop:
                self._running = await self._start(loop)
            return self._running

    async def _start(self, loop: object) -> _Running:
        from codec_agents.server import EmbeddedServer, ScriptedBackend, create_app
        from codec_agents.server.hosting.serving import MissingServerError, require_uvicorn

        try:
            require_uvicorn()
        except MissingServerError as error:  # only now: a pipeline that is checked or drawn needs no server
            raise EngineError(self.name, str(error)) from error
        backend = ScriptedBackend()
        server = EmbeddedServer(create_app(backend, exchanges=self.exchanges()))
        client = CodecEngine(server.url, name=self.name, **self._client)
        await server.__aenter__()
        return _Running(loop, backend, server, client)

    def _serve(self, backend: ScriptedBackend, request: GenerationRequest) -> str:
        """Return the name under which the server knows this model in this vocabulary."""
        name = request.model or "scripted"
        known = {model.name: model.vocabulary for model in backend.models}
        if name in known and known[name] is not request.vocabulary:
            name = f"{name}@{request.vocabulary.id}"
        if name not in known:
            backend.add(name, request.vocabulary, self.model)
        return name
