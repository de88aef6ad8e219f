"""Read the bodies of completions, strictly.

Rules that hold in this file:

- Every field that the server reads has one type; anything else is a 400 that names the field. Fields that it
  does not read are looked at in `fields`. Chats are read in `apis`.
- No field but `prompt` may be long. It is decoded into types that fail at the first element that does not
  fit, so that a body costs time in proportion to its bytes.
- Nothing here runs on the event loop when the body is long: the callers see to that.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from codec_agents.engines.base import SamplingOptions
from codec_agents.server.fields import KnownFields, check_fields, decode
from codec_agents.server.http import HttpError
from codec_agents.server.settings import ServerSettings

DEFAULTS = ServerSettings()
"""The limits of a server that is given no others."""


class StreamOptions(msgspec.Struct, frozen=True):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


STREAM_OPTIONS = {"stream_options": StreamOptions.__struct_fields__}


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that completions and chat share."""

    model: str | None = None
    stream: bool | None = None
    stream_format: str | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    n: int | None = None

    @property
    def limit(self) -> int | None:
        """The most ids that the caller wants."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        if isinstance(self.stop, str):
            return (self.stop,)
        return tuple(self.stop or ())

    @property
    def options(self) -> SamplingOptions:
        """The sampling that the caller asks for; the bound on ids is the server's to check."""
        return SamplingOptions(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            stop=self.stops,
            stop_token_ids=tuple(self.stop_token_ids or ()),
        )

    @property
    def include_usage(self) -> bool:
        """True if a stream ends with counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class CompletionBody(Sampling, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: msgspec.Raw
    """One text or one list of token ids; also a list with one of these in it. See `read_prompt`."""
    return_token_ids: bool | None = None
    echo: bool | None = None
    logprobs: bool | int | None = None
    """The number of alternatives to report with each id; see `SamplingOptions.logprobs`."""
    return_tokens_as_token_ids: bool | None = None
    """Whether `logprobs` names tokens by their ids, and not by their texts."""

    @property
    def alternatives(self) -> int | None:
        """The number of alternatives, None where nothing is asked for."""
        if isinstance(self.logprobs, bool):
            return 0 if self.logprobs else None
        return self.logprobs


FIELDS = KnownFields(CompletionBody.__struct_fields__, {"prompt": None}, STREAM_OPTIONS)

_COMPLETION = msgspec.json.Decoder(CompletionBody)
_TEXT = msgspec.json.Decoder(str)
_IDS = msgspec.json.Decoder(list[int])
_ONE = msgspec.json.Decoder(tuple[msgspec.Raw])


def read_completion(body: bytes, settings: ServerSettings = DEFAULTS) -> CompletionBody:
    """Read a completion request.

    Raises:
        HttpError: 400, naming the field.
    """
    check_fields(body, FIELDS)
    completion = decode(_COMPLETION, body)
    check_stops(completion.stops, settings)
    return completion


def read_prompt(raw: bytes, *, nested: bool = False) -> str | list[int]:
    """Return the prompt of a completion request: a text or token ids.

    Raises:
        HttpError: 400, it is neither, or it is several prompts.
    """
    if raw[:1] == b'"':
        return decode(_TEXT, raw, "prompt")
    # A list of one prompt is taken, as some clients always send a list. `nested` ends it there: without it, a
    # body of brackets alone would recurse once per byte.
    if not nested and raw[:1] == b"[" and raw[1:].lstrip()[:1] in (b'"', b"["):
        try:
            [only] = _ONE.decode(raw)
        except msgspec.ValidationError:
            raise HttpError(
                400, "one request has one prompt; send several requests", param="prompt"
            ) from None
        return read_prompt(bytes(only), nested=True)
    return decode(_IDS, raw, "prompt")


class Range(NamedTuple):
    """The numbers that a field of the sampling may have, and how an error names them."""

    least: float
    most: float
    words: str


RANGES: Mapping[str, Range] = {
    "temperature": Range(0, sys.float_info.max, "0 or more"),
    "top_p": Range(0, 1, "0 to 1"),
    "min_p": Range(0, 1, "0 to 1"),
    "repetition_penalty": Range(sys.float_info.min, sys.float_info.max, "more than 0"),
    "top_k": Range(-1, 2**31 - 1, "-1 to 2147483647"),
    "min_tokens": Range(0, 2**31 - 1, "0 to 2147483647"),
    "seed": Range(-(2**63), 2**64 - 1, "an integer of 64 bits"),
}
"""As the fields are declared for a model of a pipeline (`codec_agents.graph.kinds.Sampling`), and integers of
the sizes that engines have."""


def check_sampling(options: SamplingOptions) -> None:
    """Accept numbers that a draw can have, whichever engine makes it.

    An engine may refuse others, fail on them, or take them for something else: as JSON, NaN is null, and null
    is the engine's default.

    Raises:
        HttpError: 400, naming the field.
    """
    for field, (least, most, words) in RANGES.items():
        value = getattr(options, field)
        if value is not None and not least <= value <= most:  # NaN is in no range
            raise HttpError(400, f"{field} must be {words}, not {value!r:.40}", param=field)


def check_stops(stops: Sequence[str], settings: ServerSettings, param: str = "stop") -> None:
    """Accept stop texts within the server's limits.

    Raises:
        HttpError: 400, naming the field `param`.
    """
    if len(stops) > settings.max_stops:
        raise HttpError(
            400, f"{param} has {len(stops)} texts, the limit is {settings.max_stops}", param=param
        )
    if any(not 0 < len(stop) <= settings.max_stop_length for stop in stops):
        raise HttpError(400, f"a stop text has 1 to {settings.max_stop_length} characters", param=param)
