"""Which added tokens of a tokenizer file are control tokens, and which are text.

The rules:

* A token that the file marks special is control.
* One that the file does not mark special is control where it is spelled `<|..|>` or `<｜..｜>`: only
  templates write these.
* So is one that is spelled as a tag (`<think>`, `[TOOL_CALLS]`) and is a marker of conversations: `MARKERS`
  names it, or the file's chat template writes it.
* All others (white space, HTML tags, words) are text: content may hold them.

A dialect can make further text tokens control for its own prompts: `Vocabulary.with_control`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from codec_core.building.steps import AddedToken
from codec_core.exceptions import MapBuildError

MARKERS = frozenset(
    {"<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"}
)
"""Tags that files list as not special so that decoding shows them, and that still divide a turn."""

_BARRED = re.compile(r"<[|｜]\S+[|｜]>").fullmatch
_TAG = re.compile(r"<\S+>|\[\S+\]|◁\S+▷").fullmatch
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "as_spelled")


def is_control(token: AddedToken, chat_template: str | None) -> bool:
    """Return whether content must never become this token."""
    name = token.content
    if token.special or name in MARKERS or _BARRED(name):
        return True
    return bool(chat_template and _TAG(name) and name in chat_template)


def added_fields(
    added: Iterable[AddedToken], in_model: Iterable[str], chat_template: str | None
) -> tuple[dict[str, int], dict[str, int], Mapping[str, Any]]:
    """Return the ids of the control tokens and of the text tokens by name, and the fields that describe them.

    Args:
        added: the added tokens of the file.
        in_model: the tokens that the model itself makes of text.
        chat_template: the file's chat template.

    Raises:
        MapBuildError: a token is listed with two ids, or as special and as not special.
    """
    made = frozenset(in_model)
    control: dict[str, int] = {}
    text: dict[str, int] = {}
    added_tokens, text_tokens = [], []
    for token in added:
        if (known := control.get(token.content, text.get(token.content, token.id))) != token.id:
            raise MapBuildError(
                f"the added token {token.content!r} is listed with the ids {known} and {token.id}"
            )
        # Only what is set is written, so that equal tokens of different formats give equal maps.
        flags = {name: True for name in _FLAGS if getattr(token, name)}
        if is_control(token, chat_template):
            control[token.content] = token.id
            if flags:  # `special_tokens` says the rest; of a text token, its entry alone says what it is
                added_tokens.append({"content": token.content, **flags})
        else:
            text[token.content] = token.id
            own = {"in_model": True} if token.content in made else {}
            text_tokens.append({"content": token.content, **flags, **own})
    both = control.keys() & text.keys()
    if both:
        raise MapBuildError(f"the added token {min(both)!r} is listed as special and as not special")
    return control, text, {"added_tokens": added_tokens or None, "text_tokens": text_tokens or None}
