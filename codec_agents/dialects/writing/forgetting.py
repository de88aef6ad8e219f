"""Leave the reasoning of earlier exchanges out of a prompt, as the families that do so write their history.

Only control ids decide: what a call, a result or an answer spells is never taken for a marker. Everything
that is not reasoning stays as it was sampled, except for the line ends around it, which these histories lack
too.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from codec_agents.dialects.grammars.marked import recipient_of
from codec_agents.dialects.parsing.block_reader import BlockTable
from codec_agents.dialects.parsing.channel_reader import THINK, ChannelTable


@dataclass(frozen=True, slots=True)
class ReasoningMarks:
    """The marks of reasoning in one vocabulary, where markers are around it.

    Fields:
        open, close: what begins and ends it.
        call_open, call_close: the markers of calls; without the latter a call ends with its turn.
        ends: what ends a turn.
        openings: the ways in which a prompt opens a turn, or opens it again behind results, the longest
            first; each with its form in history where no reasoning follows it.
        spell: the bytes of an id.
    """

    open: int
    close: int
    call_open: Collection[int]
    call_close: Collection[int]
    ends: Collection[int]
    openings: Sequence[tuple[Sequence[int], Sequence[int]]]
    spell: Callable[[int], bytes]


def forget_regions(ids: Sequence[int], begin: int, marks: ReasoningMarks) -> list[int]:
    """Return ids without the reasoning behind a place.

    Args:
        ids: prompts and turns, one after the other.
        begin: where the first turn was generated; its opening is before it.
        marks: how the family marks reasoning.
    """
    opening = _opening_before(ids, begin, marks)
    start = begin - len(opening)
    if marks.open not in ids[start:] and all(
        list(each) == list(plain) or marks.open in each for each, plain in marks.openings
    ):
        return list(ids)  # no reasoning to drop, and no opening that is written otherwise in history
    kept = list(ids[:start])
    # Most ids are in the middle of something: only those that may begin a step are looked at one by one.
    begins = {marks.open, *marks.call_open, *(each[0] for each, _ in marks.openings if each)}
    place = len(kept)
    begun = _places(ids, place, begins)
    while place < len(ids):
        next_begun = bisect_left(begun, place)
        stop = begun[next_begun] if next_begun < len(begun) else len(ids)
        kept += ids[place:stop]
        place = _step(ids, stop, kept, marks) if stop < len(ids) else stop
    return kept


def _places(ids: Sequence[int], start: int, wanted: Collection[int]) -> list[int]:
    """Return the places of some ids from one place on, in order; without a step of Python for each id."""
    data = array("I", ids[start:])
    size, found, spelled = data.itemsize, [], data.tobytes()
    for token_id in wanted:
        pattern = array("I", (token_id,)).tobytes()
        at = spelled.find(pattern)
        while at >= 0:
            if at % size == 0:  # not the end of one id and the beginning of the next
                found.append(start + at // size)
            at = spelled.find(pattern, at + 1)
    return sorted(found)


def _opening_before(ids: Sequence[int], place: int, marks: ReasoningMarks) -> Sequence[int]:
    openings = (opening for opening, _ in marks.openings)
    found = (each for each in openings if list(ids[max(0, place - len(each)) : place]) == list(each))
    return next(found, ())


def _step(ids: Sequence[int], place: int, kept: list[int], marks: ReasoningMarks) -> int:
    """Read one step; return the place after it."""
    # Openings first: the marker of reasoning in one is a part of it. A call is taken whole: what it holds is
    # its payload, whatever the marker.
    for opening, plain in marks.openings:
        if list(ids[place : place + len(opening)]) == list(opening):
            kept += plain
            place += len(opening)
            return _after_reasoning(ids, place, marks) if _leaves_open(opening, marks) else place
    token_id = ids[place]
    if token_id == marks.open:
        _drop_blanks_before(kept, marks)
        return _after_reasoning(ids, place + 1, marks)
    if token_id in marks.call_open:
        stop = _after_call(ids, place, marks)
        kept += ids[place:stop]
        return stop
    kept.append(token_id)
    return place + 1


def _leaves_open(opening: Sequence[int], marks: ReasoningMarks) -> bool:
    return next(
        (each == marks.open for each in reversed(opening) if each in (marks.open, marks.close)), False
    )


def _after_reasoning(ids: Sequence[int], place: int, marks: ReasoningMarks) -> int:
    """Return the place behind reasoning that begins here, and behind the blanks that follow it.

    Reasoning that is never closed ends with the first call, or with its turn.
    """
    end = _find(ids, place, {marks.close, *marks.ends})
    if end == len(ids) or ids[end] != marks.close:
        return _find(ids, place, marks.call_open, end)
    place = end + 1
    while place < len(ids) and _is_blank(ids[place], marks):
        place += 1
    return place


def _after_call(ids: Sequence[int], place: int, marks: ReasoningMarks) -> int:
    end = _find(ids, place + 1, {*marks.call_close, *marks.ends})
    return end + 1 if end < len(ids) and ids[end] in marks.call_close else end


def _find(ids: Sequence[int], place: int, wanted: Collection[int], stop: int | None = None) -> int:
    """Return the next place of one of some ids; where there is none, the end that the search has."""
    stop = len(ids) if stop is None else stop
    return next((n for n in range(place, stop) if ids[n] in wanted), stop)


def _is_blank(token_id: int, marks: ReasoningMarks) -> bool:
    spelled = marks.spell(token_id)
    return bool(spelled) and not spelled.strip(b"\n")


def _drop_blanks_before(kept: list[int], marks: ReasoningMarks) -> None:
    plains = [list(plain) for _, plain in marks.openings if plain]
    while kept and _is_blank(kept[-1], marks) and not any(kept[-len(each) :] == each for each in plains):
        kept.pop()


@dataclass(frozen=True, slots=True)
class MessageMarks:
    """The control ids of messages with headers."""

    start: int
    channel: int
    message: int
    end: int
    final: int
    """The end of a turn's last message where the model ends it, which is `end` in history."""
    spell: Callable[[int], bytes]


def forget_messages(ids: Sequence[int], begin: int, marks: MessageMarks) -> list[int]:
    """Return ids without the messages of reasoning behind a place."""
    # The prompt has opened the first message, before the first generated id.
    opened = max((n for n in range(begin) if ids[n] == marks.start), default=begin)
    kept = list(ids[:opened])
    for message in _messages(ids[opened:], marks.start):
        if not _is_reasoning(message, marks):
            kept += [marks.end if token_id == marks.final else token_id for token_id in message]
    return kept


def _messages(ids: Sequence[int], start: int) -> Iterator[Sequence[int]]:
    places = [*(n for n, token_id in enumerate(ids) if token_id == start), len(ids)]
    for here, there in pairwise(places):
        yield ids[here:there]


def _is_reasoning(message: Sequence[int], marks: MessageMarks) -> bool:
    body = _find(message, 0, {marks.message})
    header = message[1:body]
    channel = _find(header, 0, {marks.channel})
    spelled = b"".join(map(marks.spell, header[channel + 1 :])).strip()
    said = b"".join(map(marks.spell, header)).decode("utf-8", "replace")
    return bytes(spelled).split()[:1] == [b"analysis"] and recipient_of(said) is None


def forget_blocks(ids: Sequence[int], begin: int, table: BlockTable) -> list[int]:
    """Return ids without the blocks of reasoning behind a place, or open there."""
    # The prompt has opened the block, before the first generated id.
    opened = max((n for n in range(begin) if ids[n] == table.start), default=begin)
    kept, place = list(ids[:opened]), opened
    while place < len(ids):
        if ids[place] == table.thinking:
            # The start of the block before stays, and is the start of the one behind it.
            place = _find(ids, place, {table.end, *table.stops})
            while place < len(ids) and ids[place] in (table.end, table.start):
                place += 1
            continue
        kept.append(ids[place])
        place += 1
    return kept


def forget_channels(ids: Sequence[int], begin: int, table: ChannelTable) -> list[int]:
    """Return ids without the channels of reasoning that stand behind a place, or are open there."""
    # The prompt may have opened the channel, before the first generated id.
    opened = max((n for n in range(begin) if ids[n] == table.open), default=begin)
    kept, place = list(ids[:opened]), opened
    while place < len(ids):
        if ids[place] == table.open:
            stop = _tag_stop(ids, place, table)
            if table.tag_name(ids[place + 1 : stop - 1]) == THINK:
                place = _channel_stop(ids, stop, table)
                continue
        kept.append(ids[place])
        place += 1
    return kept


def _tag_stop(ids: Sequence[int], place: int, table: ChannelTable) -> int:
    return min(_find(ids, place, {table.separator}) + 1, len(ids))


def _channel_stop(ids: Sequence[int], place: int, table: ChannelTable) -> int:
    """Return the place behind the end of the channel of reasoning, or where its turn ends without one."""
    while place < len(ids) and ids[place] not in table.stops:
        if ids[place] == table.close:
            stop = _tag_stop(ids, place, table)
            if table.tag_name(ids[place + 1 : stop - 1]) == THINK:
                return stop
        place += 1
    return place
