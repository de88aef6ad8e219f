"""Places of ids are those that a look at each id finds."""

from __future__ import annotations

import random

from codec_agents.dialects.writing.places import Places

IDS = (0, 1, 255, 256, 257, 65_537, 0x01_01_01_01, 2**32 - 1)
"""Ids that share bytes with each other, in all places of their four."""


def test_ids_are_found_where_they_are_and_nowhere_else() -> None:
    draw = random.Random("places")
    for _ in range(200):
        ids = [draw.choice(IDS) for _ in range(draw.randint(0, 20))]
        places = Places(ids)
        wanted = draw.sample(IDS, draw.randint(0, 4))
        assert places.of_all(wanted) == [place for place, each in enumerate(ids) if each in wanted]
        for start in range(len(ids) + 1):
            behind = [place for place in places.of_all(wanted) if place >= start]
            assert places.next(start, wanted) == next(iter(behind), len(ids))
            stop = draw.randint(start, len(ids))
            assert places.next(start, wanted, stop) == min([*behind, stop])
            before = [place for place in range(start) if ids[place] == IDS[1]]
            assert places.last_before(start, IDS[1]) == (before[-1] if before else None)
