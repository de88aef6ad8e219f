"""Leave the reasoning of earlier exchanges out of a prompt, as the families that do so write their history.

Only control ids decide: what a call, a result or an answer spells is never taken for a marker. Everything
that is not reasoning stays as it was sampled, except for the line ends around it, which these histories lack
too.

A history has few control ids among many others. So these are looked up (`Places`), and the ids between them
are copied together, without a step of Python for each id.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from codec_agents.dialects.grammars.marked import recipient_of
from codec_agents.dialects.parsing.block_reader import BlockTable
from codec_agents.dialects.parsing.channel_reader import MAX_TAG_IDS, THINK, ChannelTable
from codec_agents.dialects.writing.places import Places


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
    openings: Sequence[tuple[array[int], array[int]]]
    spell: Callable[[int], bytes]


def forget_regions(ids: Sequence[int], begin: int, marks: ReasoningMarks) -> array[int]:
    """Return ids without the reasoning behind a place.

    Args:
        ids: prompts and turns, one after the other.
        begin: where the first turn was generated; its opening is before it.
        marks: how the family marks reasoning.
    """
    places = Places(ids)
    ids = places.ids
    place = begin - len(_opening_before(ids, begin, marks))
    if places.next(place, (marks.open,)) == len(ids) and all(
        each == plain or marks.open in each for each, plain in marks.openings
    ):
        return ids  # no reasoning to drop, and no opening that is written otherwise in history
    kept = ids[:place]
    # Most ids are in the middle of something: only those that may begin a step are looked at one by one.
    begins = {marks.open, *marks.call_open, *(each[0] for each, _ in marks.openings if each)}
    for step in places.of_all(begins):
        # What an earlier step has read is behind it.
        if step >= place:
            kept += ids[place:step]
            place = _step(places, step, kept, marks)
    return kept + ids[place:]


def _opening_before(ids: array[int], place: int, marks: ReasoningMarks) -> Sequence[int]:
    openings = (opening for opening, _ in marks.openings)
    return next((each for each in openings if ids[max(0, place - len(each)) : place] == each), ())


def _step(places: Places, place: int, kept: array[int], marks: ReasoningMarks) -> int:
    """Read one step; return the place after it."""
    # Openings first: the marker of reasoning in one is a part of it. A call is taken whole: what it holds is
    # its payload, whatever the marker.
    ids = places.ids
    for opening, plain in marks.openings:
        if ids[place : place + len(opening)] == opening:
            kept += plain
            place += len(opening)
            return _after_reasoning(places, place, marks) if _leaves_open(opening, marks) else place
    token_id = ids[place]
    if token_id == marks.open:
        _drop_blanks_before(kept, marks)
        return _after_reasoning(places, place + 1, marks)
    if token_id in marks.call_open:
        stop = _after_call(places, place, marks)
        kept += ids[place:stop]
        return stop
    kept.append(token_id)
    return place + 1


def _leaves_open(opening: Sequence[int], marks: ReasoningMarks) -> bool:
    return next(
        (each == marks.open for each in reversed(opening) if each in (marks.open, marks.close)), False
    )


def _after_reasoning(places: Places, place: int, marks: ReasoningMarks) -> int:
    """Return the place behind reasoning that begins here, and behind the blanks that follow it.

    Reasoning that is never closed ends with the first call, or with its turn.
    """
    ids = places.ids
    end = places.next(place, (marks.close, *marks.ends))
    if end == len(ids) or ids[end] != marks.close:
        return places.next(place, marks.call_open, end)
    place = end + 1
    while place < len(ids) and _is_blank(ids[place], marks):
        place += 1
    return place


def _after_call(places: Places, place: int, marks: ReasoningMarks) -> int:
    ids = places.ids
    end = places.next(place + 1, (*marks.call_close, *marks.ends))
    return end + 1 if end < len(ids) and ids[end] in marks.call_close else end


def _is_blank(token_id: int, marks: ReasoningMarks) -> bool:
    spelled = marks.spell(token_id)
    return bool(spelled) and not spelled.strip(b"\n")


def _drop_blanks_before(kept: array[int], marks: ReasoningMarks) -> None:
    plains = [plain for _, plain in marks.openings if plain]
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


def forget_messages(ids: Sequence[int], begin: int, marks: MessageMarks) -> array[int]:
    """Return ids without the messages of reasoning behind a place."""
    places = Places(ids)
    # The prompt has opened the first message, before the first generated id.
    opened = places.last_before(begin, marks.start)
    opened = places.next(begin, (marks.start,)) if opened is None else opened
    kept = places.ids[:opened]
    for start, stop in _messages(places, opened, marks.start):
        if _is_reasoning(places, start, stop, marks):
            continue
        while (final := places.next(start, (marks.final,), stop)) < stop:
            kept += places.ids[start:final]
            kept.append(marks.end)
            start = final + 1
        kept += places.ids[start:stop]
    return kept


def _messages(places: Places, opened: int, start: int) -> Iterator[tuple[int, int]]:
    starts = [place for place in places.of(start) if place >= opened]
    yield from pairwise([*starts, len(places.ids)])


def _is_reasoning(places: Places, start: int, stop: int, marks: MessageMarks) -> bool:
    body = places.next(start, (marks.message,), stop)
    channel = places.next(start + 1, (marks.channel,), body)
    spelled = b"".join(map(marks.spell, places.ids[channel + 1 : body])).strip()
    said = b"".join(map(marks.spell, places.ids[start + 1 : body])).decode("utf-8", "replace")
    return bytes(spelled).split()[:1] == [b"analysis"] and recipient_of(said) is None


def forget_blocks(ids: Sequence[int], begin: int, table: BlockTable) -> array[int]:
    """Return ids without the blocks of reasoning behind a place, or open there."""
    places = Places(ids)
    ids, end = places.ids, len(ids)
    # The prompt has opened the block, before the first generated id.
    opened = places.last_before(begin, table.start)
    place = begin if opened is None else opened
    kept = ids[:place]
    while place < end:
        thinking = places.next(place, (table.thinking,))
        kept += ids[place:thinking]
        # The start of the block before stays, and is the start of the one behind it.
        place = places.next(thinking, (table.end, *table.stops))
        while place < end and ids[place] in (table.end, table.start):
            place += 1
    return kept


def forget_channels(ids: Sequence[int], begin: int, table: ChannelTable) -> array[int]:
    """Return ids without the channels of reasoning that stand behind a place, or are open there."""
    places = Places(ids)
    ids, end = places.ids, len(ids)
    # The prompt may have opened the channel, before the first generated id.
    opened = places.last_before(begin, table.open)
    place = begin if opened is None else opened
    kept = ids[:place]
    while (opened := places.next(place, (table.open,))) < end:
        kept += ids[place:opened]
        stop = _tag_stop(places, opened, table)
        if _tag_name(places, opened, stop, table) == THINK:
            place = _channel_stop(places, stop, table)
        else:
            kept.append(ids[opened])
            place = opened + 1
    return kept + ids[place:]


def _tag_stop(places: Places, place: int, table: ChannelTable) -> int:
    return min(places.next(place, (table.separator,)) + 1, len(places.ids))


def _tag_name(places: Places, start: int, stop: int, table: ChannelTable) -> str:
    # Of a tag without an end that is enough, and reading all of it each time would take quadratic time.
    return table.tag_name(places.ids[start + 1 : min(stop - 1, start + 1 + MAX_TAG_IDS)])


def _channel_stop(places: Places, place: int, table: ChannelTable) -> int:
    """Return the place behind the end of the channel of reasoning, or where its turn ends without one."""
    ids, end = places.ids, len(places.ids)
    while (place := places.next(place, (table.close, *table.stops))) < end and ids[place] == table.close:
        stop = _tag_stop(places, place, table)
        if _tag_name(places, place, stop, table) == THINK:
            return stop
        place += 1
    return place
