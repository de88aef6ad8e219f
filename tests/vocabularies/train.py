"""Train the two bundled vocabularies: `python -m tests.vocabularies.train`.

Both are learnt from `corpus.txt`, text written for this purpose. The result is a pure function of that file;
a test trains them again and compares the bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import regex

from codec_agents import vocabularies
from tests.vocabularies.bpe import learn_merges

HERE = Path(__file__).parent
PACKAGE = Path(vocabularies.__file__).parent
MERGES = 4096
"""More than the corpus supports: learning stops by itself when no pair is seen twice."""

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
TOOL_CALLING = {
    "convention": "qwen25",
    "markers": {"start": "<tool_call>", "end": "</tool_call>"},
    "args_format": "json",
    "result_format": "text",
}

BYTE_LEVEL_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_LEVEL_PROGRAM = {
    "version": 1,
    "ops": [
        {"op": "literals_ci", "patterns": ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"]},
        {"op": "letters", "lead_other": True},
        {"op": "numbers", "max_run": 3},
        {"op": "punct_run", "lead_space": True, "trailing_newlines": True},
        {"op": "newline_block"},
        {"op": "trailing_ws"},
        {"op": "ws_run"},
    ],
}

METASPACE = "\u2581"
METASPACE_PIECES = (
    rf"{METASPACE}?\p{{L}}+|{METASPACE}?\p{{N}}|{METASPACE}?[^\p{{L}}\p{{N}}{METASPACE}]+|{METASPACE}+"
)
"""Where training looks for pairs. Encoding runs over whole texts: it finds no other merges than these."""


def main() -> None:
    """Train both vocabularies and write them into the package."""
    corpus = (HERE / "corpus.txt").read_text(encoding="utf-8")
    for document in (train_bytes(corpus), train_words(corpus)):
        path = PACKAGE / f"{document['id']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(serialize(document))
        print(f"{document['id']}: {document['vocab_size']} tokens, {path}")


def serialize(document: dict[str, Any]) -> bytes:
    """Return the bytes of a map, one field a line."""
    fields = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items()
    )
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode()


def train_bytes(corpus: str) -> dict[str, Any]:
    """Return the byte-level map: bytes first, merges next, special tokens last."""
    alphabet = byte_alphabet()
    pieces = (
        "".join(alphabet[byte] for byte in piece.encode())
        for piece in regex.findall(BYTE_LEVEL_PATTERN, corpus)
    )
    merges = learn_merges(pieces, MERGES)
    tokens = [*sorted(alphabet), *(left + right for left, right in merges), *SPECIAL_TOKENS]
    return _document(
        "demo/bytes",
        tokens,
        encoder="byte_level",
        merges=[" ".join(pair) for pair in merges],
        pre_tokenizer_pattern=BYTE_LEVEL_PATTERN,
        pre_tokenizer_program=BYTE_LEVEL_PROGRAM,
    )


def train_words(corpus: str) -> dict[str, Any]:
    """Return the metaspace map: special tokens first, then the bytes to fall back on, characters, merges."""
    text = corpus.replace(" ", METASPACE)
    characters = {
        character
        for character, count in Counter(text).items()
        if count >= 2 and (character.isprintable() or character == METASPACE)
    }
    lines = (METASPACE + line for line in text.split("\n") if line)
    pieces = (piece for line in lines for piece in regex.findall(METASPACE_PIECES, line))
    merges = learn_merges(pieces, MERGES, alphabet=set(characters))
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = [*SPECIAL_TOKENS, *fallback, *sorted(characters), *(left + right for left, right in merges)]
    start = len(SPECIAL_TOKENS)
    return _document(
        "demo/words",
        tokens,
        encoder="metaspace",
        merges=[" ".join(pair) for pair in merges],
        byte_fallback_start=start,
        byte_fallback_end=start + 255,
    )


def byte_alphabet() -> list[str]:
    """Return the character that stands for each byte in byte-level vocabularies.

    Printable Latin-1 stands for itself; the other bytes take the characters from U+0100 on, in order.
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def _document(map_id: str, tokens: list[str], **fields: Any) -> dict[str, Any]:
    vocab: dict[str, int] = {}
    for token in tokens:
        vocab.setdefault(token, len(vocab))
    return {
        "id": map_id,
        "version": "2",
        "vocab_size": len(vocab),
        **fields,
        "special_tokens": {name: vocab[name] for name in SPECIAL_TOKENS},
        "tool_calling": TOOL_CALLING,
        "vocab": vocab,
    }


if __name__ == "__main__":
    main()
