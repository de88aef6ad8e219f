"""Before the first request: does the engine's tokenizer agree with the node's map?

A difference is silent otherwise: every id is valid on both sides and means something else. The probe holds
prose, digits, white space, another script, and the names of control tokens, which have to become control ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.base import GenerationRequest, Timeouts
from codec_agents.engines.http.engine import MAX_ERROR_BODY, HttpEngine
from codec_agents.engines.http.responses import close
from codec_agents.engines.http.stream import Deadlines
from codec_agents.engines.request_body import for_model
from codec_agents.exceptions import EngineStreamError, MapMismatchError
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

PROBE = "The quick brown fox jumps over 1234 lazy dogs.\n\ndef f(x):\n    return x + 1  # naïve 東京"
MARKERS = 3
"""Names of control tokens in the probe."""
ABSENT = frozenset({404, 405, 501})
"""Answers of an engine that has no such call."""


class TokenCounts(msgspec.Struct):
    """The answer of `/tokenize`."""

    tokens: list[int]


class Handshake:
    """Compares tokenizers once for each vocabulary, however many requests wait for it."""

    def __init__(self, engine: HttpEngine, text_field: str, **fields: Any) -> None:
        self._engine = engine
        self._text_field = text_field
        self._fields = fields
        self._compared: dict[str, SingleFlight[None]] = {}
        """By the hash of the map, or its name."""

    async def ensure(self, request: GenerationRequest) -> None:
        """Compare, unless that was done before.

        Raises:
            MapMismatchError: the tokenizers disagree.
            EngineError: the engine cannot be asked.
        """
        vocabulary = request.vocabulary
        compared = self._compared.setdefault(vocabulary.hash or vocabulary.id, SingleFlight())
        if not compared.known:
            await self._engine.ask_once(compared, lambda: self._ask(request), request)

    async def _ask(self, request: GenerationRequest) -> None:
        body = {self._text_field: probe_text(request.vocabulary), **self._fields}
        found = await tokenize(self._engine, body, request)
        if found is not None:
            self._compare(found, request.vocabulary)

    def _compare(self, found: Sequence[int], vocabulary: Vocabulary) -> None:
        text = probe_text(vocabulary)
        expected = pick_tokenizer(vocabulary).encode(text)
        if list(found) == expected:
            return
        at = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), -1)
        raise MapMismatchError(
            self._engine.name,
            f"{vocabulary.id} (probe: {len(expected)} ids, {expected[at : at + 4]} at {at})",
            f"of its own tokenizer (probe: {len(found)} ids, {list(found)[at : at + 4]} at {at})",
        )


async def tokenize(
    engine: HttpEngine, fields: Mapping[str, Any], request: GenerationRequest
) -> list[int] | None:
    """Return the ids that the engine's `/tokenize` gives; None where it has no such call.

    Raises:
        EngineError: the engine cannot be asked, or refuses.
    """
    status, answer = await ask(engine, "POST", "/tokenize", for_model(request, fields), request.timeouts)
    if status in ABSENT:
        return None
    if status != 200:
        raise engine.status_error(status, answer, "/tokenize")
    try:
        return msgspec.json.decode(answer, type=TokenCounts).tokens
    except msgspec.DecodeError as error:
        raise EngineStreamError(
            engine.name,
            f"/tokenize answers with something else than ids ({error}); "
            "handshake: false goes without comparing the tokenizers",
            transient=False,
        ) from error


def probe_text(vocabulary: Vocabulary) -> str:
    """Return the text that both tokenizers encode."""
    return PROBE + "".join(list(vocabulary.special_tokens)[:MARKERS])


def probe_ids(vocabulary: Vocabulary) -> list[int]:
    """Return a short prompt with nothing of anybody's in it, to ask what an engine can do."""
    return pick_tokenizer(vocabulary).encode_ordinary("Hello")


async def ask(
    engine: HttpEngine,
    method: str,
    path: str,
    body: Any,
    timeouts: Timeouts,
    *,
    limit: int = MAX_ERROR_BODY,
) -> tuple[int, bytes]:
    """Make one plain call; return the status and the body.

    Raises:
        EngineError: no answer came in time.
    """
    deadlines = Deadlines(timeouts)
    content = None if body is None else msgspec.json.encode(body)
    headers = {"Accept-Encoding": "identity"}  # the answer is read as it stands
    if body is not None:
        headers["Content-Type"] = "application/json"
    with anyio.CancelScope(deadline=deadlines.instant()):
        response = await engine.pool.send(method, path, content=content, headers=headers, timeouts=timeouts)
        try:
            return response.status_code, await engine.read_limited(response, deadlines, limit)
        finally:
            await close(response)
    raise deadlines.error(engine.name, 0)
