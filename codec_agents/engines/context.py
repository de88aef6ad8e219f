"""The context of an engine's model: the most ids that a prompt and its answer may have together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.stock.handshake import ask
from codec_agents.exceptions import TRANSIENT_STATUSES
from codec_core.exceptions import DECODE_ERRORS

if TYPE_CHECKING:
    from codec_agents.engines.base import GenerationRequest
    from codec_agents.engines.http.engine import HttpEngine

ANSWERED_WITHIN = 10.0
"""Seconds for an answer: servers give it at once, and the request that waits for it has something to do."""

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of the document: some servers list hundreds of adapters, or return a whole chat template."""


class ContextQuestion:
    """Asks a server for its context, once per model."""

    def __init__(self, path: str, read: Callable[[Any, str | None], Any], *, spare: int = 0) -> None:
        """Name the document, and how it is read.

        Args:
            path: where the server describes its models.
            read: given the document and the model's name, returns the ids; whatever is no number counts as
                not told.
            spare: ids of it that a request cannot use.
        """
        self._path = path
        self._read = read
        self._spare = spare
        self._known: dict[str | None, SingleFlight[int | None]] = {}

    async def ask(self, engine: HttpEngine, request: GenerationRequest) -> int | None:
        """Return the context; None where the server does not tell it.

        Raises:
            EngineError: there is no answer now.
        """
        flight: SingleFlight[int | None] = self._known.setdefault(request.model, SingleFlight())
        timeouts = request.timeouts
        # The time for a first id allows for queueing and prefill, of which this needs neither.
        within = min(timeouts.first_id or ANSWERED_WITHIN, ANSWERED_WITHIN)
        bounded = msgspec.structs.replace(
            request, timeouts=msgspec.structs.replace(timeouts, first_id=within)
        )
        return await engine.ask_once(flight, lambda: self._ask(engine, bounded), bounded)

    async def _ask(self, engine: HttpEngine, request: GenerationRequest) -> int | None:
        status, answer = await ask(engine, "GET", self._path, None, request.timeouts, limit=MAX_DOCUMENT)
        if status in TRANSIENT_STATUSES:
            raise engine.status_error(status, answer, self._path, method="GET")
        if status != 200:  # no such document, or none for this key: it would be no other the next time
            return None
        try:
            found = self._read(msgspec.json.decode(answer), request.model)
        except (*DECODE_ERRORS, LookupError, TypeError, AttributeError):
            return None
        told = isinstance(found, int) and not isinstance(found, bool) and found > self._spare
        return found - self._spare if told else None


def of_models(document: Mapping[str, Any], model: str | None) -> Any:
    """Return the context in a list of models: of the one named, or of the one that it is derived from."""
    models = {each["id"]: each for each in document["data"]}
    # SGLang and llama.cpp serve their one model by any name.
    found = models.get(model, document["data"][0]) if model is not None else document["data"][0]
    # vLLM lists an adapter without a context, and names the model below it.
    parent = models.get(found.get("parent") or found.get("root"), {})
    return found.get("max_model_len") or parent.get("max_model_len")


def of_props(document: Mapping[str, Any], _model: str | None) -> Any:
    """Return the context of one place of a llama.cpp server, which divides its whole among them."""
    return document["default_generation_settings"]["n_ctx"]
