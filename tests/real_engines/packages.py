"""Packages from the index: fetched once into the cache, and installed from there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.real_engines.places import UnavailableError, cache_folder

SECONDS = 1800
"""For one fetch or one installation. The largest are 600 MB."""

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"


def run(*command: str | Path, seconds: float = SECONDS) -> None:
    """Run a command, with its output shown only if it fails.

    Raises:
        RuntimeError: it failed, or took too long; the message has its last lines.
    """
    shown = f"{' '.join(map(str, command[:6]))} ..."
    try:
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{shown} took more than {seconds:.0f} s") from error
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"{shown} ended with {done.returncode}:\n{last}")


def fetched(
    name: str, *requirements: str, dependencies: bool = False, without: Mapping[str, str] | None = None
) -> Path:
    """Return the folder with the archives of these requirements; fetch them at the first call.

    Args:
        name: the folder's.
        requirements: each pinned.
        dependencies: fetch what they need as well.
        without: of that, what is not used, and the versions of empty packages that take its place.

    Raises:
        UnavailableError: they cannot be had: there is no network, or the index does not have them.
    """
    kind = [TAG if dependencies else "", *(without or {}).values(), *(without or {})]
    said = hashlib.sha256(" ".join([*requirements, *kind]).encode()).hexdigest()[:12]
    folder = cache_folder() / "packages" / f"{name}-{said}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for package, version in (without or {}).items():
            write_empty_wheel(folder, package, version)
        also = ["--prefer-binary", "--find-links", folder] if dependencies else ["--no-deps"]
        try:
            run(sys.executable, "-m", "pip", "download", "--quiet", *also, "--dest", folder, *requirements)
        except RuntimeError as error:
            raise UnavailableError(f"{name} cannot be fetched: {error}") from error
        (folder / "complete").touch()
    return folder


def write_empty_wheel(folder: Path, name: str, version: str) -> None:
    """Write a package without modules; pip prefers it if no other version is higher."""
    stem = f"{name.replace('-', '_')}-{version}"
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "".join(f"{stem}.dist-info/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD")),
    }
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, text in texts.items():
            wheel.writestr(f"{stem}.dist-info/{file}", text)


def environment(folder: Path, archives: Path, *requirements: str, dependencies: bool = True) -> Path:
    """Make a virtual environment with these requirements from these archives; return its `python`."""
    python = folder / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", folder)
    offline = ("--no-index", "--find-links", archives, "--no-compile")  # modules compile when imported
    alone = () if dependencies else ("--no-deps",)
    run(python, "-m", "pip", "install", "--quiet", *offline, *alone, *requirements)
    return python


def members(archive: Path, ends: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of files in a wheel, in the order of their paths."""
    with zipfile.ZipFile(archive) as wheel:
        for name in sorted(wheel.namelist()):
            if ends in name and not name.endswith("/"):
                yield name, wheel.read(name)


def unpack_source(folder: Path, target: Path) -> Path:
    """Unpack the one source archive of a folder; return its root."""
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target / archive.name.removesuffix(".tar.gz")
