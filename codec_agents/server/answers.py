"""The forms in which a generation is answered: frames, and the events and the JSON of completions.

Each is a transducer: `write` takes a frame of the back end and gives the bytes that may go out now, `close`
gives the rest. Frames carry ids and nothing else; the other forms make text. Those of chats are in `apis`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from codec_agents.engines.codec import CACHED_HEADER
from codec_agents.server.backends.backend import Job
from codec_agents.server.lanes import Lanes
from codec_agents.server.logprobs import COMPLETION_FIELDS, Logprobs
from codec_core.frames import CONTENT_TYPES, CodecFrame, encoder
from codec_core.versions import VARY

if TYPE_CHECKING:
    from codec_core.compression import Compressor

Ids: TypeAlias = Sequence[int]

OPENAI_REASONS = {"eos_token": "stop", "stop_sequence": "stop", "policy_violation": "content_filter"}
"""Codec's finish reasons in OpenAI's words; those not listed are the same in both."""


def reason_of(frame: CodecFrame) -> str:
    """Return the reason of a last frame, in OpenAI's words."""
    return OPENAI_REASONS.get(frame.finish_reason or "stop", frame.finish_reason or "stop")


class Answer(Protocol):
    """One form of answer."""

    streamed: bool
    """True if the head goes out before the generation has ended."""

    def write(self, frame: CodecFrame) -> bytes:
        """Take a frame; return what may go out now."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """The head of the answer."""
        ...

    @property
    def held(self) -> int:
        """The ids of earlier frames that the next one may complete, as those of a call."""
        ...

    def close(self) -> bytes:
        """Return the end of the body, after the last frame."""
        ...


class FrameAnswer:
    """Codec frames, compressed if the client takes it, flushed at every frame."""

    streamed = True
    held = 0

    def __init__(self, job: Job, wire_format: str, accepted: str | None, dictionary: bytes | None) -> None:
        self._job = job
        self._headers = {
            "Content-Type": CONTENT_TYPES[wire_format],
            "Vary": VARY,
        }
        self._headers |= named_map(job)
        self._encoder = encoder(wire_format)
        self._compressor = self._compress(accepted, dictionary) if accepted else None

    def _compress(self, accepted: str, dictionary: bytes | None) -> Compressor | None:
        from codec_core.compression import choose_encoding, compressor, encoding_headers

        encoding = choose_encoding(accepted, dictionary=dictionary is not None)
        self._headers |= encoding_headers(encoding, dictionary)
        return None if encoding == "identity" else compressor(encoding, dictionary)

    @property
    def headers(self) -> dict[str, str]:
        """The head of the answer; when it goes out, the back end knows what it had in its cache."""
        cached = self._job.cached_ids
        return self._headers if cached is None else {**self._headers, CACHED_HEADER: str(cached)}

    def write(self, frame: CodecFrame) -> bytes:
        """Return the frame's bytes."""
        body = self._encoder.encode(frame.ids, frame.done, frame.finish_reason, frame.values)
        return body if self._compressor is None else self._compressor.feed(body)

    def close(self) -> bytes:
        """Return the end of the compressed body."""
        return b"" if self._compressor is None else self._compressor.flush()


EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
"""The head of a stream of events."""


def named_map(job: Job) -> dict[str, str]:
    """Return the header that names the map of an answer's ids; none for a map that was made in memory."""
    held = job.model.vocabulary.hash
    return {} if held is None else {"Codec-Tokenizer-Map": held}


def random_id(prefix: str) -> str:
    """Return an id of its own, after the words that say of what."""
    return f"{prefix}{uuid.uuid4().hex}"


class OpenAIForm:
    """The common part of completions and chats: identity, counts, reasons."""

    def __init__(self, job: Job, kind: str, answer_id: str, lanes: Lanes) -> None:
        self.job = job
        self.lanes = lanes
        self.ids = 0
        self.reason: str | None = None
        self._base = {
            "id": answer_id,
            "object": kind,
            "created": int(time.time()),
            "model": job.model.name,
        }

    @property
    def held(self) -> int:
        """The ids that are no text yet."""
        return self.lanes.held

    def take(self, frame: CodecFrame) -> None:
        """Count a frame, and keep its reason."""
        self.ids += len(frame.ids)
        if frame.done:
            self.reason = reason_of(frame)

    @property
    def usage(self) -> dict[str, Any]:
        """OpenAI's counts."""
        prompt, cached = len(self.job.prompt_ids), self.job.cached_ids
        counts = {"prompt_tokens": prompt, "completion_tokens": self.ids, "total_tokens": prompt + self.ids}
        return counts if cached is None else {**counts, "prompt_tokens_details": {"cached_tokens": cached}}

    def ending(self, *, usage: bool) -> bytes:
        """Return the end of a stream of events.

        OpenAI's clients take any `finish_reason` for a complete answer. An event with an `error` is what they
        raise on, so an answer that is not complete has one.
        """
        counts = event(self.document([], usage=self.usage)) if usage else b""
        return (event(FAILED) if self.reason in FAILURES else b"") + counts + END

    def document(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Return a response, or a part of one."""
        return {**self._base, "choices": choices, **more}


class CompletionEvents(OpenAIForm):
    """`text_completion` server-sent events."""

    streamed = True

    def __init__(self, job: Job, *, with_ids: bool, usage: bool, logprobs: Logprobs | None = None) -> None:
        super().__init__(job, "text_completion", random_id("cmpl-"), Lanes(job, plain=True))
        self.headers = {**EVENTS, **named_map(job)} if with_ids else EVENTS
        self._with_ids = with_ids
        self._with_usage = usage
        self._logprobs = logprobs
        self._first = True

    def write(self, frame: CodecFrame) -> bytes:
        """Return one event for the frame."""
        self.take(frame)
        text = "".join(part.text for part in self.lanes.feed(frame))
        choice: dict[str, Any] = {
            "index": 0,
            "text": text,
            "logprobs": None if self._logprobs is None else self._logprobs.of_completion(frame),
            "finish_reason": self.reason if frame.done else None,
        }
        if self._with_ids:
            choice["token_ids"] = frame.ids
            # As in vLLM's streams, the first event alone has them.
            if self._first:
                choice["prompt_token_ids"] = self.job.prompt_ids
        self._first = False
        return event(self.document([choice]))

    def close(self) -> bytes:
        """Return the counts, if requested, and the end mark."""
        return self.ending(usage=self._with_usage)


class CompletionDocument(OpenAIForm):
    """One `text_completion` object."""

    streamed = False

    def __init__(self, job: Job, *, with_ids: bool, logprobs: Logprobs | None = None) -> None:
        super().__init__(job, "text_completion", random_id("cmpl-"), Lanes(job, plain=True))
        self.headers = {"content-type": "application/json", **(named_map(job) if with_ids else {})}
        self._with_ids = with_ids
        self._text: list[str] = []
        self._ids: list[int] = []
        self._logprobs = logprobs
        self._values: dict[str, list[Any]] = {name: [] for name in COMPLETION_FIELDS}

    def write(self, frame: CodecFrame) -> bytes:
        """Keep the frame."""
        self.take(frame)
        self._ids += frame.ids
        if self._logprobs is not None:
            for name, values in self._logprobs.of_completion(frame).items():
                self._values[name] += values
        self._text += [part.text for part in self.lanes.feed(frame)]
        return b""

    def close(self) -> bytes:
        """Return the whole answer; one that failed is not sent, but a status in its place (`delivery`)."""
        choice = {
            "index": 0,
            "text": "".join(self._text),
            "logprobs": None if self._logprobs is None else self._values,
            "finish_reason": self.reason,
        }
        if self._with_ids:
            choice |= {"token_ids": self._ids, "prompt_token_ids": self.job.prompt_ids}
        return msgspec.json.encode(self.document([choice], usage=self.usage))


END = b"data: [DONE]\n\n"

FAILURES = frozenset({"error", "abort"})
"""Reasons with which an answer ends that is not complete."""

FAILED = {
    "error": {
        "message": "the model did not finish its answer",
        "type": "server_error",
        "param": None,
        "code": "generation_failed",
    }
}


def event(document: Any) -> bytes:
    """Return one server-sent event."""
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def named_event(name: str, document: Any) -> bytes:
    """Return one server-sent event with the line that names its type, without which clients skip it."""
    return b"event: " + name.encode() + b"\n" + event(document)
