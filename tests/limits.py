"""What an input that means harm may cost: `with within(): ...` around the reading of it."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

SECONDS = 1.0
MEGABYTES = 64

MARGIN = 2
"""How much more memory a test allows than is promised: it grows with what a process did before. What does not
grow in proportion to its input takes far more."""

TIME_MARGIN = 4
"""The same of processor time, which grows with what else a machine does: two threads of one core, for
example, take nearly twice as long, and caches and clocks are shared as well."""

COUNTED = 4
"""How much more processor time code may take while its lines are counted, as `make coverage` does."""

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"
_MMAP_THRESHOLD, _LARGE = -3, 128 * 1024
"""glibc's `M_MMAP_THRESHOLD`, and its first value."""


@contextmanager
def within(seconds: float = SECONDS, megabytes: float = MEGABYTES) -> Iterator[None]:
    """Fail where the block takes more than this much processor time or further memory, and their margins.

    The memory is what is resident, libraries in C included. Where the system does not tell, only time counts.
    """
    before = _reset_peak()
    started = time.process_time()
    yield
    took = time.process_time() - started
    margin = TIME_MARGIN * (COUNTED if _lines_are_counted() else 1)
    assert took <= margin * seconds, f"took {took:.2f} s, more than {margin} x {seconds} s"
    if before is not None:
        grew = (_status("VmHWM") - before) / 1024
        assert grew <= MARGIN * megabytes, f"took {grew:.0f} MB, more than {MARGIN} x {megabytes} MB"


def _lines_are_counted() -> bool:
    coverage = sys.modules.get("coverage")
    return coverage is not None and coverage.Coverage.current() is not None


def calls_of(work: Callable[[], object], *, in_c: bool = True) -> int:
    """Return how many calls of functions some work makes, in C or not: the same on every machine."""
    counted, kinds = 0, ("call", "c_call") if in_c else ("call",)

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in kinds

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted


def keep_large_blocks_apart() -> None:
    """Let large blocks of memory be mapped alone, throughout: to be called before any is freed.

    After that, glibc puts them between the small ones, where what grows leaves copies of itself behind: an
    input would seem to take more the more tests ran before.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def _reset_peak() -> int | None:
    """Forget the peak of resident memory; return what is resident now, in KiB.

    What earlier tests left is given back first: an input that fills it again would seem to take nothing.
    """
    gc.collect()
    gc.freeze()  # what is left now, nobody has to look at again: there are a thousand of these tests
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library
        return None
    try:
        _CLEAR.write_text(_FORGET_PEAK)
        return _status("VmRSS")
    except OSError:
        return None


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
