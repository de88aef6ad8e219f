"""How many random cases a property is tried on: an eighth in the quick suite, all with the slow tests."""

LEAST = 20

_share = 8


def try_all() -> None:
    """Try all cases from here on; called before the test modules are imported."""
    global _share  # the count is needed at import, where no fixture reaches
    _share = 1


def cases(most: int) -> int:
    """Return how many of at most `most` cases to try."""
    return max(min(most, LEAST), most // _share)
