"""An answer's ids as the text of its lanes, for clients that read text.

Chat answers are cut by the model family's own reader, so reasoning and tool calls leave by OpenAI's fields
for them; plain completions are one lane.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from codec_agents.server.apis.families import dialect_of
from codec_agents.server.backends.backend import BrokenOffError, Job
from codec_agents.server.parts import Part
from codec_agents.server.stops import StopCutter
from codec_core.detokenizer import Detokenizer
from codec_core.frames import CodecFrame

BLANKS = " \t\r\n"
"""The characters that JSON calls white space. A no-break space is text."""

CUT_OFF = frozenset({"length", "error", "abort", "policy_violation", "content_filter"})
"""Reasons of turns that others than the model ended."""

if TYPE_CHECKING:
    from codec_agents.dialects import BoundDialect, CallRegion, TurnReader
    from codec_core.vocabulary import Vocabulary


class _Blanks:
    """Holds the white space of a chat's lanes back until text comes.

    What a model writes between reasoning and a call is a line or two, and clients take an answer of white
    space for the end of the turn. So it is dropped before a call, and where reasoning is nothing else; the
    ids keep it.
    """

    def __init__(self) -> None:
        self._held: dict[str, list[str]] = {}
        """The white space at the beginning of each lane; no longer there once the lane has text."""
        self._begun: set[str] = set()

    def pass_on(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts that are known to be text, or calls."""
        for part in parts:
            if part.call is not None:  # behind it every lane begins anew
                self._held.clear()
                self._begun.clear()
            elif part.lane not in self._begun:
                # In pieces: a model may write nothing but white space, which joined anew each time would take
                # the square of its length.
                held = self._held.setdefault(part.lane, [])
                held.append(part.text)
                if not part.text.strip(BLANKS):
                    continue
                self._held.pop(part.lane)
                self._begun.add(part.lane)
                part = Part(part.lane, "".join(held), stop=part.stop)
            yield part

    def rest(self) -> Iterator[Part]:
        """Yield an answer of white space alone, when the turn ends without a call."""
        # Behind all of the answer's ids, of which this is the whole text.
        if text := "".join(self._held.get("answer", ())):
            yield Part("answer", text, stop=sys.maxsize)


class Lanes:
    """Cuts the frames of one answer into pieces of text and whole tool calls."""

    def __init__(self, job: Job, *, plain: bool = False, tools: bool = False) -> None:
        self.calls = 0
        """Tool calls given out so far."""
        self.reasoning_ids = 0
        """Ids of reasoning so far."""
        self.held = 0
        """Ids that are no text yet: those of a call, which is read when it is whole."""
        self.answer_spans: list[tuple[int, int]] = []
        """The positions of the answer's ids; a form that pairs them with text takes them out."""
        self.progress: list[Mapping[str, Any]] = []
        """What happened in the run since this was last emptied, where the client asked for it."""
        self._told = job.told
        self._vocabulary = job.model.vocabulary
        # A back end that tells calls and reasoning itself (`told`) gives the text of the answer alone as ids.
        # No markers are in them, and a dialect would take text that looks like some for a call.
        unmarked = plain or job.told is not None
        self._dialect = None if unmarked else dialect_of(job.model.vocabulary)
        self._reader: TurnReader | None = None
        if self._dialect is not None and tools and job.chat is not None:
            # Their schemas say what the values of calls are, where a family writes values without types.
            self._dialect = self._dialect.with_tools(job.chat.offered_tools)
        if self._dialect is not None:
            self._reader = reader_behind(self._dialect, job.prompt_ids, job.begun, with_tools=tools)
        self._begun = job.begun
        self._must_call = job.begun and job.chat is not None and job.chat.tool_choice == "required"
        self._stop = 0
        self._fed = job.begun
        self._tools = tools
        self._texts: dict[str, _LaneText] = {}
        self._stops = job.options.stop
        self._blanks = None if plain else _Blanks()
        self._recorder = job.recorder

    @property
    def stopped(self) -> str | None:
        """The stop text that ended a lane."""
        return next((stop for text in self._texts.values() if (stop := text.stopped)), None)

    def feed(self, frame: CodecFrame) -> list[Part]:
        """Return what the frame completes."""
        parts = self._all_parts(frame)
        if self._blanks is None:
            return list(parts)
        passed = list(self._blanks.pass_on(parts))
        if frame.done and not self.calls:
            passed += self._blanks.rest()
        # The prompt began a call, so this is a part of one. Of a turn that was cut, the reason tells as much.
        if frame.done and self._must_call and not self.calls and frame.finish_reason not in CUT_OFF:
            raise BrokenOffError("the model was made to call a tool, and what it wrote is no call")
        if self._recorder is not None:
            self._recorder.heard(passed)
        return passed

    def _all_parts(self, frame: CodecFrame) -> Iterator[Part]:
        yield from self._parts_told()
        yield from self._read(frame)
        if frame.done:
            for lane, text in self._texts.items():
                if rest := text.flush():
                    yield Part(lane, rest, stop=self._stop)
            yield from self._parts_told(calls=True)  # they are behind the text

    def _parts_told(self, *, calls: bool = False) -> Iterator[Part]:
        while self._told and (calls or self._told[0].call is None):
            part = self._told.popleft()
            if part.event is not None:
                self.progress.append(part.event)
                continue
            self.calls += part.call is not None
            yield part

    def _read(self, frame: CodecFrame) -> Iterator[Part]:
        if self._reader is None:
            yield from self._decode("answer", frame.ids)
            return
        events = list(self._reader.feed(frame.ids)) if frame.ids else []
        self._fed += len(frame.ids)
        self.held += len(frame.ids)
        if frame.done:
            events += self._reader.flush(frame.finish_reason)
        for event in events:
            self.held = self._fed - getattr(event, "stop", event.start)
            # `PortIds`, without its import: a server of frames alone never loads the dialects.
            if hasattr(event, "port"):
                self.reasoning_ids += len(event.ids) if event.port == "reasoning" else 0
                self._note(event.port, event.start, event.start + len(event.ids))
                yield from self._decode(event.port, event.ids)
            else:
                yield from self._call(event)

    def _decode(self, lane: str, ids: Sequence[int]) -> Iterator[Part]:
        if text := self._text(lane).feed(ids):
            yield Part(lane, text, stop=self._stop)

    def _note(self, lane: str, start: int, stop: int) -> None:
        start, stop = max(0, start - self._begun), max(0, stop - self._begun)
        self._stop = stop
        if lane == "answer":
            if self.answer_spans and self.answer_spans[-1][1] == start:
                start = self.answer_spans.pop()[0]
            self.answer_spans.append((start, stop))

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
                self._note("answer", region.start, region.stop)
                yield Part("answer", text, stop=self._stop)


def reader_behind(
    dialect: BoundDialect, prompt_ids: Sequence[int], begun: int, *, with_tools: bool
) -> TurnReader:
    """Return a reader for the sampled ids of a turn that the server began.

    Positions count from the beginning of the turn, so the first sampled id has the position `begun`.

    Args:
        dialect: the dialect.
        prompt_ids: the prompt, the beginning of the turn included.
        begun: how many of its last ids are that beginning.
        with_tools: whether the model was told tools.
    """
    opening = len(prompt_ids) - begun
    reader = dialect.reader(prompt_ids[:opening] if begun else prompt_ids, with_tools=with_tools)
    if begun:
        reader.feed(prompt_ids[opening:])  # nothing that the model said
    return reader


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

    @property
    def stopped(self) -> str | None:
        """The stop text before which the text was cut."""
        return self._cutter.found

    def flush(self) -> str:
        """Return the end of the text."""
        return self._cutter.feed(self._detokenizer.flush()) + self._cutter.flush()
