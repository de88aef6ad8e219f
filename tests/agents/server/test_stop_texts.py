"""Texts that end an answer, cut out of it as it comes."""

from __future__ import annotations

import random

from codec_agents.server.stops import StopCutter
from tests.limits import calls_of


def test_a_text_is_cut_before_the_first_stop_however_it_comes() -> None:
    draw = random.Random(11)
    for _ in range(2_000):
        stops = ["".join(draw.choices("ab", k=draw.randrange(1, 6))) for _ in range(draw.randrange(1, 4))]
        text = "".join(draw.choices("abc", k=draw.randrange(30)))
        ends = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
        cutter, found, place = StopCutter(stops), "", 0
        while place < len(text):
            size = draw.randrange(1, 5)
            found += cutter.feed(text[place : place + size])
            place += size
            # No more is held back than may begin a stop text.
            held = text[len(found) : place]
            assert cutter.found or not held or any(stop.startswith(held) for stop in stops)
        found += cutter.flush()
        assert found == text[: min(ends, default=(0, len(text)))[1]], (stops, text)


def test_the_longest_stop_costs_little_for_each_piece() -> None:
    stops = ["a" * 1023 + "b", "ab" * 511 + "c", "x" * 1024, "y" * 1024]
    cutter = StopCutter(stops)
    cutter.feed("a" * 1022)
    assert calls_of(lambda: cutter.feed("b")) < 8_000
    plain = StopCutter(stops)
    plain.feed("z" * 2000)
    assert calls_of(lambda: plain.feed("z")) < 60
