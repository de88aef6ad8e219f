"""Derive the dialect of a map's model from the map."""

from __future__ import annotations

from codec_agents.dialects.base import Dialect
from codec_agents.dialects.bound import BoundDialect
from codec_agents.dialects.registry import get_dialect
from codec_agents.exceptions import DialectError
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of

SIGNATURES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|channel|>", "<|message|>", "<|call|>", "<|return|>"), "harmony"),
    (("<|tool_calls_section_begin|>", "<|im_middle|>"), "kimi-k2"),
    (("<minimax:tool_call>", "]~b]"), "minimax-m2"),
    (("<|turn>", "<|tool_call>", '<|"|>'), "gemma-4"),
    (("<|START_ACTION|>", "<|START_RESPONSE|>"), "command-a"),
    (("<|START_ACTION|>", "<|START_TEXT|>"), "cohere-moe"),
    (("[gMASK]", "<|observation|>", "<arg_key>"), "glm-4.5"),
    (("<｜tool▁calls▁begin｜>", "<｜Assistant｜>"), "deepseek-v3"),
    (("｜DSML｜", "<｜System｜>"), "deepseek-v4.1"),
    (("｜DSML｜", "<｜Assistant｜>"), "deepseek-v4"),
    (("<｜hy_Assistant:opensource｜>", "<tool_sep:opensource>"), "hy3"),
    (("〈|EOS|〉", "<assistant>"), "laguna-xs-2.1"),
    (("<|open|>", "<|sep|>", "<|end_of_msg|>"), "kimi-k3"),
    (("<|message_model|>", "<|content_invoke_tool_json|>"), "inkling"),
    (("]<]minimax[>[", "]~b]"), "minimax-m3"),
    (("<seed:bos>", "<seed:tool_call>"), "seed-oss"),
    (("<|startoftext|>", "<|tool_call_start|>", "<|tool_list_start|>"), "lfm2"),
    (("<|startoftext|>", "<|tool_call_start|>"), "lfm2.5"),
    (("<|bom|>", "<|eom|>"), "jamba"),
    (("<|developer_start|>", "<|tools_prefix|>"), "apertus"),
    (("[|assistant|]", "[|endofturn|]"), "exaone-4"),
    (("<|action_start|>", "<|im_start|>"), "internlm"),
    (("<|header_start|>", "<|eot|>"), "llama4"),
    (("<start_of_turn>", "<start_function_call>"), "function-gemma"),
    (("<start_of_turn>", "<end_of_turn>"), "gemma-3"),
    (("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"), "mistral-v11"),
    (("[TOOL_CALLS]", "[ARGS]"), "mistral-v13"),
    (("[TOOL_CALLS]", "[SYSTEM_PROMPT]", "[TOOL_CONTENT]"), "mistral-v7"),
    (("[TOOL_CALLS]", "[INST]"), "mistral-v3"),
    (("<|start_of_role|>", "<tool_call>", "<tool_response>"), "granite-4"),
    (("<|start_of_role|>", "<|end_of_role|>"), "granite-3"),
    (("<|start_header_id|>", "<|eot_id|>"), "llama3"),
    (("<|im_start|>", "<|im_sep|>"), "phi4"),
    (("<|im_start|>", "<|im_end|>", "<tool_call>", "<tool_response>", "<think>"), "qwen3"),
    (("<|im_start|>", "<|im_end|>"), "hermes"),
    (("<|assistant|>", "<|end|>", "<|tool_call|>"), "phi4-mini"),
    (("<|assistant|>", "<|end|>", "<|user|>", "<|system|>"), "phi3"),
)
"""Special tokens that tell families apart, the most telling first.

Models that share a vocabulary share what is derived here: a Qwen3-Coder writes calls otherwise than a Qwen3
with the same special tokens, an R1 opens turns otherwise than a V3. There the dialect must be named, or
derived from the model's own chat template.
"""

CONVENTIONS = {
    "qwen25": "hermes",
    "llama3": "llama3",
    "phi4": "phi4-mini",
    "mistral_nemo": "mistral-v3",
    "deepseek_v3": "deepseek-v3",
    "deepseek_r1": "deepseek-r1",
}
"""The protocol's `tool_calling.convention` to a dialect, where no special tokens say more."""


def derive_dialect(source: TokenizerMap | Vocabulary) -> tuple[Dialect, str]:
    """Return the dialect that a map's special tokens, or its `tool_calling`, name; and why.

    Raises:
        DialectError: nothing in the map names a family.
    """
    vocabulary = vocabulary_of(source)
    # Some tokenizer files call a family's markers text; the bound dialect makes them control tokens.
    known = {*vocabulary.special_tokens, *vocabulary.text_tokens}
    for tokens, name in SIGNATURES:
        if known.issuperset(tokens):
            return get_dialect(name), f"the map's special tokens {', '.join(tokens)}"
    convention = _convention(vocabulary)
    if convention in CONVENTIONS:
        return get_dialect(CONVENTIONS[convention]), f"the map's tool_calling.convention {convention!r}"
    raise DialectError(
        f"no dialect can be derived from the map {vocabulary.id!r}: its special tokens are no known "
        "family's; name the dialect, or give the prompt as pieces"
    )


def _convention(vocabulary: Vocabulary) -> str | None:
    calling = vocabulary.map.tool_calling
    if calling is None:
        return None
    found = calling.get("convention") if isinstance(calling, dict) else getattr(calling, "convention", None)
    return found if isinstance(found, str) else None


def family_dialect(vocabulary: Vocabulary) -> BoundDialect | None:
    """Return the derived dialect, bound without tools; None if the map names no family.

    It is bound once per vocabulary and kept with it.
    """
    if BoundDialect not in vocabulary.derived:
        try:
            dialect, _ = derive_dialect(vocabulary)
        except DialectError:
            vocabulary.derived[BoundDialect] = None  # is kept as well: the search is not repeated
        else:
            vocabulary.derived[BoundDialect] = BoundDialect(dialect, vocabulary)
    found: BoundDialect | None = vocabulary.derived[BoundDialect]
    return found
