"""Find calls where a family, or a vocabulary, has no control ids for them: by what the content spells.

The rules of this file:

1. Text that names a mark is not a call. What follows a mark decides, as soon as it can: the mark, and all
   that was held with it, is then answer again, each id once and as it was sampled.
2. Content is held back only while it may be the beginning of a call, or is inside one.
3. The search works on bytes, so a character that is split over tokens needs no care. A token that a call
   shares with the text beside it is divided: the text's part is encoded anew, exact to the byte.
4. How the ids were cut into feeds never changes what comes out, put together.
5. The cost of a turn is linear in its bytes: no byte is searched again that a search has settled.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from codec_agents.dialects.values import CallRegion, PortIds, TurnEvent

CONTROL = b"\xff"
"""The byte before the name of a control token among the bytes of a text. UTF-8 has no such byte, so no text
that spells the name is taken for the token. A payload shows it as U+FFFD."""

WHITE_SPACE = b" \t\r\n"
"""The bytes that may be before a call that begins an answer."""

UNDECIDED_BYTES = 512
"""The bytes behind a mark within which it is decided whether a call begins: longer than any tool's name."""


@dataclass(frozen=True, slots=True)
class TextForm:
    """The marks of calls in text.

    Fields:
        starts: what a call begins with.
        end: what ends it; None where only the turn's end does.
        anywhere: whether it may begin in the middle of an answer, or only as its first character.
        keep_start: whether the start is itself part of the payload: `{` is, `functools` is not.
    """

    starts: tuple[bytes, ...]
    end: bytes | None
    anywhere: bool
    keep_start: bool


class CallTest(Protocol):
    """Tells calls from text that looks like them."""

    def begins(self, payload: str) -> bool | None:
        """Return whether a call begins with this payload; None while more of it has to come."""

    def is_call(self, payload: str) -> bool:
        """Return whether a whole payload is a call, or the attempt of one."""


class _State(Enum):
    SEARCH = auto()
    MARK = auto()
    """Behind a mark, before it is decided whether a call begins."""
    CALL = auto()
    PASS = auto()


class TextLane:
    """The answer lane of one turn, searched for calls."""

    __slots__ = (
        "_bytes",
        "_call_at",
        "_data",
        "_encode",
        "_end_from",
        "_form",
        "_ids",
        "_longest_start",
        "_search_from",
        "_shared",
        "_start",
        "_state",
        "_test",
        "_widths",
    )

    def __init__(
        self,
        form: TextForm,
        token_bytes: Callable[[int], bytes],
        encode: Callable[[str], list[int]],
        test: CallTest,
    ) -> None:
        self._form = form
        self._longest_start = max(map(len, form.starts))
        self._bytes = token_bytes
        self._encode = encode
        self._test = test
        self._state = _State.SEARCH
        # What is held: ids, how many bytes of each are held, the bytes, and the position of the first id.
        self._ids: list[int] = []
        self._widths: list[int] = []
        self._data = bytearray()
        self._start = 0
        # Whether a call before has taken the first bytes of the first held token.
        self._shared = False
        # Places in the bytes: no mark begins before the first; the mark of the call; no end before the last.
        self._search_from = 0
        self._call_at = 0
        self._end_from = 0

    def feed(self, ids: Sequence[int], start: int) -> list[TurnEvent]:
        """Take content that begins at a position of the turn; return what is decided."""
        if self._state is _State.PASS and not self._ids:
            return [PortIds("answer", tuple(ids), start)]
        # Markers of other lanes may have been between this content and what is held.
        self._start = start - len(self._ids)
        spelled = [*map(self._bytes, ids)]
        self._ids += ids
        self._widths += map(len, spelled)
        self._data += b"".join(spelled)
        events: list[TurnEvent] = []
        while _STEPS[self._state](self, events):
            pass
        return events

    def flush(self, *, proper: bool) -> list[TurnEvent]:
        """End the answer; return what was held. A call without its end is closed only if nothing ends it."""
        events: list[TurnEvent] = []
        while self._state in (_State.MARK, _State.CALL):  # a mark that is rejected may hide another one
            if self._test.is_call(self._payload(len(self._data))):
                self._give_call(len(self._data), events, closed=proper and self._form.end is None)
                break
            self._reject()
            while _STEPS[self._state](self, events):
                pass
        self._release(len(self._data), events, final=True)
        # The answer may go on behind another region: reasoning, or a call between marks.
        self._state = _State.SEARCH if self._form.anywhere else _State.PASS
        self._search_from = 0
        return events

    # Each step looks once at what is held, and returns whether another step may follow.

    def _search(self, events: list[TurnEvent]) -> bool:
        return self._find_mark(events) if self._form.anywhere else self._look_at_beginning()

    def _find_mark(self, events: list[TurnEvent]) -> bool:
        data, begin = self._data, self._search_from
        found = [at for start in self._form.starts if (at := data.find(start, begin)) >= 0]
        if found:
            self._search_from = self._call_at = min(found)
            self._release(self._call_at, events)
            self._state = _State.MARK
            return True
        self._search_from = max(begin, len(data) - self._possible_start())
        self._release(self._search_from, events)
        return False

    def _possible_start(self) -> int:
        """Return how many bytes at the end may be the beginning of a mark."""
        data, starts = self._data, self._form.starts
        for at in range(max(self._search_from, len(data) - self._longest_start + 1), len(data)):
            if any(start.startswith(data[at:]) for start in starts):
                return len(data) - at
        return 0

    def _look_at_beginning(self) -> bool:
        """Find a mark that is the first of the answer, behind white space."""
        data, starts = self._data, self._form.starts
        while self._search_from < len(data) and data[self._search_from] in WHITE_SPACE:
            self._search_from += 1
        head = data[self._search_from : self._search_from + self._longest_start]
        if any(head.startswith(start) for start in starts):
            self._call_at = 0  # the white space goes with the call: alone it would be an answer
            self._state = _State.MARK
            return True
        if any(start.startswith(head) for start in starts):
            return False
        self._state = _State.PASS
        return True

    def _decide(self, _events: list[TurnEvent]) -> bool:
        """Decide whether a call begins behind the mark."""
        payload = self._begun_payload()
        end = self._next_end()
        whole = end >= 0 or len(payload) >= UNDECIDED_BYTES
        if end >= 0:  # it may begin within the mark, so that nothing is between them
            payload = payload[: max(0, len(payload) - (len(self._data) - end))]
        # A character that is not whole yet decides nothing.
        text, _ = utf_8_decode(payload[:UNDECIDED_BYTES], "replace", False)
        begins = self._test.begins(text)
        if begins is None and not whole:
            return False
        if begins:
            self._state = _State.CALL
        else:
            self._reject()
        return True

    def _find_end(self, events: list[TurnEvent]) -> bool:
        at = self._next_end()
        if self._form.end is None or at < 0:
            return False
        if not self._test.is_call(self._payload(at)):
            self._reject()
            return True
        self._give_call(at + len(self._form.end), events, closed=True)
        self._state = _State.SEARCH
        return bool(self._data)

    def _next_end(self) -> int:
        """Return where the first end behind the mark is; -1 where there is none yet."""
        end = self._form.end
        if end is None:
            return -1
        at = self._data.find(end, max(self._call_at, self._end_from))
        self._end_from = at if at >= 0 else max(self._end_from, len(self._data) - len(end) + 1)
        return at

    def _pass(self, events: list[TurnEvent]) -> bool:
        self._release(len(self._data), events, final=True)
        return False

    def _reject(self) -> None:
        """Take the mark for text, and look for the next one."""
        self._search_from = self._call_at + 1
        self._state = _State.SEARCH if self._form.anywhere else _State.PASS

    def _begun_payload(self) -> bytearray:
        """Return what is held behind the mark, the mark included where the family keeps it."""
        data = self._data[self._call_at :].lstrip(WHITE_SPACE)
        if self._form.keep_start:
            return data
        start = max((start for start in self._form.starts if data.startswith(start)), key=len)
        return data[len(start) :]

    def _payload(self, end: int) -> str:
        payload = self._begun_payload()
        return payload[: len(payload) - (len(self._data) - end)].decode("utf-8", "replace")

    # What is decided leaves the lane.

    def _give_call(self, stop: int, events: list[TurnEvent], *, closed: bool) -> None:
        """Give the bytes from the mark to a place as a call, and the bytes before it as answer."""
        end = stop if self._form.end is None or not closed else stop - len(self._form.end)
        text = self._payload(end)
        # Where calls begin an answer, only white space is before the mark, and goes with the call.
        if head := self._data[: self._call_at] if self._form.anywhere else b"":
            self._give_encoded(head, events)
        count = self._count_covering(stop)
        events.append(CallRegion(tuple(self._ids[:count]), self._start, self._start + count, closed, text))
        rest = sum(self._widths[:count]) - stop
        self._shared = rest > 0
        if rest:  # the last token goes on with text: it is divided
            count -= 1
            self._widths[count] = rest
        del self._ids[:count], self._widths[:count], self._data[:stop]
        self._start += count
        self._search_from = self._call_at = self._end_from = 0

    def _give_encoded(self, spelled: bytes | bytearray, events: list[TurnEvent]) -> None:
        """Give the part of a token that is not a call's."""
        ids = self._encode(spelled.decode("utf-8", "replace"))
        events.append(PortIds("answer", tuple(ids), self._start))

    def _release(self, size: int, events: list[TurnEvent], *, final: bool = False) -> None:
        """Give the ids that lie wholly within the first bytes as answer.

        An unfinished character stays: a token that a call divides must be encoded anew with all of it.
        """
        count = self._count_within(size)
        while count and not final and not self._ends_whole(count):
            count -= 1
        if not count:
            return
        first = 1 if self._shared else 0
        if first:  # the call has taken its token's head: the rest has no id of its own
            while first < count and not self._ends_whole(first):
                first += 1
            self._give_encoded(self._data[: sum(self._widths[:first])], events)
            self._shared = False
        if first < count:
            events.append(PortIds("answer", tuple(self._ids[first:count]), self._start + first))
        width = sum(self._widths[:count])
        del self._ids[:count], self._widths[:count], self._data[:width]
        self._start += count
        self._search_from = max(0, self._search_from - width)
        self._call_at = max(0, self._call_at - width)
        self._end_from = max(0, self._end_from - width)

    def _ends_whole(self, count: int) -> bool:
        """Return whether the first ids end with a whole character."""
        width = sum(self._widths[:count])
        tail = self._data[max(0, width - 4) : width]  # no character is longer
        return utf_8_decode(tail, "replace", False)[1] == len(tail)

    def _count_within(self, size: int) -> int:
        """Return how many ids lie wholly within the first bytes."""
        total = 0
        for count, width in enumerate(self._widths):
            total += width
            if total > size:
                return count
        return len(self._widths)

    def _count_covering(self, size: int) -> int:
        """Return how many ids the first bytes touch."""
        total = 0
        for count, width in enumerate(self._widths):
            if total >= size:
                return count
            total += width
        return len(self._widths)


_STEPS: Mapping[_State, Callable[[TextLane, list[TurnEvent]], bool]] = {
    _State.SEARCH: TextLane._search,
    _State.MARK: TextLane._decide,
    _State.CALL: TextLane._find_end,
    _State.PASS: TextLane._pass,
}
