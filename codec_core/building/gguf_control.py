"""Tokens that llama.cpp takes for control tokens by their names, whatever type a GGUF file gives them.

It ends an answer at some, and fills in the middle with others. Content never spells one of them: a model of
which `</s>` is a tag of HTML, say, reads it there as `<`, `/`, `s` and `>`.
"""

from __future__ import annotations

from collections.abc import Container

_ENDS = frozenset(
    {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
        "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
        "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
        "<｜end▁of▁sentence｜>", "[e~[",
    }
)  # fmt: skip
_FILLS = frozenset(
    {
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>",
        "<|code_prefix|>", "<|prefix|>", "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>",
        "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>", "<|fim_middle|>",
        "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>",
        "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>",
        "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>",
    }
)  # fmt: skip

_ORDINARY_BESIDE = {"</s>": ("<|tool_response>", "<|plamo:eos|>")}
"""A token that is ordinary after all in a vocabulary with one of these others."""


def is_control_by_name(token: str, vocab: Container[str]) -> bool:
    """Return whether llama.cpp takes a token of a vocabulary for a control token."""
    if any(other in vocab for other in _ORDINARY_BESIDE.get(token, ())):
        return False
    return token in _ENDS or token in _FILLS
