"""The adapter that the name of a model stands for at SGLang, which takes the two apart.

Its `/generate` takes an adapter by `lora_path` alone, and its completions take `model: base:adapter` as well.
Both answer as the base model to every other name, that of an adapter included, without an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

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

_COLON = re.compile(":(?!//)")


class Meaning(NamedTuple):
    """The adapter that a name stands for.

    Fields:
        adapter: None for the base model.
        listed: whether the server's list tells it. The adapter of any other name may be loaded later.
    """

    adapter: str | None
    listed: bool


class Adapters:
    """Asks a server whether the name of a model stands for an adapter, until its list tells."""

    def __init__(self) -> None:
        self._asked: dict[str, SingleFlight[Meaning]] = {}
        self._found: dict[str | None, Meaning] = {}

    async def find(self, engine: HttpEngine, request: GenerationRequest) -> None:
        """Find out what the name of a request's model stands for.

        Raises:
            EngineError: there is no answer now.
        """
        model = request.model
        if model is None or ((found := self._found.get(model)) is not None and found.listed):
            return
        flight = self._asked.setdefault(model, SingleFlight())
        self._found[model] = await engine.ask_once(flight, lambda: _ask(engine, model, request), request)
        # Those that waited for the answer have it; the next request asks anew if it was not listed.
        if self._asked.get(model) is flight:
            del self._asked[model]

    def of(self, request: GenerationRequest) -> str | None:
        """Return the adapter that answers a request; None for the base model."""
        found = self._found.get(request.model)
        return None if found is None else found.adapter


async def _ask(engine: HttpEngine, model: str, request: GenerationRequest) -> Meaning:
    status, answer = await ask(engine, "GET", MODELS, None, request.timeouts, limit=MAX_DOCUMENT)
    if status in TRANSIENT_STATUSES:
        raise engine.status_error(status, answer, MODELS, method="GET")
    if status == 200:
        with suppress(*DECODE_ERRORS, LookupError, TypeError, AttributeError):
            return meaning_of(msgspec.json.decode(answer), model)
    # Without a list the name alone tells: an adapter that is none is refused by the server.
    return Meaning(_behind_colon(model), listed=False)


def meaning_of(document: Mapping[str, Any], model: str) -> Meaning:
    """Return what a name stands for by a list of models, in which an adapter has a `parent`.

    Raises:
        LookupError: the document lists no models.
    """
    parents = {each["id"]: each.get("parent") for each in document["data"]}
    if not parents:
        raise LookupError("there are no models")
    if model in parents:
        return Meaning(None if parents[model] is None else model, listed=True)
    # The server's own rule: behind the whole name of its model, which may have a colon itself.
    bases = sorted((name for name, parent in parents.items() if parent is None), key=len, reverse=True)
    base = next((name for name in bases if model.startswith(f"{name}:")), None)
    if base is not None:
        return Meaning(model[len(base) + 1 :].strip() or None, listed=True)
    # Behind another name only an adapter that is there: `qwen2.5:7b` may be a name for the base model.
    adapter = _behind_colon(model)
    listed = adapter is not None and parents.get(adapter) is not None
    return Meaning(adapter if listed else None, listed)


def _behind_colon(model: str) -> str | None:
    """Return what is behind the first colon that ends no scheme (`s3://`)."""
    found = _COLON.search(model)
    return None if found is None else model[found.end() :].strip() or None
