"""Answers of `POST /v1/chat/completions`: a `chat.completion`, or events with its chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from codec_agents.server.answers import EVENTS, Ids, OpenAIForm, event
from codec_agents.server.apis.turn import RANDOM, Mint, progress_events
from codec_agents.server.backends.backend import Job
from codec_agents.server.lanes import Lanes
from codec_agents.server.logprobs import Logprobs
from codec_agents.server.parts import Part
from codec_core.frames import CodecFrame

if TYPE_CHECKING:
    from codec_agents.server.apis.request import ConversationRequest


class ChatForm(OpenAIForm):
    """The common part of both forms."""

    def __init__(self, asked: ConversationRequest, job: Job, mint: Mint, kind: str) -> None:
        super().__init__(job, kind, mint("chatcmpl-"), Lanes(job, tools=bool(asked.offered_tools)))
        self._asked = asked
        self._mint = mint
        self._calls = 0
        top = asked.logprobs
        self._logprobs = None if top is None else Logprobs(job, top, as_ids=asked.tokens_as_ids)

    def _delta(self, part: Part) -> dict[str, Any]:
        """Return a piece of the answer as clients add it up."""
        if part.call is None:
            if part.lane == "reasoning":  # by both names: clients read, and send back, one of them
                return {"reasoning_content": part.text, "reasoning": part.text}
            return {"content": part.text}
        function = {"name": part.call.name, "arguments": part.arguments}
        call_id = part.call.call_id or self._mint("call_")
        entry = {"index": self._calls, "id": call_id, "type": "function", "function": function}
        self._calls += 1
        return {"tool_calls": [entry]}

    def _deltas(self, frame: CodecFrame) -> list[dict[str, Any]]:
        self.take(frame)
        return [self._delta(part) for part in self.lanes.feed(frame)]

    def _content(self, frame: CodecFrame) -> list[dict[str, Any]]:
        """Return the log probabilities of all sampled ids, those of reasoning and of markers included."""
        return [] if self._logprobs is None else self._logprobs.content(frame)

    @property
    def _ending(self) -> str | None:
        return "tool_calls" if self._calls and self.reason == "stop" else self.reason

    @property
    def usage(self) -> dict[str, Any]:
        """OpenAI's counts, with those of reasoning."""
        return {**super().usage, "completion_tokens_details": {"reasoning_tokens": self.lanes.reasoning_ids}}


class ChatEvents(ChatForm):
    """`chat.completion.chunk` server-sent events."""

    streamed = True
    headers = EVENTS

    def __init__(self, asked: ConversationRequest, job: Job, mint: Mint = RANDOM) -> None:
        super().__init__(asked, job, mint, "chat.completion.chunk")
        self._first = True

    def write(self, frame: CodecFrame) -> bytes:
        """Return the events that the frame makes."""
        deltas = self._deltas(frame)
        body = b""
        if self._first:
            self._first = False
            prompt = {"prompt_token_ids": self.job.prompt_ids} if self._asked.token_ids else {}
            body = self._chunk({"role": "assistant", "content": ""}, None, **prompt)
        content = self._content(frame)
        if (content or (self._asked.token_ids and frame.ids)) and not deltas:
            deltas.append({})  # ids that are not text yet, or that no lane holds
        # What a run did before these ids. The lanes have it only now that they have read the frame.
        body += progress_events(self.lanes)
        # All ids of a frame go out with its first delta: clients add up the ids, and a later one has none.
        for place, delta in enumerate(deltas):
            ids, own = ((), []) if place else (frame.ids, content)
            body += self._chunk(delta, None, ids=ids, content=own)
        return body + self._chunk({}, self._ending) if frame.done else body

    def _chunk(
        self, delta: dict[str, Any], reason: str | None, *, ids: Ids = (), content: Any = (), **more: Any
    ) -> bytes:
        logprobs = {"content": content} if content else None
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        if self._asked.token_ids:
            choice["token_ids"] = ids
        return event(self.document([choice], **more))

    def close(self) -> bytes:
        """Return the counts, if requested, and the end mark."""
        return self.ending(usage=self._asked.usage)


class ChatDocument(ChatForm):
    """One `chat.completion` object."""

    streamed = False

    def __init__(self, asked: ConversationRequest, job: Job, mint: Mint = RANDOM) -> None:
        super().__init__(asked, job, mint, "chat.completion")
        self.headers = {"content-type": "application/json"}
        self._kept: list[dict[str, Any]] = []
        self._answer_ids: list[int] = []
        self._entries: list[dict[str, Any]] = []

    def write(self, frame: CodecFrame) -> bytes:
        """Keep the frame."""
        self._answer_ids += frame.ids
        self._entries += self._content(frame)
        self._kept += self._deltas(frame)
        return b""

    def close(self) -> bytes:
        """Return the whole answer; one that failed is not sent, but a status in its place (`delivery`)."""
        message: dict[str, Any] = {"role": "assistant", "content": self._joined("content")}
        if reasoning := self._joined("reasoning_content"):
            message |= {"reasoning_content": reasoning, "reasoning": reasoning}
        if calls := [call for delta in self._kept for call in delta.get("tool_calls", ())]:
            # The index tells the calls of deltas apart; a whole message has a list.
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
            # As OpenAI has it: clients take an empty text beside calls for an answer.
            message["content"] = message["content"] or None
        logprobs = None if self._logprobs is None else {"content": self._entries}
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": self._ending}
        more: dict[str, Any] = {"usage": self.usage}
        if self._asked.token_ids:
            choice["token_ids"] = self._answer_ids
            more["prompt_token_ids"] = self.job.prompt_ids
        return msgspec.json.encode(self.document([choice], **more))

    def _joined(self, key: str) -> str:
        return "".join(delta.get(key) or "" for delta in self._kept)
