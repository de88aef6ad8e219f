"""SGLang on a CPU, in an environment of its own beside vLLM's, whose torch and transformers it uses.

Its packages are built for GPUs. Two of them are replaced by stand-ins (`standin.py`): what a text model on
`torch_native` attention imports from them is never called.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.real_engines import models
from tests.real_engines.engines import CONTEXT, MODEL, OFFLINE, prepare_vllm
from tests.real_engines.packages import environment, fetched, run
from tests.real_engines.places import SGLANG, VLLM, UnavailableError, require_disk
from tests.real_engines.servers import Server

VERSION = "0.5.23"
NEEDS = (
    "orjson", "uvloop", "pybase64", "partial_json_parser", "python-multipart", "ipython", "interegular",
    "blobfile", "easydict", "xxhash", "zstandard", "py-spy", "torchao", "datasets", "modelscope", "soundfile",
    "openai-harmony", "distro", "gguf", "compressed-tensors", "triton",
)  # fmt: skip
"""What it imports and vLLM's environment lacks; its own list asks for packages for GPUs."""
REPLACED = {"torchvision": "0.28.0", "sgl_kernel": "0.0.0"}


def prepare() -> None:
    """Make the environment of SGLang, unless it is there.

    Raises:
        UnavailableError: its wheel does not fit this machine, or the disk is full.
    """
    prepare_vllm()
    ready = SGLANG / f"ready-{VERSION}"
    if ready.exists():
        return
    require_disk()
    shutil.rmtree(SGLANG, ignore_errors=True)
    requirement = f"sglang=={VERSION}"
    python = environment(SGLANG, fetched("sglang", requirement), requirement, dependencies=False)
    [site] = (SGLANG / "lib").glob("python3.*/site-packages")
    [beside] = (VLLM / "lib").glob("python3.*/site-packages")
    (site / "vllm.pth").write_text(f"{beside}\n")
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", "--prefer-binary", *NEEDS)
    for name, version in REPLACED.items():
        stand_in(site, name, version)
    ready.touch()


def stand_in(site: Path, name: str, version: str) -> None:
    """Put a stand-in where a package is looked for, with the version that is asked of it."""
    package, metadata = site / name, site / f"{name}-{version}.dist-info"
    for folder in (package, metadata):
        folder.mkdir(exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("standin.py"), package / "__init__.py")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def server(*flags: str) -> Server:
    """Return an SGLang server of SmolLM2. Its scheduler polls, and takes most of a core while it runs.

    One thread: at the end of each of a step's hundreds of parallel regions, threads spin until the last one
    is done. Where others take the cores, that is a time slice each, and a step takes seconds.

    Raises:
        UnavailableError: it is not prepared.
    """
    if not (SGLANG / f"ready-{VERSION}").exists():
        raise UnavailableError("SGLang is not installed: make test-sglang")
    return Server(
        "sglang",
        lambda port: [
            SGLANG / "bin" / "python", "-m", "sglang.launch_server", "--model-path", models.smollm2_folder(),
            "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
            "--attention-backend", "torch_native", "--sampling-backend", "pytorch",
            "--context-length", str(CONTEXT), "--max-total-tokens", str(8 * CONTEXT),
            "--disable-overlap-schedule", "--enable-metrics", *flags,
        ],
        {**OFFLINE, "SGLANG_USE_CPU_ENGINE": "1", "OMP_NUM_THREADS": "1"},
        seconds=600.0,
    )  # fmt: skip
