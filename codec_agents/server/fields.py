"""Fields of requests that the server does not read: the ones that it takes, and the ones that it refuses.

A field that would change the answer is refused by its name, rather than have a client believe that it was
heeded. Taken are hints, which ask for nothing that shows in the answer, and values that ask for nothing; null
is one of them everywhere. Unknown fields are refused as well, as by OpenAI's own server.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from codec_agents.server.http import HttpError

HINTS = frozenset(
    {
        "user", "safety_identifier", "metadata", "store", "service_tier", "prediction",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "include_obfuscation",
        "request_id", "session_id", "priority", "cache_salt", "cache_prompt",
    }
)  # fmt: skip
"""Fields about the caller, storage, speed and caches: OpenAI's, and those of vLLM and llama.cpp."""

ASKING_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "continuous_usage_stats": (False,),
    "frequency_penalty": (0,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "min_p": (0,),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "repetition_penalty": (1,),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "suffix": ("",),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Known fields, and the values at which they ask for nothing; any other value is refused."""


def refuse_unread(body: Mapping[str, msgspec.Raw], read: Collection[str], within: str = "") -> None:
    """Check the fields of an object that are not read.

    Args:
        body: the object.
        read: the names of the fields that the server reads.
        within: the path of the object, ending in a dot; empty for the request itself.

    Raises:
        HttpError: 400, naming the first field that would change the answer, or that is unknown.
    """
    for name, raw in body.items():
        if name in read or name in HINTS:
            continue
        value = _value(within + name, raw)
        if value is None:
            continue
        if name not in ASKING_NOTHING:
            shown = f"{within}{name[:80]}"
            raise HttpError(400, f"unknown field {shown!r}", code="unknown_parameter", param=shown)
        if not any(_same(value, harmless) for harmless in ASKING_NOTHING[name]):
            raise _unsupported(within + name, ASKING_NOTHING[name])


def _value(name: str, raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise HttpError(400, f"the body cannot be read: {name[:80]}: {error}", param=name[:80]) from error


def _unsupported(name: str, harmless: tuple[Any, ...]) -> HttpError:
    would_do = "".join(f" or give {msgspec.json.encode(value).decode()}" for value in harmless[:1])
    return HttpError(
        400,
        f"{name} is not served, and would change the answer; leave it out{would_do}",
        code="unsupported_parameter",
        param=name,
    )


def _same(left: Any, right: Any) -> bool:
    """Compare; unlike Python's own comparison, false is not 0."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
