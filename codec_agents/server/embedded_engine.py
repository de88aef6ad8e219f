"""A scripted model in a real Codec server, inside this process: the engine that needs nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import msgspec

from codec_agents.concurrency.event_loop import may_run_yet, this_loop
from codec_agents.engines.base import FrameStream, GenerationRequest
from codec_agents.engines.codec import CodecEngine
from codec_agents.engines.scripted.engine import ScriptedModel
from codec_agents.engines.scripted.script import Script
from codec_agents.exceptions import EngineError
from codec_agents.server.exchanges import Exchanges
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.server import CodecServer, EmbeddedServer, ScriptedBackend


@dataclass(slots=True)
class _Running:
    """The server and the client of one event loop."""

    backend: ScriptedBackend
    server: EmbeddedServer[CodecServer]
    client: CodecEngine
    served: dict[tuple[str, Vocabulary], str] = field(default_factory=dict)
    """The server's name of each model, by the requested name and the vocabulary."""


class EmbeddedEngine:
    """Starts a Codec server on loopback at its first request, and talks to it over HTTP.

    The server learns a model for every model name and vocabulary that it is asked for. Needs the extra
    `server`; keyword arguments beyond the model are those of `CodecEngine`.
    """

    provider = "codec"
    continues = True
    logprob_mode = "processed"
    checks_answers = True
    exchanges: ClassVar[type[Exchanges]] = Exchanges
    """Makes what counts the server's requests. Tests have a subclass that keeps them."""

    def __init__(self, model: ScriptedModel | Script, *, name: str = "embedded", **client: Any) -> None:
        self.name = name
        self.model = model if isinstance(model, ScriptedModel) else ScriptedModel(script=model)
        self._client = client
        CodecEngine("http://127.0.0.1", **client)  # what it does not know fails now
        self._running: dict[object, _Running] = {}
        """A server for each event loop: neither it nor its connections can be used from another one."""
        self._starting: dict[object, anyio.Lock] = {}

    @property
    def app(self) -> CodecServer | None:
        """The application of the server that started last; None before the first request."""
        running = list(self._running.values())
        return running[-1].server.app if running else None

    @asynccontextmanager
    async def stream(self, request: GenerationRequest) -> AsyncIterator[FrameStream]:
        """Send a request; leaving the context closes it, and the server notices.

        Raises:
            EngineError: as `CodecEngine` does.
        """
        running = await self._started()
        served = self._serve(running, request)
        async with running.client.stream(msgspec.structs.replace(request, model=served)) as frames:
            yield frames

    async def aclose(self) -> None:
        """Stop the server and close the connections."""
        self._starting.pop(this_loop(), None)
        if (running := self._running.pop(this_loop(), None)) is not None:
            try:
                await running.client.aclose()
            finally:  # the server ends also where this is cancelled; no other call knows it any more
                await running.server.__aexit__(None, None, None)

    async def prepare(self, request: GenerationRequest) -> None:
        """Start the server, and open a connection to it."""
        running = await self._started()
        await running.client.prepare(request)

    async def start(self) -> None:
        """Start the server now, so that the first request does not wait for it."""
        await self._started()

    async def _started(self) -> _Running:
        loop = this_loop()
        if (running := self._running.get(loop)) is not None:  # a lock would let other tasks run first
            return running
        async with self._starting.setdefault(loop, anyio.Lock()):  # several requests may be the first one
            if (running := self._running.get(loop)) is None:
                for ended in [known for known in list(self._running) if not may_run_yet(known)]:
                    self._running.pop(ended, None)
                    self._starting.pop(ended, None)
                running = self._running[loop] = await self._start()
            return running

    async def _start(self) -> _Running:
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
        return _Running(backend, server, client)

    def _serve(self, running: _Running, request: GenerationRequest) -> str:
        """Return the name under which the server knows this model in this vocabulary."""
        name, vocabulary = request.model or "scripted", request.vocabulary
        # By the object: maps made in memory may share an id, and views of one map have other control tokens.
        served = running.served.get((name, vocabulary))
        if served is None:
            used = {model.name for model in running.backend.models}
            further = (f"{name}@{vocabulary.id}{end}" for end in chain([""], map("-{}".format, count(2))))
            served = next(each for each in chain([name], further) if each not in used)
            running.served[name, vocabulary] = served
            running.backend.add(served, vocabulary, self.model)
        return served
