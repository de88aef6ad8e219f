"""Regions alone: what the scanner finds is what its reference finds, however the ids are cut."""

from tests.fuzz.wire import check_regions


def seeds():
    """Yield inputs: how the ids are cut, then ids."""
    for step in (1, 2, 7):
        yield bytes([step]) + bytes([0, 1, 2, 3, 7, 4, 2, 2, 7, 1, 4, 5, 5, 1, 7, 7, 7, 7, 4])
        yield bytes([step]) + bytes([2, 2, 1, 7, 6, 5, 5, 1, 2, 3, 0, 0, 0, 4, 1, 1, 2, 2, 5])


def check(data):
    """Hold the scanner to its reference."""
    if data:
        check_regions(bytes(data[1:]), 1 + data[0] % 32)
