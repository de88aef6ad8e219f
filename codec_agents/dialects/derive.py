"""Which dialect a map's model speaks, and from what that is known."""

from __future__ import annotations

from codec_agents.dialects.base import Dialect
from codec_agents.dialects.registry import get_dialect
from codec_agents.exceptions import DialectError
from codec_core.maps import TokenizerMap
from codec_core.vocabulary import Vocabulary, vocabulary_of

SIGNATURES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|im_start|>", "<|im_end|>", "<tool_call>", "<tool_response>", "<think>"), "qwen3"),
    (("<|im_start|>", "<|im_end|>", "<tool_call>"), "hermes"),
    (("<|im_start|>", "<|im_end|>"), "hermes"),
)
"""Special tokens that only one family has, the most telling first."""

CONVENTIONS = {"qwen25": "hermes"}
"""The protocol's `tool_calling.convention` to a dialect, where no special tokens say more."""


def derive_dialect(source: TokenizerMap | Vocabulary) -> tuple[Dialect, str]:
    """Return the dialect that a map's special tokens, or its `tool_calling`, name; and why.

    Raises:
        DialectError: nothing in the map names a family.
    """
    vocabulary = vocabulary_of(source)
    known = vocabulary.special_tokens
    for tokens, name in SIGNATURES:
        if all(token in known for token in tokens):
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
