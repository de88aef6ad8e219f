"""The chat templates of models in llama.cpp's source archive, which a package carries."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
_FOLDER = "/vendor/llama.cpp/models/templates/"


def cache_folder() -> Path:
    """Return where what tests download is kept: `CODEC_TEST_CACHE`, or a folder of the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CODEC_TEST_CACHE") or Path(base) / "codec-agents-tests")


@cache
def templates() -> Mapping[str, str]:
    """Return the templates by file name.

    Raises:
        OSError: the archive is not in the cache, and cannot be downloaded.
    """
    archive = cache_folder() / f"{PACKAGE.replace('-', '_')}-{VERSION}.tar.gz"
    if not archive.exists():
        _download(archive.parent)
    with tarfile.open(archive) as file:
        found = {}
        for member in file:
            if _FOLDER in f"/{member.name}" and member.name.endswith(".jinja"):
                opened = file.extractfile(member)
                assert opened is not None
                found[Path(member.name).name] = opened.read().decode("utf-8")
    return found


def _download(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", folder, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True
    )
    if done.returncode:
        raise OSError(f"{PACKAGE} {VERSION} cannot be downloaded: {done.stderr.strip()[-300:]}")
