"""The references of dialects' prompts. Made by `python -m tests.family_vectors tables`."""

from __future__ import annotations

from collections.abc import Mapping

VERIFIED: Mapping[str, tuple[str, ...]] = {
    "apertus": ("the chat template Apertus-8B-Instruct",),
    "cohere-moe": ("the chat template Cohere2MoE",),
    "command-a": ("the chat template command_a_tool_use of axolotl",),
    "command-r7b": ("the chat template CohereForAI-c4ai-command-r7b-12-2024-tool_use",),
    "deepseek-r1": ("renderers 0.1.12 (deepseek-r1)",),
    "deepseek-v3": ("renderers 0.1.12 (deepseek-v3)",),
    "deepseek-v3.1": ("the chat template deepseek-ai-DeepSeek-V3.1",),
    "deepseek-v3.2": ("vLLM 0.32.0 (deepseek_v32_encoding)",),
    "deepseek-v4": (
        "the chat template deepseek-ai-DeepSeek-V4",
        "the chat template deepseek-ai-DeepSeek-V4-Flash-0731",
        "renderers 0.1.12 (deepseek-v4)",
    ),
    "deepseek-v4.1": ("vLLM 0.32.0 (deepseek_v41_encoding)",),
    "ernie-4.5": ("a transcription of the chat template ERNIE-4.5-21B-A3B-Thinking",),
    "exaone-4": ("the chat template exaone4 of axolotl",),
    "gemma-3": (
        "the chat template google-gemma-2-2b-it",
        "the chat template gemma3 of axolotl",
    ),
    "gemma-4": ("the chat template google-gemma-4-31B-it",),
    "gemma-4-e": ("renderers 0.1.12 (gemma4)",),
    "glm-4.5": (
        "the chat template GLM-4.6",
        "renderers 0.1.12 (glm-4.5)",
    ),
    "glm-4.7": ("the chat template GLM-4.7-Flash",),
    "glm-5": ("renderers 0.1.12 (glm-5)",),
    "glm-5.1": ("renderers 0.1.12 (glm-5.1)",),
    "glm-5.2": ("XTuner of August 2026 (glm52_chat)",),
    "glm-5.3": ("renderers 0.1.12 (glm-5.3)",),
    "granite-3": ("the chat template ibm-granite-granite-3.3-2B-Instruct",),
    "granite-4": (
        "the chat template ibm-granite-granite-4.0",
        "the chat template ibm-granite-granite-4.1",
    ),
    "harmony": (
        "the chat template openai-gpt-oss-120b",
        "renderers 0.1.12 (gpt-oss)",
    ),
    "hermes": ("renderers 0.1.12 (qwen3-vl)",),
    "hermes-3": ("the chat template NousResearch-Hermes-3-Llama-3.1-8B-tool_use",),
    "hy3": (
        "the chat template tencent-Hy3",
        "renderers 0.1.12 (hy3)",
    ),
    "inkling": ("renderers 0.1.12 (inkling)",),
    "internlm": ("the chat template tool_chat_template_internlm2_tool of vllm-examples",),
    "jamba": ("the chat template jamba of axolotl",),
    "kimi-k2": (
        "renderers 0.1.12 (kimi-k2)",
        "the chat template Kimi-K2-Instruct",
    ),
    "kimi-k2-thinking": ("the chat template Kimi-K2-Thinking",),
    "kimi-k2.5": ("renderers 0.1.12 (kimi-k2.5)",),
    "kimi-k3": ("the chat template Kimi-K3",),
    "laguna-m.1": (
        "the chat template poolside-Laguna-XS-2.1",
        "renderers 0.1.12 (laguna-m.1)",
    ),
    "laguna-s-2.1": (
        "the chat template poolside-Laguna-S-2.1",
        "renderers 0.1.12 (laguna-s-2.1)",
    ),
    "laguna-xs-2.1": ("renderers 0.1.12 (laguna-xs-2.1)",),
    "laguna-xs.2": (
        "the chat template poolside-Laguna-XS.2",
        "renderers 0.1.12 (laguna-xs.2)",
    ),
    "lfm2": (
        "the chat template LFM2-8B-A1B",
        "the chat template lfm2_v2 of trl",
    ),
    "lfm2.5": (
        "the chat template LFM2.5-8B-A1B",
        "the chat template LFM2.5-Instruct",
        "the chat template lfm2_2_5 of trl",
    ),
    "llama3": (
        "renderers 0.1.12 (llama-3)",
        "the chat template meta-llama-Llama-3.2-3B-Instruct",
        "the chat template meta-llama-Llama-3.3-70B-Instruct",
        "the chat template meta-llama-Llama-3.1-8B-Instruct",
    ),
    "llama3-pythonic": ("the chat template tool_chat_template_llama3.2_pythonic of vllm-examples",),
    "llama4": ("the chat template llama4 of axolotl",),
    "llama4-pythonic": ("the chat template tool_chat_template_llama4_pythonic of vllm-examples",),
    "mimo-v2.6": ("a transcription of the chat template MiMo-V2.5",),
    "minimax-m2": ("the chat template MiniMax-M2",),
    "minimax-m2.5": ("renderers 0.1.12 (minimax-m2)",),
    "minimax-m3": ("the chat template MiniMax-M3",),
    "mistral-v11": ("the chat template Mistral-Small-3.2-24B-Instruct-2506",),
    "mistral-v13": (
        "the chat template mistralai-Ministral-3-14B-Reasoning-2512",
        "the chat template unsloth-mistral-Devstral-Small-2507",
    ),
    "mistral-v3": (
        "the chat template mistralai-Mistral-Nemo-Instruct-2407",
        "mistral-common 1.13.1 (model.v3)",
    ),
    "mistral-v7": (
        "the chat template mistral_v7_tekken of axolotl",
        "mistral-common 1.13.1 (model.v7)",
    ),
    "nemotron-3": (
        "the chat template NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "renderers 0.1.12 (nemotron-3)",
    ),
    "nemotron-3-ultra": (
        "renderers 0.1.12 (nemotron-3-ultra)",
        "renderers 0.1.12 (nemotron-3.5)",
        "the chat template nemotron_3_ultra of trl",
        "the chat template nemotron_3_5_lightning of trl",
    ),
    "olmo-3": ("the chat template Olmo-3.1-32B-Instruct",),
    "phi3": ("the chat template microsoft-Phi-3.5-mini-instruct",),
    "phi4": ("the chat template phi_4 of axolotl",),
    "phi4-mini": ("a transcription of the chat template Phi-4-mini-instruct",),
    "qwen2.5": ("the chat template Qwen-Qwen2.5-7B-Instruct",),
    "qwen3": (
        "the chat template Qwen-Qwen3-0.6B",
        "renderers 0.1.12 (qwen3)",
    ),
    "qwen3-coder": (
        "the chat template Qwen3-Coder",
        "renderers 0.1.12 (prime-qwen3)",
    ),
    "qwen3.5": (
        "the chat template Qwen3.5-4B",
        "renderers 0.1.12 (qwen3.5)",
    ),
    "qwen3.6": ("renderers 0.1.12 (qwen3.6)",),
    "qwen3.8": ("renderers 0.1.12 (qwen3.8)",),
    "qwq": ("the chat template Qwen-QwQ-32B",),
    "seed-oss": ("the chat template ByteDance-Seed-OSS",),
    "smollm3": ("the chat template HuggingFaceTB-SmolLM3-3B",),
    "step-3.5": ("the chat template StepFun3.5-Flash",),
    "xlam-llama": ("the chat template tool_chat_template_xlam_llama of vllm-examples",),
    "xlam-qwen": ("the chat template tool_chat_template_xlam_qwen of vllm-examples",),
}
"""References by the names of dialects."""
