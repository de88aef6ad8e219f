"""Find calls where a family, or a vocabulary, has no control ids for them: by what the content spells.

The rules of this file:

1. Text that names a mark is not a call. What follows a mark decides, as soon as it can: the mark, and all
   that was held with it, is then answer again, each id once and as it was sampled.
2. Content is held back only while it may be the beginning of a call, or is inside one.
3. The search works on bytes, so a character that is split over tokens needs no care. A token that a call
   shares with the text beside it is divided: the text's part is encoded anew, exact to the byte.
4. How the ids were cut into feeds never changes what comes out, put together.
5. The cost of a turn is linear in its bytes: no byte is searched again that a search has settled, and of
   the marks before one end, `MOST_TRIED` and the last are tried.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import Protocol

from codec_agents.dialects.values import CallRegion, Port, PortIds, TurnEvent

CONTROL = b"\xff"
"""The byte before the name of a control token among the bytes of a text. UTF-8 has no such byte, so no text
that spells the name is taken for the token. A payload shows it as U+FFFD."""

WHITE_SPACE = b" \t\r\n"
"""The bytes that may be before a call that begins an answer."""

UNDECIDED_BYTES = 512
"""The bytes behind a mark within which it is decided whether a call begins: longer than any tool's name."""

MOST_TRIED = 32
"""The first marks before one end that are tried as the beginning of its call. A call whose payload names its
own mark is found as well; each try reads all up to the end."""


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
    """The answer of one turn, or its reasoning, searched for calls."""

    __slots__ = (
        "_bytes",
        "_call_at",
        "_data",
        "_encode",
        "_end_from",
        "_form",
        "_ids",
        "_longest_start",
        "_mark",
        "_port",
        "_search_from",
        "_shared",
        "_start",
        "_state",
        "_test",
        "_tried",
        "_tried_at",
        "_widths",
        "_withdrawn",
    )

    def __init__(
        self,
        form: TextForm,
        token_bytes: Callable[[int], bytes],
        encode: Callable[[str], list[int]],
        test: CallTest,
        port: Port = "answer",
    ) -> None:
        self._form = form
        self._port = port
        # Of each call, by its beginning: the ids that are its text and no other.
        self._withdrawn: dict[int, tuple[int, ...]] = {}
        self._longest_start = max(map(len, form.starts))
        self._mark = re.compile(b"|".join(map(re.escape, form.starts)))
        self._bytes = token_bytes
        self._encode = encode
        self._test = test
        self._state = _State.SEARCH
        # What is held: ids, how many bytes of each are held, the bytes, and the position of the first id.
        self._ids: deque[int] = deque()
        self._widths: deque[int] = deque()
        self._data = bytearray()
        self._start = 0
        # Whether a call before has taken the first bytes of the first held token.
        self._shared = False
        # Places in the bytes: no mark begins before the first, which is that of the mark while there is one;
        # where its call begins; no end before the last.
        self._search_from = 0
        self._call_at = 0
        self._end_from = 0
        # How many marks were tried in vain with the end at a place.
        self._tried = 0
        self._tried_at = 0

    def feed(self, ids: Sequence[int], start: int) -> list[TurnEvent]:
        """Take content that begins at a position of the turn; return what is decided."""
        if self._state is _State.PASS and not self._ids:
            return [PortIds(self._port, tuple(ids), start)]
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
            if self._is_call(len(self._data)):
                self._give_call(len(self._data), events, closed=proper and self._form.end is None)
                break
            self._reject(len(self._data))
            while _STEPS[self._state](self, events):
                pass
        self._release(len(self._data), events, final=True)
        # The answer may go on behind another region: reasoning, or a call between marks.
        self._state = _State.SEARCH if self._form.anywhere else _State.PASS
        self._search_from = 0
        return events

    def withdraw(self, call: CallRegion) -> PortIds:
        """Return a call of reasoning as the text that it was after all."""
        return PortIds(self._port, self._withdrawn[call.start], call.start)

    # Each step looks once at what is held, and returns whether another step may follow.

    def _search(self, events: list[TurnEvent]) -> bool:
        return self._find_mark(events) if self._form.anywhere else self._look_at_beginning()

    def _find_mark(self, events: list[TurnEvent]) -> bool:
        data, begin = self._data, self._search_from
        if found := self._mark.search(data, begin):
            self._search_from = self._call_at = found.start()
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
        begin, end = self._payload_at(), self._next_end()
        stop = len(self._data) if end < 0 else max(begin, end)  # it may begin within the mark
        whole = end >= 0 or stop - begin >= UNDECIDED_BYTES
        # A character that is not whole yet decides nothing.
        text, _ = utf_8_decode(self._data[begin : min(stop, begin + UNDECIDED_BYTES)], "replace", False)
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
        if not self._is_call(at):
            self._reject(at)
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

    def _reject(self, end: int | None = None) -> None:
        """Take the mark for text, and look for the next one: with an end, for one that may be tried."""
        self._search_from = self._call_at + 1
        self._state = _State.SEARCH if self._form.anywhere else _State.PASS
        if end is None:
            return
        self._tried = self._tried + 1 if self._tried_at == end else 1
        self._tried_at = end
        if self._tried == MOST_TRIED:
            last = max(self._data.rfind(start, self._search_from, end) for start in self._form.starts)
            # Without one, a mark that the end is in may still begin before it.
            self._search_from = max(self._search_from, end - self._longest_start + 1 if last < 0 else last)

    def _is_call(self, end: int) -> bool:
        return self._test.is_call(self._payload(end))

    def _payload_at(self) -> int:
        """Return where the payload begins: behind the mark, or at it where the family keeps it."""
        at = self._search_from
        if self._form.keep_start:
            return at
        return at + max(len(start) for start in self._form.starts if self._data.startswith(start, at))

    def _payload(self, end: int) -> str:
        return self._data[self._payload_at() : end].decode("utf-8", "replace")

    # What is decided leaves the lane.

    def _give_call(self, stop: int, events: list[TurnEvent], *, closed: bool) -> None:
        """Give the bytes from the mark to a place as a call, and the bytes before it as answer."""
        end = stop if self._form.end is None or not closed else stop - len(self._form.end)
        text = self._payload(end)
        # Where calls begin an answer, only white space is before the mark, and goes with the call.
        if head := self._data[: self._call_at] if self._form.anywhere else b"":
            self._give_encoded(head, events)
        count = self._count_covering(stop)
        ids = tuple(islice(self._ids, count))
        events.append(CallRegion(ids, self._start, self._start + count, closed, text))
        rest = sum(islice(self._widths, count)) - stop
        if self._port == "reasoning":
            self._withdrawn[self._start] = self._own_ids(
                ids, stop, divided=bool(head) or self._shared, rest=rest
            )
        self._shared = rest > 0
        self._drop(count - 1 if rest else count, stop)
        if rest:  # the last token goes on with text: it is divided
            self._widths[0] = rest
        self._search_from = self._call_at = self._end_from = self._tried_at = 0

    def _own_ids(self, ids: tuple[int, ...], stop: int, *, divided: bool, rest: int) -> tuple[int, ...]:
        """Return ids of a call's bytes alone: those of tokens that it shares with text are encoded anew."""
        first, last, widths = 0, len(ids), [*islice(self._widths, len(ids))]
        head: list[int] = []
        tail: list[int] = []
        if divided:
            first, end = 1, widths[0]
            while first < last and not self._ends_whole(end):
                end += widths[first]
                first += 1
            head = self._encode(self._data[self._call_at : min(end, stop)].decode("utf-8", "replace"))
        if rest and first < last:
            begin, last = sum(widths[:-1]), last - 1
            while first < last and not self._ends_whole(begin):
                last -= 1
                begin -= widths[last]
            tail = self._encode(self._data[begin:stop].decode("utf-8", "replace"))
        return (*head, *ids[first:last], *tail)

    def _drop(self, count: int, width: int) -> None:
        """Drop ids and bytes that are decided; what is held behind them is not moved."""
        for _ in range(count):
            self._ids.popleft()
            self._widths.popleft()
        del self._data[:width]
        self._start += count

    def _give_encoded(self, spelled: bytes | bytearray, events: list[TurnEvent]) -> None:
        """Give the part of a token that is not a call's."""
        ids = self._encode(spelled.decode("utf-8", "replace"))
        events.append(PortIds(self._port, tuple(ids), self._start))

    def _release(self, size: int, events: list[TurnEvent], *, final: bool = False) -> None:
        """Give the ids that lie wholly within the first bytes as answer.

        An unfinished character stays: a token that a call divides must be encoded anew with all of it.
        """
        count, width = self._count_within(size)
        while count and not final and not self._ends_whole(width):
            count -= 1
            width -= self._widths[count]
        if not count:
            return
        first = 0
        if self._shared:  # the call has taken its token's head: the rest has no id of its own
            first, begin = 1, self._widths[0]
            while first < count and not self._ends_whole(begin):
                begin += self._widths[first]
                first += 1
            self._give_encoded(self._data[:begin], events)
            self._shared = False
        if first < count:
            events.append(PortIds(self._port, tuple(islice(self._ids, first, count)), self._start + first))
        self._drop(count, width)
        self._search_from = max(0, self._search_from - width)
        self._call_at = max(0, self._call_at - width)
        self._end_from = max(0, self._end_from - width)
        self._tried_at = max(0, self._tried_at - width)

    def _ends_whole(self, width: int) -> bool:
        """Return whether the first bytes end with a whole character."""
        tail = self._data[max(0, width - 4) : width]  # no character is longer
        return utf_8_decode(tail, "replace", False)[1] == len(tail)

    def _count_within(self, size: int) -> tuple[int, int]:
        """Return how many ids lie wholly within the first bytes, and how many bytes they have."""
        total = 0
        for count, width in enumerate(self._widths):
            if total + width > size:
                return count, total
            total += width
        return len(self._widths), total

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
