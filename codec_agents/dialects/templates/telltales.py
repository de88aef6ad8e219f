"""Strings by which a model's chat template shows its family."""

from __future__ import annotations

TELLTALES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|channel|>", "<|message|>"), "harmony"),
    (("<minimax:tool_call>",), "minimax-m2"),
    (("<|tool_calls_section_begin|>",), "kimi-k2"),
    (("<|turn>", "<|tool_call>"), "gemma-4"),
    (("<|START_ACTION|>",), "command-a"),
    (("{function-name}<arg_key>", "<|assistant|>"), "glm-4.7"),
    (("<arg_key>", "<|assistant|>\n"), "glm-4.5"),
    (("<arg_key>",), "glm-4.7"),
    (("｜DSML｜", "function_calls", "<｜User｜>"), "deepseek-v3.2"),
    (("<｜tool▁calls▁begin｜>", "```json", "<think>\\n"), "deepseek-r1"),
    (("<｜tool▁calls▁begin｜>", "```json"), "deepseek-v3"),
    (("<｜tool▁calls▁begin｜>",), "deepseek-v3.1"),
    (("<|im_start|>tool", "<tool_response>"), "hermes-3"),
    (("<|im_start|>", "<function=", "<think>"), "qwen3.5"),
    (("<|im_start|>", "<function="), "qwen3-coder"),
    (("<|im_start|>", "<tool_call>", "enable_thinking"), "qwen3"),
    (("<|im_start|>", "<tool_call>", "<|im_start|>assistant\\n<think>\\n"), "qwq"),
    (("<|im_start|>", "<tool_call>", "You are Qwen, created by Alibaba Cloud"), "qwen2.5"),
    (("<|im_start|>", "<|im_sep|>"), "phi4"),
    (("<|im_start|>",), "hermes"),
    (("<|start_of_role|>", "</tool_call>"), "granite-4"),
    (("<|start_of_role|>",), "granite-3"),
    (("<|start_header_id|>",), "llama3"),
    (("[TOOL_CALLS]", "[CALL_ID]"), "mistral-v11"),
    (("[TOOL_CALLS]", "[ARGS]"), "mistral-v13"),
    (("[TOOL_CALLS]", "[SYSTEM_PROMPT]"), "mistral-v7"),
    (("[TOOL_CALLS]",), "mistral-v3"),
    (("<|tool_call|>", "<|end|>"), "phi4-mini"),
    (("<|assistant|>", "<|end|>"), "phi3"),
)
"""Strings that only one family's template has, the most telling first."""
