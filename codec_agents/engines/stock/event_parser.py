"""The common part of stock engines' event streams: JSON in events, errors after a 200, an end mark."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from codec_agents.engines.base import GenerationRequest, StreamStats
from codec_agents.engines.http.responses import text_of
from codec_agents.engines.values import checked_values
from codec_agents.exceptions import TRANSIENT_STATUSES, EngineStreamError
from codec_core.exceptions import DECODE_ERRORS, FrameTooLargeError
from codec_core.frames import MAX_ID, CodecFrame, SampledValues
from codec_core.frames.values import with_values

TokenIds = tuple[Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)], ...]
END_MARK = b"[DONE]"
BOM = b"\xef\xbb\xbf"
Event = TypeVar("Event")


class IdsMissingError(EngineStreamError):
    """The engine answers with text alone: it is too old, or it is another engine."""


class EventParser(ABC, Generic[Event]):
    """Reads one event stream. Subclasses give the events their meaning."""

    awaits_counts = False
    """Whether the answer is complete and only the event with its counts is still to come."""
    advanced = False
    """Whether the bytes fed last held a part of the answer without ids: text APIs alone have such parts."""

    def __init__(self, engine: str, stats: StreamStats, kind: type[Event]) -> None:
        self.engine = engine
        self.stats = stats
        stats.format = "sse"
        self.received = 0
        """Ids returned so far."""
        self.reason: str | None = None
        """The finish reason, once it is known."""
        self.server_continues = False
        """Whether the engine generates further, because it does not know that this was the end."""
        self.error: EngineStreamError | FrameTooLargeError | None = None
        """The error that follows the frames returned last."""
        self.values: SampledValues | None = None
        """The values of the event's ids, where they were asked for: `read` sets them."""
        self.values_of_all: SampledValues | None = None
        """The values that come once, for the whole answer."""
        self._events = SseDecoder()
        self._limit = MAX_EVENT_BYTES
        self._decode = msgspec.json.Decoder(kind).decode
        self._done = False

    def expect(self, request: GenerationRequest) -> EventParser[Event]:
        """Bound an event by what its request can have for an answer; return the parser."""
        self._limit = event_limit(request)
        return self

    def feed(self, data: bytes) -> Sequence[CodecFrame]:
        """Return the frames that these bytes complete; an error after good frames waits in `error`."""
        frames: list[CodecFrame] = []
        try:
            for event in self._events.feed(data):
                if self._done:  # what some servers send after the end mark means nothing
                    break
                frames += (self._end(),) if event == END_MARK else self._read_event(event)
        except (EngineStreamError, FrameTooLargeError) as error:
            self.error = error
            if not frames:  # nothing to hand on before it
                raise
        return frames

    def close(self) -> Sequence[CodecFrame]:
        """Return the last frame, where the generation had ended and only the end mark is missing."""
        if self.error is not None:
            raise self.error
        if self._done:
            return ()
        if self.reason is None:
            raise self.broken("the answer ended before it was done")
        return (self._end(),)

    def whole(self, data: bytes) -> Sequence[CodecFrame]:
        """Return the frames of an answer that is not streamed."""
        if not data.strip():
            raise self.broken("the answer is empty")
        frames = list(self._read_event(data))
        # llama.cpp's events end by themselves; the others have an end mark, which a whole answer lacks.
        return frames if frames and frames[-1].done else [*frames, self._end()]

    def _end(self) -> CodecFrame:
        if self.reason is None:
            raise self.broken("the stream's end mark came before a finish reason")
        self.check_counts()
        self._done = True
        return with_values(CodecFrame((), done=True, finish_reason=self.reason), self.values_of_all)

    def _read_event(self, data: bytes) -> Sequence[CodecFrame]:
        if len(data) > self._limit and _values_in(data) > self._limit:
            what = (
                f"an event is too large: it has more than {self._limit} values, far beyond what was asked for"
            )
            raise self.broken(what, transient=False)
        try:
            event = self._decode(data)
        except DECODE_ERRORS as error:
            raise self.broken(f"an event cannot be read: {error}", transient=False) from error
        ids = self.read(event)
        values, self.values = self.values, None
        if values is not None:
            checked_values(self.engine, values, len(ids), self.received)
        self.received += len(ids)
        return (with_values(CodecFrame(ids, done=False), values),) if ids else ()

    @abstractmethod
    def read(self, event: Event) -> tuple[int, ...]:
        """Return the new ids of an event; note reasons and counts.

        Raises:
            EngineStreamError: the event reports an error, or cannot be right.
        """

    def check_counts(self) -> None:
        """Compare, at the end, the ids that were received with the engine's own count.

        Raises:
            EngineStreamError: ids were lost.
        """

    def broken(self, what: str, *, transient: bool = True) -> EngineStreamError:
        """Return an error of this stream."""
        return EngineStreamError(self.engine, what, delivered=self.received, transient=transient)

    def reported(self, error: Any) -> EngineStreamError:
        """Return the error that an event reports, after the engine had answered 200."""
        if not isinstance(error, dict):
            return self.broken(f"the engine reports: {text_of(error)}")
        code, retryable = error.get("code"), error.get("retryable")
        # SGLang says it; else the status decides. A code that is no number is taken for one of the moment.
        transient = not isinstance(code, int) or code in TRANSIENT_STATUSES
        transient = retryable if isinstance(retryable, bool) else transient
        said = text_of(error.get("message", error))
        return self.broken(f"the engine reports: {said}", transient=transient)


MAX_EVENT_BYTES = 64 * 1024 * 1024
"""A cumulative stream repeats all its text and ids in each event; 100,000 ids are some 2 MB."""

SPARE_BYTES = 1024 * 1024
"""Of an event, whatever was asked for: llama.cpp repeats all its settings, grammars too. As JSON of small
values, a byte may take forty in memory."""

PROMPT_BYTES = 64
"""For each id of the prompt, which some engines repeat as ids and as text."""

ANSWER_BYTES = 256
"""For each id of the answer, as an id and as text; the longest tokens are runs of 128 spaces."""


def event_limit(request: GenerationRequest) -> int:
    """Return the most bytes of an event, or of a whole answer: in proportion to what was asked for.

    A longer one may have as many values, and long texts: a vLLM that is started with
    `--enable-return-routed-experts` sends kilobytes for each id, in one text, whatever was asked for.
    """
    options = request.options
    # The size of values (masks, routing) is not known, nor what fields of the user's own ask for.
    if options.logprobs is not None or options.extra:
        return MAX_EVENT_BYTES
    told = len(request.prompt_ids) * PROMPT_BYTES + options.max_tokens * ANSWER_BYTES
    return min(MAX_EVENT_BYTES, SPARE_BYTES + told)


def _values_in(data: bytes) -> int:
    """Return a number that the values of a JSON document do not exceed by more than one."""
    return sum(map(data.count, (b",", b"[", b"{")))


class WholeAnswer(Generic[Event]):
    """Reads an answer that is not streamed: its body is one event, and the only one."""

    awaits_counts = False
    advanced = False
    server_continues = False
    error: EngineStreamError | None = None

    def __init__(self, events: EventParser[Event]) -> None:
        events.stats.format = "json"
        self._events = events
        self._body = bytearray()

    def feed(self, data: bytes) -> Sequence[CodecFrame]:
        """Keep a part of the body.

        Raises:
            FrameTooLargeError: the answer is larger than the limit.
        """
        self._body += data
        if len(self._body) > MAX_EVENT_BYTES:
            raise FrameTooLargeError("an answer is too large", len(self._body), MAX_EVENT_BYTES)
        return ()

    def close(self) -> Sequence[CodecFrame]:
        """Return the frames of the answer.

        Raises:
            EngineStreamError: it cannot be read, reports an error, or is not complete.
        """
        return self._events.whole(bytes(self._body))


class SseDecoder:
    """Returns the data of each event; comments, event names, event ids and a byte order mark are left out.

    Lines end with LF or CRLF. (The specification's lone CR is not read: no server of this kind writes it.)
    """

    __slots__ = ("_at_start", "_data", "_limit", "_line", "_offset", "_size")

    def __init__(self, *, limit: int = MAX_EVENT_BYTES) -> None:
        self._line = bytearray()
        """The line that has not ended. Appending to it takes time linear in what is appended."""
        self._data: list[bytes] = []
        self._size = 0
        """Bytes in `_data`."""
        self._limit = limit
        self._offset = 0
        self._at_start = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of the events that these bytes complete.

        Raises:
            FrameTooLargeError: an event is larger than the limit; the events before it have been yielded.
        """
        *lines, rest = data.split(b"\n")
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        if lines and self._at_start:  # else the mark would hide the name of the first field
            lines[0] = lines[0].removeprefix(BOM)
            self._at_start = False
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
                self._size += len(line)
            elif not line and self._data:
                event = b"\n".join(self._data)
                self._data.clear()
                self._size = 0
                yield event
        self._line += rest
        self._offset += len(data)
        if len(self._line) + self._size > self._limit:
            raise FrameTooLargeError("a server-sent event is too large", self._offset, self._limit)
