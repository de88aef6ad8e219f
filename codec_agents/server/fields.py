"""The fields of a request: how long each may be, and those that the server does not read.

A field that would change the answer is refused by its name, rather than have a client believe that it was
heeded. Taken are hints, which ask for nothing that shows in the answer, and values that ask for nothing; null
is one of them everywhere. Unknown fields are refused as well, as by OpenAI's own server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import msgspec

from codec_agents.server.http import HttpError

MAX_FIELD = 64 * 1024
"""Bytes of any field but the long ones, as JSON."""

Lengths: TypeAlias = Mapping[str, int | None]
"""The fields that may be longer, and up to how many bytes; None for the whole body."""

HINTS = frozenset(
    {
        "user", "safety_identifier", "metadata", "store", "service_tier", "prediction",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "include_obfuscation",
        "request_id", "session_id", "priority", "cache_salt", "cache_prompt", "stream_interval",
    }
)  # fmt: skip
"""Fields about the caller, storage, speed, caches and sizes of events: OpenAI's, vLLM's and llama.cpp's."""

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
    "no_stop_trim": (False,),
    "return_hidden_states": (False,),
    "separate_reasoning": (True,),
    "stream_reasoning": (True,),
    "continue_final_message": (False,),
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
"""Known fields, and the values at which they ask for nothing; any other value is refused.

Routers such as vllm-router put some of them into every request.
"""


@dataclass(frozen=True, slots=True)
class KnownFields:
    """The fields of one API's requests.

    Fields:
        read: the names that the server reads.
        long: those that may be longer than `MAX_FIELD`.
        nested: the names that are read within a field that is an object.
        harmless: known fields that are not read, and the values at which they ask for nothing.
    """

    read: Collection[str]
    long: Lengths
    nested: Mapping[str, Collection[str]] = field(default_factory=dict)
    harmless: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: ASKING_NOTHING)


def check_fields(body: bytes, known: KnownFields) -> None:
    """Check the size of every field, and refuse those that are not read and would change the answer.

    Raises:
        HttpError: 400, naming the field.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:  # the decoder looks at no text in what it passes on unread
        raise HttpError(400, f"the body cannot be read: it is not UTF-8 at byte {error.start}") from error
    fields = decode(_FIELDS, body)
    # Of two fields of one name the decoder reads both, and `fields` has only the last: the limits below would
    # not see the first. Otherwise, only names, punctuation and white space are in no field.
    if len(body) - sum(len(memoryview(raw)) for raw in fields.values()) > MAX_FIELD:
        raise HttpError(
            400, f"the body has a field twice, or {MAX_FIELD} bytes of white space between fields"
        )
    for name, raw in fields.items():
        limit = known.long.get(name, MAX_FIELD)
        if limit is not None and len(bytes(raw)) > limit:
            shown = name[:80]
            raise HttpError(400, f"the field {shown!r} is longer than {limit} bytes", param=shown)
    refuse_unread(fields, known.read, known.harmless)
    for name, read in known.nested.items():
        # Other JSON than an object is for the reader of the whole body to refuse, or to take.
        if bytes(fields.get(name, b"null"))[:1] == b"{":
            refuse_unread(decode(_FIELDS, fields[name], name), read, known.harmless, f"{name}.")


def check_entries(body: bytes, mark: bytes, limit: int, field: str, entries: str) -> None:
    """Refuse a body whose entries are too many to be worth decoding.

    Args:
        body: the JSON of the request.
        mark: what each entry holds at least once. What is in an entry may hold it too, so it counts no entry.
        limit: the most entries.
        field: the field that holds the entries.
        entries: the word for them.

    Raises:
        HttpError: 400, naming the field.
    """
    if (found := body.count(mark)) <= limit:  # nearly always: no body of so few is dear to decode
        return
    fields = decode(_FIELDS, body)
    marks = {name: bytes(raw).count(mark) for name, raw in fields.items()}
    # Of two fields of one name the decoder reads both, and this only the last.
    unseen = found - sum(marks.values())
    if unseen > limit or (marks.get(field, 0) > limit and _exceeds(fields[field], limit)):
        raise HttpError(400, f"there are too many {entries}, the limit is {limit}", param=field)


class _Entry(msgspec.Struct, gc=False):
    """An object, of which nothing is read: of the values of JSON it takes the least memory."""


def _exceeds(raw: msgspec.Raw, limit: int) -> bool:
    """Return whether a field is a list of more objects than the limit, or what no API takes.

    A text is False: the Responses API takes one, and it may hold any mark.
    """
    if bytes(raw)[:1] == b'"':
        return False
    try:
        return len(_ENTRIES.decode(raw)) > limit
    # An entry that is no object, perhaps the last one: the reader would decode all those before it.
    except (msgspec.DecodeError, RecursionError):
        return True


_ENTRIES = msgspec.json.Decoder(list[_Entry])

T = TypeVar("T")

_FIELDS: msgspec.json.Decoder[Mapping[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])

_PLACE = re.compile(r"at `\$\.(\w+)")
"""Where msgspec found a value that does not fit."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, field: str | None = None) -> T:
    """Decode a body, or one field of it.

    Raises:
        HttpError: 400, naming the field that does not fit.
    """
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:  # ValidationError is one
        place = _PLACE.search(str(error))
        param = field if place is None else place[1]
        within = "" if field is None else f"{field}: "
        raise HttpError(400, f"the body cannot be read: {within}{error}", param=param) from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise HttpError(400, "the body cannot be read: it is not valid JSON", param=field) from error


def refuse_unread(
    body: Mapping[str, msgspec.Raw],
    read: Collection[str],
    harmless: Mapping[str, tuple[Any, ...]] = ASKING_NOTHING,
    within: str = "",
) -> None:
    """Check the fields of an object that are not read.

    Args:
        body: the object.
        read: the names of the fields that the server reads.
        harmless: fields that are not read, and the values at which they ask for nothing.
        within: the path of the object, ending in a dot; empty for the request itself.

    Raises:
        HttpError: 400, naming the first field that would change the answer, or that is unknown.
    """
    for name, raw in body.items():
        if name in read or name in HINTS:
            continue
        # Read before the name is looked up: null asks for nothing, whatever the field.
        value = _value(within + name, raw)
        if value is None:
            continue
        if name not in harmless:
            shown = f"{within}{name[:80]}"
            raise HttpError(400, f"unknown field {shown!r}", code="unknown_parameter", param=shown)
        if not any(_same(value, taken) for taken in harmless[name]):
            raise _unsupported(within + name, harmless[name])


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
