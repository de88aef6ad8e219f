"""Facts of model families that published maps leave out.

A map's own fields come first; this table supplies only what a map does not state. It lists families whose
tokenizer files are public and whose maps are known by their id.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from codec_core.maps import AddedToken, TokenizerMap


class Facts(Struct, frozen=True):
    """Facts that exact encoding needs besides vocabulary, merges and pre-tokenizer.

    Attributes:
        normalizer: applied to the text before anything else.
        ignore_merges: a piece that is itself a token skips the merges.
        metaspace_prefix: which stretches of text get U+2581 before them.
        metaspace_prefix_once: a stretch that begins with a space gets none.
        added_tokens: control tokens that are found in another way than by their name alone; control also
            where the map has them in its vocabulary alone.
        strips_all: every control token takes the white space on both sides.
    """

    normalizer: Literal["nfc", "nfkc", "none", "rules"] = "none"
    ignore_merges: bool = False
    metaspace_prefix: Literal["always", "first", "never"] = "always"
    metaspace_prefix_once: bool = False
    added_tokens: tuple[AddedToken, ...] = ()
    strips_all: bool = False


_PHI_3_STRIPS = (
    "</s>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|user|>",
    *(f"<|placeholder{number}|>" for number in range(1, 7)),
)

_FAMILIES: dict[str, Facts] = {
    # `transformers` builds the tokenizer of Qwen 2, 2.5 and 3 with NFC.
    "qwen/*": Facts(normalizer="nfc"),
    # `tokenizers` got `ignore_merges` for Llama 3, whose file sets it; tiktoken, the tokenizer of OpenAI's
    # models, always works so.
    "meta-llama/llama-3*": Facts(ignore_merges=True),
    "openai/*": Facts(ignore_merges=True),
    # These take the white space after them; `transformers` lists them where it reads Phi 3's GGUF, </s> too,
    # which the published map has in its vocabulary alone.
    "microsoft/phi-3*": Facts(added_tokens=tuple(AddedToken(name, rstrip=True) for name in _PHI_3_STRIPS)),
    # All special tokens take the white space on both sides, as the file's added tokens say.
    "microsoft/phi-4": Facts(strips_all=True),
}


def facts_of(tokenizer_map: TokenizerMap) -> Facts:
    """Return the facts a map states, completed by what is known of its family."""
    facts = next((known for key, known in _FAMILIES.items() if _is_of(tokenizer_map.id, key)), Facts())
    if facts.strips_all:
        names = tokenizer_map.special_tokens or ()
        facts = replace(facts, added_tokens=tuple(AddedToken(n, lstrip=True, rstrip=True) for n in names))
    stated = {name: getattr(tokenizer_map, name) for name in _STATED}
    if stated["added_tokens"] is not None:
        stated["added_tokens"] = tuple(stated["added_tokens"])
    return replace(facts, **{name: value for name, value in stated.items() if value is not None})


_STATED = ("normalizer", "ignore_merges", "metaspace_prefix", "metaspace_prefix_once", "added_tokens")
"""The facts that a map may state."""


def _is_of(map_id: str, key: str) -> bool:
    return map_id.startswith(key[:-1]) if key.endswith("*") else map_id == key
