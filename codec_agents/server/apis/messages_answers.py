"""Answers of `POST /v1/messages`: a `message`, or the events that build it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.server.answers import EVENTS, FAILED, FAILURES, named_event
from codec_agents.server.apis.turn import RANDOM, Block, Kind, Mint, Step, Turn, progress_events
from codec_agents.server.backends.backend import Job
from codec_core.frames import CodecFrame

if TYPE_CHECKING:
    from codec_agents.server.apis.request import ConversationRequest

PREFIXES: Mapping[Kind, str] = {"reasoning": "sig_", "text": "text_", "call": "toolu_"}
"""Reasoning has no id in this API: its signature is one. The id of a text is not sent."""

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
"""The API's reasons for the end of a turn, by those of OpenAI's chats."""


class MessagesForm:
    """The common part of both forms."""

    def __init__(self, asked: ConversationRequest, job: Job, mint: Mint = RANDOM) -> None:
        self.turn = Turn(job, tools=bool(asked.offered_tools), mint=mint, prefixes=PREFIXES)
        self._job = job
        self._hides_reasoning = asked.hides_reasoning
        self._id = mint("msg_")

    def message(self, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
        """Return the message with some content, and the reason for its end."""
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._job.model.name,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None if reason is None else self.turn.lanes.stopped,
            "usage": self.usage,
        }

    @property
    def usage(self) -> dict[str, int]:
        """The API's counts, in which ids from the cache are not input."""
        cached = self._job.cached_ids or 0
        return {
            "input_tokens": len(self._job.prompt_ids) - cached,
            # No back end tells how much it has put into its cache.
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": self.turn.ids,
        }

    @property
    def held(self) -> int:
        """The ids that are no text yet."""
        return self.turn.lanes.held

    @property
    def ending(self) -> str:
        """The reason for the end of the turn."""
        if self.turn.lanes.stopped is not None:
            return "stop_sequence"
        return REASONS.get(self.turn.reason, "end_turn")


class MessagesDocument(MessagesForm):
    """One `message` object."""

    streamed = False
    headers = {"content-type": "application/json"}  # noqa: RUF012 - never written to

    def write(self, frame: CodecFrame) -> bytes:
        """Keep the frame."""
        for _ in self.turn.feed(frame):
            pass
        return b""

    def close(self) -> bytes:
        """Return the whole answer."""
        content = [block_of(block, block.text, hidden=self._hides_reasoning) for block in self.turn.blocks]
        return msgspec.json.encode(self.message(content, self.ending))


class MessagesEvents(MessagesForm):
    """The events of a message."""

    streamed = True
    headers = EVENTS

    def __init__(self, asked: ConversationRequest, job: Job, mint: Mint = RANDOM) -> None:
        super().__init__(asked, job, mint)
        self._first = True

    def write(self, frame: CodecFrame) -> bytes:
        """Return the events that the frame makes."""
        body = b""
        if self._first:
            self._first = False
            body = _event({"type": "message_start", "message": self.message([], None)})
        # Before the progress is asked for, which the turn's lanes have when they have read the frame.
        written = b"".join([_written(step) for step in self.turn.feed(frame) if not self._is_hidden(step)])
        return body + progress_events(self.turn.lanes) + written

    def _is_hidden(self, step: Step) -> bool:
        return self._hides_reasoning and step.kind == "delta" and step.block.kind == "reasoning"

    def close(self) -> bytes:
        """Return the reason and the counts, and the end mark; or an error, on which clients raise."""
        if self.turn.reason in FAILURES:
            return _event({"type": "error", "error": FAILED_MESSAGE})
        delta = {"stop_reason": self.ending, "stop_sequence": self.turn.lanes.stopped}
        counts = _event({"type": "message_delta", "delta": delta, "usage": self.usage})
        return counts + _event({"type": "message_stop"})


FAILED_MESSAGE = {"type": "api_error", "message": FAILED["error"]["message"]}


def _event(document: dict[str, Any]) -> bytes:
    return named_event(document["type"], document)


def block_of(block: Block, text: str, *, hidden: bool = False) -> dict[str, Any]:
    """Return a block of the turn with its content; with an empty one as the first event has it.

    Args:
        block: the block.
        text: its content.
        hidden: whether the text of reasoning is left out.
    """
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": "" if hidden else text, "signature": block.id if text else ""}
    if block.kind == "text":
        return {"type": "text", "text": text, "citations": None}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": json.loads(text or "{}")}


def _written(step: Step) -> bytes:
    at = {"index": step.block.place}
    if step.kind == "start":
        begun = block_of(step.block, "")
        return _event({"type": "content_block_start", **at, "content_block": begun})
    if step.kind == "delta":
        return _event({"type": "content_block_delta", **at, "delta": _delta(step)})
    body = b""
    # The API's order: the signature is the last delta of its block.
    if step.block.kind == "reasoning":
        signature = {"type": "signature_delta", "signature": step.block.id}
        body = _event({"type": "content_block_delta", **at, "delta": signature})
    return body + _event({"type": "content_block_stop", **at})


def _delta(step: Step) -> dict[str, Any]:
    if step.block.kind == "reasoning":
        return {"type": "thinking_delta", "thinking": step.text}
    if step.block.kind == "text":
        return {"type": "text_delta", "text": step.text}
    return {"type": "input_json_delta", "partial_json": step.text}
