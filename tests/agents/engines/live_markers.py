"""A map of SmolLM2 in which an ordinary word marks the end of reasoning.

The model has no marks of reasoning. With a word for one that it writes sooner or later, its real streams have
a lane that ends in their middle; the server knows nothing of it.
"""

from __future__ import annotations

import json
from typing import Any

from codec_core.maps import TokenizerMap, parse_map
from tests.real_engines.models import smollm2_map

OPENS, CLOSES = "<repo_name>", "Ġthe"


def reasoning_map() -> TokenizerMap:
    """Return the map: `<think>` is a control token that the model never writes, `</think>` is a word."""
    document: dict[str, Any] = json.loads(smollm2_map().read_bytes())
    vocab, special = document["vocab"], document["special_tokens"]
    for name, instead in ((OPENS, "<think>"), (CLOSES, "</think>")):
        vocab[instead] = special[instead] = vocab.pop(name)
        special.pop(name, None)
    document["merges"] = [
        merge for merge in document["merges"] if CLOSES not in (merge.replace(" ", ""), *merge.split(" "))
    ]
    return parse_map(json.dumps({**document, "id": "engines/smollm2-marked"}).encode())
