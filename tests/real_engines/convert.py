"""Write a Llama model of a GGUF as a Hugging Face folder in bfloat16: `python convert.py GGUF FOLDER`.

Runs in the environment of vLLM, which has torch and gguf; vLLM reads no GGUF on a CPU.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def name_of(tensor: str) -> str:
    """Return the name of a tensor in transformers."""
    parts = tensor.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}"
    return f"{NAMES[parts[0]]}.{parts[1]}"


def rotated_back(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Order the rows of a query or key as transformers does: GGUF pairs those that are rotated together."""
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(weights.shape)


def main(source: str, target: str) -> None:
    """Convert."""
    reader = GGUFReader(source)

    def field(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    heads, key_heads = field("attention.head_count"), field("attention.head_count_kv")
    tensors = {}
    for tensor in reader.tensors:
        weights = dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            weights = rotated_back(weights, heads if ".attn_q." in tensor.name else key_heads)
        tensors[name_of(tensor.name)] = torch.from_numpy(weights.copy()).to(torch.bfloat16)
    folder = Path(target)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16",
        "vocab_size": len(tensors["model.embed_tokens.weight"]), "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"), "num_hidden_layers": field("block_count"),
        "num_attention_heads": heads, "num_key_value_heads": key_heads, "hidden_act": "silu",
        "max_position_embeddings": field("context_length"), "tie_word_embeddings": True,
        "rms_norm_eps": round(float(field("attention.layer_norm_rms_epsilon")), 10),
        "rope_theta": float(field("rope.freq_base")), **ends,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps(ends), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
