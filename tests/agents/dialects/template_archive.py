"""The chat templates of models that packages carry: engines' source archives, and trainers' wheels."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Package(NamedTuple):
    """A package that carries templates.

    Fields:
        name, version: the package.
        folder: where they are in it.
        source: whether that is its source archive.
        fetched: whether pip can fetch it. vLLM's source archive it cannot: building its metadata needs torch.
    """

    name: str
    version: str
    folder: str
    source: bool = False
    fetched: bool = True

    @property
    def archive(self) -> str:
        """The beginning of its file's name."""
        return f"{self.name.replace('-', '_')}-{self.version}"


LLAMA_CPP = Package("llama-cpp-python", "0.3.36", "/vendor/llama.cpp/models/templates/", source=True)
PACKAGES = {
    "llama.cpp": LLAMA_CPP,
    "vllm-examples": Package("vllm", "0.32.0", "/examples/", source=True, fetched=False),
    "axolotl": Package("axolotl", "0.19.0", "axolotl/utils/chat_templates/templates/"),
    "trl": Package("trl", "1.16.0", "trl/chat_templates/"),
}


def cache_folder() -> Path:
    """Return where what tests download is kept: `CODEC_TEST_CACHE`, or a folder of the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CODEC_TEST_CACHE") or Path(base) / "codec-agents-tests")


@cache
def templates(package: str = "llama.cpp") -> Mapping[str, str]:
    """Return the templates of a package by file name.

    Those of `hub`, models' own repositories, are in no package: they are read from a folder of that name in
    the cache, where one has to put them.

    Raises:
        OSError: the package is not in the cache, and cannot be downloaded.
    """
    wanted = PACKAGES.get(package)
    if wanted is None:
        found = {
            path.name: path.read_text(encoding="utf-8") for path in (cache_folder() / package).glob("*.jinja")
        }
        if not found:
            raise OSError(f"no package carries these templates: put them into {cache_folder() / package}")
        return found
    return {
        Path(name).name: content.decode("utf-8")
        for name, content in _members(_fetched(wanted))
        if wanted.folder in f"/{name}" and name.endswith(".jinja")
    }


def template(package: str, name: str) -> str:
    """Return one template of a package.

    Raises:
        OSError: the package is not in the cache and cannot be downloaded, or the template is not in it.
    """
    found = templates(package).get(name)
    if found is None:
        raise OSError(f"{name} is not among the templates of {package}")
    return found


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if name.endswith(".jinja"))
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            opened = tar.extractfile(member) if member.name.endswith(".jinja") else None
            if opened is not None:
                yield member.name, opened.read()


def _fetched(package: Package) -> Path:
    ending = ".tar.gz" if package.source else ".whl"
    found = next(cache_folder().glob(f"{package.archive}*{ending}"), None)
    if found is not None:
        return found
    if not package.fetched:
        raise OSError(f"{package.archive} is not in {cache_folder()}; put its source archive there")
    cache_folder().mkdir(parents=True, exist_ok=True)
    kind = ["--no-binary", ":all:"] if package.source else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind]
    done = subprocess.run(
        [*command, "--dest", cache_folder(), f"{package.name}=={package.version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(f"{package.archive} cannot be downloaded: {done.stderr.strip()[-300:]}")
    return next(cache_folder().glob(f"{package.archive}*{ending}"))
