"""The real engines by name: how each is prepared, and how its server is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.real_engines import models, sglang
from tests.real_engines.engines import (
    QWEN3_FLAGS,
    VLLM_FLAGS,
    llamacpp,
    prepare_llamacpp,
    prepare_vllm,
    vllm,
)
from tests.real_engines.servers import Server

PREPARE: Mapping[str, Callable[[], None]] = {
    "vllm": prepare_vllm,
    "llamacpp": prepare_llamacpp,
    "sglang": sglang.prepare,
}
START: Mapping[str, Callable[[], Server]] = {
    "vllm": lambda: vllm(*VLLM_FLAGS),
    # A model that reasons, of random weights: what it says is held to a script.
    "qwen3": lambda: vllm(
        *QWEN3_FLAGS, name="qwen3", folder=models.qwen3_folder, served="qwen3", context=8192
    ),
    "llamacpp": llamacpp,
    # The file has no chat template: without one, chats would be written in ChatML.
    "gemma": lambda: llamacpp(
        models.gemma_gguf(), "--no-jinja", "--chat-template", "gemma", slots=2, name="gemma"
    ),
    "sglang": sglang.server,
}
