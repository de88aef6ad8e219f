"""A choice of texts, in the notations of engines that have no word for it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence


def regex_of(choices: Sequence[str]) -> str:
    """Return a regular expression that matches exactly these texts."""
    return f"({'|'.join(map(re.escape, choices))})"


def gbnf_of(choices: Sequence[str]) -> str:
    """Return a grammar in llama.cpp's notation (GBNF) whose only texts are these."""
    return f"root ::= {' | '.join(json.dumps(choice, ensure_ascii=False) for choice in choices)}"
