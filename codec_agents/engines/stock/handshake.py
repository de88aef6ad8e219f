"""Before the first request: the engine's tokenizer is compared with the node's map.

A difference is silent otherwise: every id is valid on both sides and means something else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import anyio
import msgspec

from codec_agents.concurrency.single_flight import SingleFlight
from codec_agents.engines.base import GenerationRequest, Timeouts
from codec_agents.engines.http.engine import MAX_ERROR_BODY, HttpEngine, error_message
from codec_agents.engines.http.responses import close
from codec_agents.engines.http.stream import Deadlines
from codec_agents.engines.request_body import for_model
from codec_agents.engines.stock.probes import JOIN, content_texts, control_texts
from codec_agents.exceptions import EngineStreamError, MapMismatchError
from codec_core.detokenizer import Detokenizer
from codec_core.exceptions import DECODE_ERRORS
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

_log = logging.getLogger("codec_agents")

HandshakeMode = Literal["off", "probe", "full"]
"""`off` compares nothing, `probe` a few texts, `full` a few thousand tokens of the map as well."""


def handshake_mode(given: object) -> HandshakeMode:
    """Return a mode; YAML reads `off` as false, so truth values are modes as well.

    Raises:
        ValueError: it is no mode.
    """
    modes: dict[object, HandshakeMode] = {
        "off": "off", False: "off", "probe": "probe", True: "probe", "full": "full",
    }  # fmt: skip
    if given not in modes:
        raise ValueError(f"handshake is off, probe or full, not {given!r}")
    return modes[given]


ABSENT = frozenset({404, 405, 501})
"""Statuses of an engine that may have no such call."""
NO_ROUTE = frozenset({"", "not found", "file not found", "method not allowed", "404: not found"})
"""Messages, in lower case, of web frameworks for an unknown path. Any other message is the engine's own: a
model that it does not serve, for one, which is no sign of a missing tokenizer."""

MAX_TOKENIZED = 16 * 1024 * 1024
"""Bytes of an answer of `/tokenize`: a long prompt that it renders has some 100,000 ids."""

SHOWN = 6
"""Ids shown of a difference."""


class TokenCounts(msgspec.Struct):
    """The answer of `/tokenize`."""

    tokens: list[int]


class Handshake:
    """Compares tokenizers once per map, however many requests wait for the result."""

    def __init__(
        self,
        engine: HttpEngine,
        mode: HandshakeMode,
        text_field: str,
        options: Mapping[str, Any],
        content_options: Mapping[str, Any],
    ) -> None:
        self._engine = engine
        self._full = mode == "full"
        self._text_field = text_field
        self._options = options
        self._content_options = content_options
        self._compared: dict[str, SingleFlight[bool]] = {}
        """By the hash of the map: whether the engine has the call, so that there was something to compare."""
        self._compared_without_hash: WeakKeyDictionary[Vocabulary, SingleFlight[bool]] = WeakKeyDictionary()
        """Of maps that were made in memory, of which several may have one id."""

    async def ensure(self, request: GenerationRequest) -> None:
        """Compare, unless that was done before.

        Raises:
            MapMismatchError: the tokenizers differ.
            EngineError: the engine cannot be asked.
        """
        compared = self._comparison(request.vocabulary)
        if not compared.known:
            await self._engine.ask_once(compared, lambda: self._compare(request), request)

    def has_compared(self, vocabulary: Vocabulary) -> bool:
        """Return whether the tokenizers were compared, and are equal."""
        return self._comparison(vocabulary).answer is True

    def _comparison(self, vocabulary: Vocabulary) -> SingleFlight[bool]:
        if vocabulary.hash is None:
            return self._compared_without_hash.setdefault(vocabulary, SingleFlight())
        return self._compared.setdefault(vocabulary.hash, SingleFlight())

    async def _compare(self, request: GenerationRequest) -> bool:
        """Return whether there was something to compare with.

        Raises:
            MapMismatchError: the tokenizers differ.
        """
        vocabulary = request.vocabulary
        tokenizer = pick_tokenizer(vocabulary)
        contents: list[str] = list(content_texts(vocabulary, full=self._full))
        if not self._full:  # one call in place of several: the first request waits for it
            contents = [JOIN.join(contents)]
        controls = control_texts(vocabulary, full=self._full)
        texts = [
            *((text, tokenizer.encode_ordinary, self._content_options) for text in contents),
            *((text, tokenizer.encode, self._options) for text in controls),
        ]
        for text, encode, options in texts:
            found = await tokenize(self._engine, {self._text_field: text, **options}, request)
            if found is None:
                _log.warning(
                    "engine %r has no call /tokenize: its tokenizer is not compared with the map %s",
                    self._engine.name,
                    vocabulary.id,
                )
                return False
            if found != (expected := encode(text)):
                raise self._mismatch(text, expected, found, vocabulary)
        return True

    def _mismatch(
        self, text: str, expected: Sequence[int], found: Sequence[int], vocabulary: Vocabulary
    ) -> MapMismatchError:
        """Return the error: it shows the first text that is encoded otherwise, and both encodings."""
        pairs = enumerate(zip(found, expected, strict=False))  # one may be the beginning of the other
        at = next((i for i, pair in pairs if pair[0] != pair[1]), min(len(found), len(expected)))
        before = len(Detokenizer(vocabulary).render(expected[:at]))
        # From a few characters before it; an id has about four.
        piece = text[max(0, before - SHOWN) : before + 4 * SHOWN]
        return MapMismatchError(
            self._engine.name,
            f"{vocabulary.id}, which encodes {piece!r} as {list(expected[at : at + SHOWN])} (at id {at})",
            f"of its own tokenizer, which gives {list(found[at : at + SHOWN])}",
        )


async def tokenize(
    engine: HttpEngine, fields: Mapping[str, Any], request: GenerationRequest
) -> list[int] | None:
    """Return the ids that the engine's `/tokenize` gives; None where it has no such call.

    Raises:
        EngineError: the engine cannot be asked, or refuses.
    """
    body = for_model(request, fields)
    status, answer = await ask(engine, "POST", "/tokenize", body, request.timeouts, limit=MAX_TOKENIZED)
    if is_absent(status, answer):
        return None
    if status != 200:
        raise engine.status_error(status, answer, "/tokenize")
    try:
        return msgspec.json.decode(answer, type=TokenCounts).tokens
    except DECODE_ERRORS as error:
        raise EngineStreamError(
            engine.name,
            f"/tokenize does not return token ids ({error}); "
            "`handshake: off` skips the comparison of the tokenizers",
            transient=False,
        ) from error


def is_absent(status: int, answer: bytes) -> bool:
    """Return whether an answer shows that the engine has no such call, rather than refuses this one."""
    return status in ABSENT and error_message(answer).strip().rstrip(".").lower() in NO_ROUTE


def probe_ids(vocabulary: Vocabulary) -> list[int]:
    """Return a short prompt without any content of a run, to find out which calls an engine has."""
    return pick_tokenizer(vocabulary).encode_ordinary("Hello")


async def ask(
    engine: HttpEngine,
    method: str,
    path: str,
    body: Any,
    timeouts: Timeouts,
    *,
    headers: Mapping[str, str] | None = None,
    limit: int = MAX_ERROR_BODY,
) -> tuple[int, bytes]:
    """Make one plain call; return the status and the body, which is whole where the status is 200.

    Raises:
        EngineError: no answer came in time, or it broke off, or has more than `limit` bytes.
    """
    deadlines = Deadlines(timeouts)
    content = None if body is None else msgspec.json.encode(body)
    sent = {**(headers or {}), "Accept-Encoding": "identity"}  # the answer is not decompressed
    if body is not None:
        sent["Content-Type"] = "application/json"
    with anyio.CancelScope(deadline=deadlines.instant()):
        response = await engine.pool.send(method, path, content=content, headers=sent, timeouts=timeouts)
        try:
            if response.status_code == 200:
                return 200, await engine.read_whole(response, timeouts, limit)
            return response.status_code, await engine.read_limited(response, deadlines, limit)
        finally:
            await close(response)
    raise deadlines.error(engine.name, 0)
