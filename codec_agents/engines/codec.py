"""A Codec server, natively: frames in any of the formats, JSON or binary requests, compression, map check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from codec_agents.engines.base import GenerationRequest, SamplingOptions, StreamStats
from codec_agents.engines.context import ContextQuestion, of_models
from codec_agents.engines.http.clients import HttpClient
from codec_agents.engines.http.engine import HttpEngine, Outgoing
from codec_agents.engines.http.first_bytes import (
    EVENT_STREAM,
    UNTELLING,
    ChosenParser,
    frames_format,
    media_type,
)
from codec_agents.engines.http.responses import HttpResponse
from codec_agents.engines.http.settings import HttpSettings
from codec_agents.engines.http.stream import Deadlines, FrameParser
from codec_agents.engines.map_header import check_map
from codec_agents.engines.prompt_body import json_of
from codec_agents.engines.request_body import CODEC, for_model, place_options
from codec_agents.exceptions import EngineError, EngineStatusError, EngineStreamError, MapMismatchError
from codec_core.exceptions import CodecError, CodecVersionBodyError, UnsupportedFormatError
from codec_core.frames import (
    CodecFrame,
    CodecRequest,
    FrameDecoder,
    decoder,
    encode_request,
    format_of_content_type,
)
from codec_core.versions import CODEC_CLIENT_VERSION, parse_version_required

if TYPE_CHECKING:
    from codec_core.compression import Decompressor

_COUNT = re.compile("[0-9]{1,10}")
"""`int` refuses more than 4,300 digits with an error of its own, and a header may have them."""

CACHED_HEADER = "x-cached-tokens"
"""The header in which this project's server reports how many ids of the prompt its cache held: frames have no
room."""

BINARY_FROM = 10_000
"""Prompt ids from which a binary request is worth it; below, JSON is as small and can express more."""

RequestForm = Literal["auto", "json", "binary"]


class CodecEngine(HttpEngine):
    """A client of a server that speaks Codec.

    Args:
        url: the server's address, with or without `/v1`.
        format: a key of `codec_core.frames.DECODERS`, `msgpack` for one; what comes back decides.
        requests: `json`, `binary`, or `auto`: binary for long prompts whose options it can express.
        encodings: content encodings to accept. None by default: with a flush at every small frame they cost
            more time than they save bytes.
        dictionaries: zstd dictionaries, by their `sha256:<hex>`.
    """

    provider = "codec"

    def __init__(
        self,
        url: str,
        *,
        name: str | None = None,
        format: str = "msgpack",  # noqa: A002 - the protocol's own word
        requests: RequestForm = "auto",
        encodings: Sequence[str] = (),
        dictionaries: Mapping[str, bytes] | None = None,
        settings: HttpSettings | None = None,
        client: HttpClient | None = None,
    ) -> None:
        super().__init__(url, name=name, settings=settings, client=client)
        decoder(format)  # an unknown format fails here, not at the first request
        self._format = format
        self._requests = requests
        self._encodings = ", ".join(encodings) or "identity"
        self._dictionaries = dict(dictionaries or {})
        self._takes_binary: bool | None = None
        """Whether the server takes binary requests; None until one has been answered."""
        self._context = ContextQuestion("/v1/models", of_models)
        self._trying_binary = False
        """Whether the first one is under way; others go as JSON meanwhile, which every server takes."""

    async def context_length(self, request: GenerationRequest) -> int | None:
        """Return the most ids of a prompt and its answer; None where the server does not tell.

        Raises:
            EngineError: the server cannot be asked now.
        """
        return await self._context.ask(self, request)

    async def _begin(
        self, request: GenerationRequest, stats: StreamStats, deadlines: Deadlines
    ) -> tuple[HttpResponse, FrameParser]:
        if not self._uses_binary(request):
            return await super()._begin(request, stats, deadlines)
        self._trying_binary = first = self._takes_binary is None
        try:
            begun = await self._exchange(self._binary(request), request, stats, deadlines)
        except EngineStatusError as error:
            if error.status != 404:  # a server without the call; any other refusal is of this request
                raise
            self._takes_binary = not first  # the model may be what is missing, where there were answers
        else:
            self._takes_binary = True
            return begun
        finally:
            if first:
                self._trying_binary = False
        return await self._exchange(self._json(request), request, stats, deadlines)

    def _uses_binary(self, request: GenerationRequest) -> bool:
        # Also where `binary` is declared: a server without the call gets the same as JSON.
        if self._takes_binary is False or self._trying_binary or self._requests == "json":
            return False
        if self._requests == "binary":
            self._require_binary(request.options)
            return True
        return len(request.prompt_ids) >= BINARY_FROM and _fits_binary(request.options)

    def _require_binary(self, options: SamplingOptions) -> None:
        """Refuse options that a binary request has no field for, rather than lose them."""
        # Every node of a pipeline has stop ids: the turn ends of its model, at which the server ends anyway.
        if not _fits_binary(msgspec.structs.replace(options, stop_token_ids=())):
            raise EngineError(
                self.name,
                "a binary request has a limit, stop texts and a temperature, which it cannot leave to the "
                "server; give `temperature`, or declare the engine with `requests: auto` for other sampling "
                "options",
            )

    def _outgoing(self, request: GenerationRequest) -> Outgoing:
        return self._binary(request) if self._uses_binary(request) else self._json(request)

    def _json(self, request: GenerationRequest) -> Outgoing:
        body = {"prompt": json_of(request.prompt_ids), "stream": True, "stream_format": self._format}
        headers = place_options(self.name, request.options, CODEC, body)
        headers.update(self._headers("application/json", request))
        return Outgoing("/v1/completions", msgspec.json.encode(for_model(request, body)), headers)

    def _binary(self, request: GenerationRequest) -> Outgoing:
        query = "" if request.model is None else f"?model={quote(request.model, safe='/')}"
        headers = self._headers("application/x-msgpack", request)
        return Outgoing(f"/v1/completions/codec{query}", self._binary_body(request), headers)

    def _headers(self, content_type: str, request: GenerationRequest) -> dict[str, str]:
        headers = {"Codec-Client-Version": CODEC_CLIENT_VERSION, "Accept-Encoding": self._encodings}
        if request.vocabulary.hash is not None:
            headers["X-Codec-Map"] = request.vocabulary.hash
        return {**headers, "Content-Type": content_type}

    def _binary_body(self, request: GenerationRequest) -> bytes:
        options = request.options
        asked = CodecRequest(
            prompt_ids=tuple(request.prompt_ids),
            max_tokens=options.max_tokens,
            temperature=options.temperature or 0.0,  # None does not come here, see `_fits_binary`
            stop=options.stop,
            stream_format=self._format,
        )
        return encode_request(asked, "msgpack")

    def _parser(self, response: HttpResponse, request: GenerationRequest, stats: StreamStats) -> FrameParser:
        check_map(self.name, response, request)
        parser = frame_parser(self.name, response, self._dictionaries, stats)
        if parser is not None:
            return parser
        found = media_type(response.headers.get("content-type"))
        if found not in UNTELLING and found != EVENT_STREAM:
            raise self._no_frames(found)

        # Proxies rewrite the content type of streams: then the first bytes tell which format it is.
        def choose(first: bytes) -> FrameParser:
            wire_format = frames_format(first, self._format)
            if wire_format is None:
                raise self._no_frames(found)
            return frames_of(self.name, wire_format, response, self._dictionaries, stats)

        return ChosenParser(choose)

    def _no_frames(self, found: str) -> EngineStreamError:
        return EngineStreamError(
            self.name,
            f"answered {found or 'without a content type'} to a request for frames: it does not speak Codec; "
            "declare the engine as what it is (vllm, sglang, llamacpp, openai), or as auto",
            transient=False,
        )

    async def _refusal(
        self, response: HttpResponse, path: str, request: GenerationRequest, deadlines: Deadlines
    ) -> EngineError:
        """Return the error; a server that refuses the client's map names its own."""
        if response.status_code == 412 and "codec-tokenizer-map" in response.headers:
            held = request.vocabulary.hash or "unknown"
            return MapMismatchError(self.name, held, response.headers["codec-tokenizer-map"])
        if response.status_code == 426:
            return await self._version_required(response, path, deadlines)
        return await super()._refusal(response, path, request, deadlines)

    async def _version_required(self, response: HttpResponse, path: str, deadlines: Deadlines) -> EngineError:
        """Return the error; its cause has the protocol's fields."""
        body = await self.read_limited(response, deadlines)
        answer = _Answer(426, body.decode("utf-8", "replace"), response.headers)
        try:
            cause: CodecError | None = parse_version_required(answer)  # none only for another status
        except CodecVersionBodyError as error:
            cause = error
        said = self.pool.secrets.hide(str(cause))
        refusal = EngineStatusError(self.name, 426, said, asked=f"POST {self.pool.shown(path)}")
        refusal.__cause__ = cause  # the caller raises it, without a `from`
        return refusal


class _Answer(NamedTuple):
    """A response, its body read."""

    status_code: int
    text: str
    headers: Mapping[str, str]


class PlainFrames:
    """Frames without a content encoding."""

    server_continues = False
    awaits_counts = False
    advanced = False

    def __init__(self, frames: FrameDecoder) -> None:
        self.feed = frames.feed
        self._frames = frames

    @property
    def error(self) -> Exception | None:
        """The fault that follows the frames returned last."""
        return self._frames.error

    def close(self) -> Sequence[CodecFrame]:
        """Check that the body ended where it should."""
        self._frames.close()
        return ()


class CompressedFrames:
    """Frames under a content encoding."""

    server_continues = False
    awaits_counts = False
    advanced = False

    def __init__(self, frames: FrameDecoder, body: Decompressor) -> None:
        self._frames = frames
        self._body = body

    @property
    def error(self) -> Exception | None:
        """The fault that follows the frames returned last."""
        return self._frames.error

    def feed(self, data: bytes) -> Sequence[CodecFrame]:
        """Return the frames that these bytes complete."""
        return self._frames.feed(self._body.feed(data))

    def close(self) -> Sequence[CodecFrame]:
        """Check that both ended where they should."""
        frames = self._frames.feed(self._body.flush())
        self._frames.close()
        return frames


def frame_parser(
    engine: str, response: HttpResponse, dictionaries: Mapping[str, bytes], stats: StreamStats
) -> FrameParser | None:
    """Return the parser of an answer whose content type is one of frames; None for any other.

    Raises:
        EngineStreamError: the content encoding cannot be read.
    """
    try:
        wire_format = format_of_content_type(response.headers.get("content-type", ""))
    except UnsupportedFormatError:
        return None
    return frames_of(engine, wire_format, response, dictionaries, stats)


def frames_of(
    engine: str,
    wire_format: str,
    response: HttpResponse,
    dictionaries: Mapping[str, bytes],
    stats: StreamStats,
) -> FrameParser:
    """Return the parser of frames in a format, under the answer's content encoding.

    Raises:
        EngineStreamError: the content encoding cannot be read.
    """
    stats.format = wire_format
    cached = response.headers.get(CACHED_HEADER, "")
    stats.cached_tokens = int(cached) if _COUNT.fullmatch(cached) else None
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return PlainFrames(decoder(wire_format))
    from codec_core.compression import decompressor

    try:
        body = decompressor(response.headers, dictionaries=dictionaries)
    except CodecError as error:
        raise EngineStreamError(engine, str(error), transient=False) from error
    stats.format = f"{wire_format}+{encoding}"  # set once the encoding is known: a header may hold anything
    return CompressedFrames(decoder(wire_format), body)


def _fits_binary(options: SamplingOptions) -> bool:
    """Return whether a binary request can express the options: a limit, a temperature and stop texts only."""
    # Its temperature is a number that is 0 when it is left out: the server's own default cannot be asked for.
    plain = SamplingOptions(max_tokens=options.max_tokens, temperature=options.temperature, stop=options.stop)
    return options.temperature is not None and options == plain
