"""The caches of prompts of a model in this process, without a model."""

import pytest

from codec_agents.server.backends.prefix_caches import CACHED_IDS, CACHES, PrefixCaches


class Cache:
    def __init__(self, length, *, slides=False):
        self.length, self.slides = length, slides

    def crop(self, change):
        assert change < 0
        if self.slides:
            raise ValueError("a sliding window cannot go back")
        self.length += change


@pytest.fixture
def caches():
    return PrefixCaches()


def test_the_longest_beginning_is_taken_and_only_once(caches):
    short, long = Cache(3), Cache(5)
    caches.give([1, 2, 3], short)
    caches.give([1, 2, 3, 4, 5], long)
    assert caches.take([1, 2, 3, 4, 5, 6]) == (long, 5)
    assert caches.take([1, 2, 3, 4, 5, 6]) == (short, 3)
    assert caches.take([1, 2, 3, 4, 5, 6]) == (None, 0)


def test_the_last_id_is_always_left_to_read(caches):
    caches.give([1, 2, 3], kept := Cache(3))
    assert caches.take([1, 2, 3]) == (kept, 2)
    assert kept.length == 2


def test_a_small_common_beginning_leaves_a_long_conversation_its_cache(caches):
    caches.give(range(10), kept := Cache(10))
    assert caches.take([0, 1, 2, 3, 99]) == (None, 0)
    assert caches.take([0, 1, 2, 3, 4, 99]) == (kept, 5)


def test_a_cache_that_cannot_go_back_is_given_up(caches):
    caches.give([1, 2, 3], Cache(3, slides=True))
    assert caches.take([1, 2, 9]) == (None, 0)
    caches.give([1, 2, 3], kept := Cache(3, slides=True))
    assert caches.take([1, 2, 3, 4]) == (kept, 3)


def test_there_is_a_bound_to_their_number_and_to_their_length(caches):
    for number in range(CACHES + 1):
        caches.give([number, 7], Cache(2))
    assert caches.take([0, 7, 1]) == (None, 0)
    assert caches.take([1, 7, 1])[1] == 2
    caches.give(range(CACHED_IDS + 1), Cache(CACHED_IDS + 1))
    caches.give([], Cache(0))
    assert caches.take(range(CACHED_IDS + 2)) == (None, 0)
