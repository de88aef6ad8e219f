"""The adapter that the name of a model stands for at SGLang, which takes the two apart.

Its `/generate` takes an adapter by `lora_path` alone, and its completions take `model: base:adapter` as well.
Both answer as the base model to every other name, that of an adapter included, without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.context import MAX_DOCUMENT
from codec_agents.engines.stock.handshake import ask
from codec_agents.exceptions import TRANSIENT_STATUSES
from codec_core.exceptions import DECODE_ERRORS

if TYPE_CHECKING:
    from codec_agents.engines.base import GenerationRequest
    from codec_agents.engines.http.engine import HttpEngine

MODELS = "/v1/models"


class Adapters:
    """Asks a server once for each name of a model whether it stands for an adapter."""

    def __init__(self) -> None:
        self._known: dict[str, SingleFlight[str | None]] = {}
        self._found: dict[str | None, str | None] = {}

    async def find(self, engine: HttpEngine, request: GenerationRequest) -> None:
        """Find out what the name of a request's model stands for.

        Raises:
            EngineError: there is no answer now.
        """
        model = request.model
        if model is None or model in self._found:
            return
        flight = self._known.setdefault(model, SingleFlight())
        self._found[model] = await engine.ask_once(flight, lambda: _ask(engine, model, request), request)

    def of(self, request: GenerationRequest) -> str | None:
        """Return the adapter that answers a request; None for the base model."""
        return self._found.get(request.model)


async def _ask(engine: HttpEngine, model: str, request: GenerationRequest) -> str | None:
    status, answer = await ask(engine, "GET", MODELS, None, request.timeouts, limit=MAX_DOCUMENT)
    if status in TRANSIENT_STATUSES:
        raise engine.status_error(status, answer, MODELS, method="GET")
    try:
        return adapter_of(msgspec.json.decode(answer), model) if status == 200 else None
    except (*DECODE_ERRORS, LookupError, TypeError, AttributeError):  # no list of models: no adapters
        return None


def adapter_of(document: Mapping[str, Any], model: str) -> str | None:
    """Return the adapter that a name stands for in a list of models, in which an adapter has a `parent`."""
    parents = {each["id"]: each.get("parent") for each in document["data"]}
    if model in parents:
        return None if parents[model] is None else model
    # The server's own rule: first behind the whole name of its model, which may have a colon itself.
    bases = sorted((name for name, parent in parents.items() if parent is None), key=len, reverse=True)
    base = next((name for name in bases if model.startswith(f"{name}:")), None)
    adapter = model.partition(":")[2] if base is None else model[len(base) + 1 :]
    return adapter.strip() or None
