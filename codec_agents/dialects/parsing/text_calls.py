"""Find calls where a family, or a vocabulary, has no control ids for them: by what the content spells.

Works on the bytes of tokens, so a character split over tokens needs no care. Content is held back only while
it may be the beginning of a call. Ids are cut at their edges; where a marker shares a token with the text
before it, that text is encoded anew, so that the answer is exact to the character.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from codec_agents.dialects.values import CallRegion, PortIds, TurnEvent

CONTROL = b"\xff"
"""The byte before the name of a control token among the bytes of a text. UTF-8 has no such byte, so no text
that spells the name is taken for the token. A payload shows it as U+FFFD."""

WHITE_SPACE = b" \t\r\n"
"""What may stand before a call that begins an answer."""


@dataclass(frozen=True, slots=True)
class TextForm:
    """How calls show in text.

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


class _State(Enum):
    SEARCH = auto()
    CALL = auto()
    PASS = auto()


class TextLane:
    """The answer lane of one turn, searched for calls."""

    __slots__ = (
        "_accept",
        "_bytes",
        "_data",
        "_encode",
        "_first_bytes",
        "_form",
        "_ids",
        "_longest_start",
        "_looked_at",
        "_start",
        "_state",
        "_widths",
    )

    def __init__(
        self,
        form: TextForm,
        token_bytes: Callable[[int], bytes],
        encode: Callable[[str], list[int]],
        accept: Callable[[str], bool],
    ) -> None:
        self._form = form
        self._first_bytes = bytes(start[0] for start in form.starts)
        self._longest_start = max(map(len, form.starts))
        self._bytes = token_bytes
        self._encode = encode
        self._accept = accept
        self._state = _State.SEARCH
        self._ids: list[int] = []
        self._widths: list[int] = []
        self._data = bytearray()
        self._looked_at = 0
        """Bytes at the beginning in which the next look finds nothing new: it begins behind them."""
        self._start = 0

    def feed(self, ids: Sequence[int], start: int) -> list[TurnEvent]:
        """Take content that begins at a position of the turn; return what is decided."""
        if self._state is _State.PASS:
            return [PortIds("answer", tuple(ids), start)]
        if not self._ids:
            self._start = start
        else:  # markers of other lanes may have stood between
            self._start = start - len(self._ids)
        events: list[TurnEvent] = []
        spelled = [*map(self._bytes, ids)]
        self._ids += ids
        self._widths += map(len, spelled)
        self._data += b"".join(spelled)
        while self._advance(events):
            pass
        return events

    def flush(self, *, proper: bool) -> list[TurnEvent]:
        """End the answer; return what was held. A call without its end is closed only if nothing ends it."""
        events: list[TurnEvent] = []
        if self._state is _State.CALL:
            self._give_call(len(self._data), events, closed=proper and self._form.end is None)
        self._give_answer(len(self._ids), events)
        self._state = _State.SEARCH if self._form.anywhere else _State.PASS
        return events

    def _advance(self, events: list[TurnEvent]) -> bool:
        """Take one step; return whether another may follow."""
        match self._state:
            case _State.SEARCH if self._form.anywhere:
                return self._search(events)
            case _State.SEARCH:
                return self._look_at_start()
            case _State.CALL:
                return self._look_for_end(events)
            case _State.PASS:
                self._give_answer(len(self._ids), events)
                return False

    def _search(self, events: list[TurnEvent]) -> bool:
        found = [place for start in self._form.starts if (place := self._data.find(start)) >= 0]
        if found:
            self._cut_before(min(found), events)
            self._state = _State.CALL
            return True
        self._give_answer(self._ids_within(len(self._data) - self._possible_start()), events)
        return False

    def _possible_start(self) -> int:
        """Return how many bytes at the end may be the beginning of a start."""
        data, starts = self._data, self._form.starts
        for at in range(max(0, len(data) - self._longest_start + 1), len(data)):
            if data[at] in self._first_bytes and any(start.startswith(data[at:]) for start in starts):
                return len(data) - at
        return 0

    def _look_at_start(self) -> bool:
        data, starts = self._data, self._form.starts
        while self._looked_at < len(data) and data[self._looked_at] in WHITE_SPACE:
            self._looked_at += 1
        begin = self._looked_at
        if any(data.startswith(start, begin) for start in starts):
            self._state = _State.CALL
            return True
        head = data[begin : begin + self._longest_start]
        if any(start.startswith(head) for start in starts):
            return False
        self._state = _State.PASS
        return True

    def _look_for_end(self, events: list[TurnEvent]) -> bool:
        end = self._form.end
        if end is None:
            return False
        place = self._data.find(end, self._looked_at)
        if place < 0:
            self._looked_at = max(self._looked_at, len(self._data) - len(end) + 1)
            return False
        self._give_call(place + len(end), events, closed=True)
        self._state = _State.SEARCH
        return bool(self._data)

    def _give_call(self, stop: int, events: list[TurnEvent], *, closed: bool) -> None:
        """Give the first bytes as a call, if they are one; otherwise as answer."""
        text = self._payload(self._data[:stop], closed=closed)
        count = self._ids_covering(stop)
        if not self._accept(text):
            self._give_answer(count, events)
            return
        rest = self._data[stop : sum(self._widths[:count])]
        region = CallRegion(tuple(self._ids[:count]), self._start, self._start + count, closed, text)
        events.append(region)
        self._drop(count)
        self._reencode(rest, events)

    def _payload(self, data: bytearray, *, closed: bool) -> str:
        if closed and self._form.end is not None:
            data = data[: -len(self._form.end)]
        data = data.lstrip(WHITE_SPACE)
        if not self._form.keep_start:
            start = next(start for start in self._form.starts if data.startswith(start))
            data = data[len(start) :]
        return data.decode("utf-8", "replace")

    def _cut_before(self, place: int, events: list[TurnEvent]) -> None:
        """Give everything before a byte as answer; what is held then begins with that byte."""
        count = self._ids_within(place)
        head = self._data[sum(self._widths[:count]) : place]
        self._give_answer(count, events)
        if head:
            self._reencode(head, events)
            del self._data[: len(head)]
            self._widths[0] -= len(head)

    def _reencode(self, spelled: bytearray, events: list[TurnEvent]) -> None:
        """Give text that shares a token with a marker."""
        if spelled:
            ids = self._encode(spelled.decode("utf-8", "replace"))
            events.append(PortIds("answer", tuple(ids), self._start))

    def _give_answer(self, count: int, events: list[TurnEvent]) -> None:
        if count:
            events.append(PortIds("answer", tuple(self._ids[:count]), self._start))
            self._drop(count)

    def _drop(self, count: int) -> None:
        del self._data[: sum(self._widths[:count])]
        del self._ids[:count], self._widths[:count]
        self._looked_at = 0
        self._start += count

    def _ids_within(self, size: int) -> int:
        """Return how many ids lie wholly within the first bytes."""
        total = 0
        for count, width in enumerate(self._widths):
            total += width
            if total > size:
                return count
        return len(self._widths)

    def _ids_covering(self, size: int) -> int:
        """Return how many ids the first bytes touch."""
        total = 0
        for count, width in enumerate(self._widths):
            if total >= size:
                return count
            total += width
        return len(self._widths)
