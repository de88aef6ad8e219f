"""The file descriptors of a server's process: as many as it may have, and a share of them for connections."""

from __future__ import annotations

import sys
from typing import Final

MAX_DESCRIPTORS: Final = 65_536
"""File descriptors that a server asks for, within the hard limit of the process."""

SPARE_DESCRIPTORS: Final = 16
"""Kept for files, pipes and name look-ups."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit on file descriptors to the hard one, as servers do."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def connection_limit() -> int | None:
    """Return how many connections may be open: half of the free file descriptors.

    The other half is for what generations open themselves, such as connections to an engine.
    """
    if sys.platform == "win32":
        return None
    import resource
    from pathlib import Path

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    descriptors = Path("/proc/self/fd")
    # Linux alone lists them there; elsewhere a process is taken to have few before it serves.
    used = len(list(descriptors.iterdir())) if descriptors.is_dir() else SPARE_DESCRIPTORS
    return max((soft - used - SPARE_DESCRIPTORS) // 2, 1)
