"""An answer's ids as the text of its lanes, for clients that read text.

Chat answers are cut by the model family's own reader, so reasoning and tool calls leave by OpenAI's fields
for them; plain completions are one lane.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codec_agents.server.apis.families import dialect_of
from codec_agents.server.backends.backend import Job
from codec_agents.server.stops import StopCutter
from codec_core.detokenizer import Detokenizer
from codec_core.frames import CodecFrame

if TYPE_CHECKING:
    from codec_agents.dialects import CallRegion, TurnReader
    from codec_agents.tools.calls import ToolCall
    from codec_core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of one lane."""

    lane: str
    """`answer`, `reasoning` or `tool_calls`."""
    text: str = ""
    call: ToolCall | None = None

    def delta(self, lanes: Lanes) -> dict[str, Any]:
        """Return the piece as a chat delta."""
        if self.call is None:
            if self.lane == "reasoning":  # by both names: clients read, and send back, one of them
                return {"reasoning_content": self.text, "reasoning": self.text}
            return {"content": self.text}
        function = {"name": self.call.name, "arguments": json.dumps(self.call.arguments, ensure_ascii=False)}
        call_id = self.call.call_id or f"call_{uuid.uuid4().hex[:24]}"
        entry = {"index": lanes.calls - 1, "id": call_id, "type": "function", "function": function}
        return {"tool_calls": [entry]}


class Lanes:
    """Cuts the frames of one answer into pieces of text and whole tool calls."""

    def __init__(self, job: Job, *, plain: bool = False, tools: bool = False) -> None:
        self.calls = 0
        """Tool calls given out so far."""
        self._vocabulary = job.model.vocabulary
        self._dialect = None if plain else dialect_of(job.model.vocabulary)
        self._reader: TurnReader | None = None
        if self._dialect is not None:
            self._reader = self._dialect.reader(job.prompt_ids, with_tools=tools)
        self._tools = tools
        self._texts: dict[str, _LaneText] = {}
        self._stops = job.options.stop

    def feed(self, frame: CodecFrame) -> list[Part]:
        """Return what the frame completes."""
        parts = list(self._read(frame))
        if frame.done:
            parts += [Part(lane, rest) for lane, text in self._texts.items() if (rest := text.flush())]
        return parts

    def _read(self, frame: CodecFrame) -> Iterator[Part]:
        if self._reader is None:
            yield from self._decode("answer", frame.ids)
            return
        events = list(self._reader.feed(frame.ids)) if frame.ids else []
        if frame.done:
            events += self._reader.flush(frame.finish_reason)
        for event in events:
            if hasattr(event, "port"):
                yield from self._decode(event.port, event.ids)
            else:
                yield from self._call(event)

    def _decode(self, lane: str, ids: Sequence[int]) -> Iterator[Part]:
        if text := self._text(lane).feed(ids):
            yield Part(lane, text)

    def _text(self, lane: str) -> _LaneText:
        text = self._texts.get(lane)
        if text is None:
            text = self._texts[lane] = _LaneText(self._vocabulary, self._stops)
        return text

    def _call(self, region: CallRegion) -> Iterator[Part]:
        """A call that the client can run goes out as one; anything else stays the text that it is."""
        assert self._dialect is not None
        calls = self._dialect.parse_calls(region)
        for call in calls:
            if self._tools and call.error is None and call.arguments is not None:
                self.calls += 1
                yield Part("tool_calls", call=call)
            elif text := self._text("answer").written(call.text):
                yield Part("answer", text)


class _LaneText:
    """The text of one lane, up to a stop text."""

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str]) -> None:
        self._detokenizer = Detokenizer(vocabulary)
        self._cutter = StopCutter(stops)

    def feed(self, ids: Sequence[int]) -> str:
        """Return the text that these ids complete."""
        return self._cutter.feed(self._detokenizer.feed(ids))

    def written(self, text: str) -> str:
        """Return what becomes of a text that has been decoded already."""
        return self._cutter.feed(text)

    def flush(self) -> str:
        """Return the end of the text."""
        return self._cutter.feed(self._detokenizer.flush()) + self._cutter.flush()
