"""Answers held to a length: a model may otherwise end at once, with nothing left to interrupt or to time."""

from __future__ import annotations

from typing import Any


def length(kind: str, ids: int) -> dict[str, Any]:
    """Return the fields of a body that hold an answer to a length."""
    return {"min_tokens": ids} if kind == "vllm" else {"ignore_eos": True}


def sampling(kind: str, ids: int) -> dict[str, Any]:
    """Return the same as options of a model or a request, greedy."""
    fixed = {"min_tokens": ids} if kind == "vllm" else {"extra": {"body": {"ignore_eos": True}}}
    return {"temperature": 0.0, "max_tokens": ids, **fixed}
