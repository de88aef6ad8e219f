"""Calls whose parts are told apart by control tokens inside the region."""

from __future__ import annotations

import re

from codec_agents.dialects.grammars.base import (
    FoundCall,
    Grammar,
    Payload,
    PayloadError,
    as_arguments,
    load_arguments,
    load_json,
    read_values,
    unfenced,
)
from codec_agents.dialects.grammars.json_calls import read_json
from codec_agents.dialects.values import Marked, Segment

_HEAD_AND_JSON = re.compile(r"\s*([^\s{\[]+)\s*(\{.*)", re.DOTALL)


def read_mistral(payload: Payload) -> list[FoundCall]:
    """Read `[{"name", "arguments", "id"}]`, `name[CALL_ID]id[ARGS]{..}` or `name[ARGS]{..}`.

    Raises:
        PayloadError: it is none of them.
    """
    if unfenced(payload.text).lstrip().startswith(("[", "{")):  # no name begins so
        return read_json(payload)
    head, body = _parted(payload, "[ARGS]")
    if body is None:
        match = _HEAD_AND_JSON.fullmatch(payload.text)
        if match is None:
            # What is there is told to the model as the name, for which 200 characters are enough.
            raise PayloadError("a call must have the form name[ARGS]{...}", payload.text.strip()[:200])
        return [FoundCall(match[1], load_arguments(match[2], match[1]))]
    name, *call_id = [_text(part).strip() for part in Payload(head).split("[CALL_ID]")]
    if not _text(body).strip():
        # Nothing ends these calls but the next one, or the turn: the arguments may be cut off whole.
        raise PayloadError(
            "nothing follows [ARGS]; write {} where there are no arguments", name, closed=False
        )
    return [FoundCall(name, load_arguments(_text(body), name), call_id[0] if call_id else None)]


def read_deepseek(payload: Payload) -> list[FoundCall]:
    """Read the calls of a block: name and JSON parted by a control token, with a code fence in older models.

    Raises:
        PayloadError: there is no whole call.
    """
    return _each(payload, "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", _deepseek_call)


def _deepseek_call(call: Payload) -> list[FoundCall]:
    head, body = _parted(call, "<｜tool▁sep｜>")
    if body is None:
        raise PayloadError("a call must have a name and arguments")
    name, arguments = _text(head).strip(), _text(body)
    first, _, rest = arguments.lstrip().partition("\n")
    if unfenced(rest) != rest:  # R1 and V3 write `function<｜tool▁sep｜>NAME`, and the JSON in a fence
        name, arguments = first.strip(), rest
    return [FoundCall(name, load_arguments(arguments, name))]


def read_blocks(payload: Payload) -> list[FoundCall]:
    """Read `{"name", "args"}` behind a header that names the tool too; the name inside counts.

    Raises:
        PayloadError: it is no such object.
    """
    parts = payload.split("header")  # `TurnParser` puts this mark behind the header of a region
    header = _text(parts[0]).strip() if len(parts) > 1 else ""
    value = load_json(unfenced(_text(parts[-1])), "the call", header)
    if not isinstance(value, dict):
        raise PayloadError(f"a call must be a JSON object, not {type(value).__name__}", header)
    name = value.get("name") or header
    if not isinstance(name, str) or not name:
        raise PayloadError('a call must have a "name"')
    return [FoundCall(name, as_arguments(value.get("args"), name))]


def read_kimi(payload: Payload) -> list[FoundCall]:
    """Read the calls of a section, or one without it; the id, `functions.NAME:IDX`, names the tool.

    Raises:
        PayloadError: there is no whole call.
    """
    begin = "<|tool_call_begin|>"
    if len(payload.split(begin)) == 1:
        return _kimi_call(payload)  # a call without a section, whose marks are those of the region
    return _each(payload, begin, "<|tool_call_end|>", _kimi_call)


def _kimi_call(call: Payload) -> list[FoundCall]:
    head, body = _parted(call, "<|tool_call_argument_begin|>")
    call_id = _text(head).strip()
    # Models also leave out `functions.`, or give an id of another form, which then names no tool.
    name = call_id.removeprefix("functions.").rpartition(":")[0] or call_id
    if body is None:
        raise PayloadError("a call must have arguments", name)
    return [FoundCall(name, load_arguments(_text(body), name), call_id)]


def read_glm(payload: Payload) -> list[FoundCall]:
    """Read a name, then keys and values in control tokens; the tool's schema types the values.

    Raises:
        PayloadError: a key without a value.
    """
    return [_keyed_call(payload.split("<arg_key>"), "", payload)]


def _keyed_call(parts: list[list[Segment]], suffix: str, payload: Payload) -> FoundCall:
    """Read a name, and keys and values between control tokens whose names end with `suffix`."""
    head, *pairs = parts
    name = _text(head).strip()
    # The end of a value, in the place of a name: a mark inside the value has divided the call.
    divided = any(isinstance(part, Marked) for part in head)
    if divided or not name:
        raise PayloadError("a call must begin with the tool's name", closed=not divided)
    last = len(pairs) - 1
    values = [_keyed(pair, suffix, name, last=place == last) for place, pair in enumerate(pairs)]
    if len({key for key, _ in values}) < len(values):
        raise PayloadError("a key is given twice", name, closed=False)
    return FoundCall(name, read_values(name, values, payload.tools))


def _keyed(pair: list[Segment], suffix: str, name: str, *, last: bool) -> tuple[str, str]:
    """Read a key and its value. One that is not closed ends with the next key; the last may be cut off."""
    key, *value = Payload(pair).split(f"<arg_value{suffix}>")
    if not value:
        raise PayloadError("each <arg_key> must be followed by an <arg_value>", name)
    text, *behind = Payload(value[0]).split(f"</arg_value{suffix}>")
    if len(value) > 1 or (last and not behind) or any(_text(part).strip() for part in behind):
        raise PayloadError(f"the end of the value of {_text(key).strip()!r} is in doubt", name, closed=False)
    return _until(key, f"</arg_key{suffix}>").strip(), _text(text)


_HY = ":opensource"


def read_hunyuan(payload: Payload) -> list[FoundCall]:
    """Read a block of calls: a name, then keys and values, all between control tokens.

    Raises:
        PayloadError: there is no whole call.
    """

    def call(part: Payload) -> list[FoundCall]:
        head, body = _parted(part, f"<tool_sep{_HY}>")
        if body is None:
            raise PayloadError("a call must have a name and arguments", _text(head).strip())
        between, *pairs = Payload(body).split(f"<arg_key{_HY}>")
        if _text(between).strip():
            raise PayloadError("other text is before the first key", _text(head).strip())
        return [_keyed_call([head, *pairs], _HY, part)]

    return _each(payload, f"<tool_call{_HY}>", f"</tool_call{_HY}>", call)


def read_harmony(payload: Payload) -> list[FoundCall]:
    """Read a message to a recipient; the header names the tool.

    Raises:
        PayloadError: there is no recipient.
    """
    head, *body = payload.split("header")  # `TurnParser` puts this mark behind the header of a region
    recipient = recipient_of(_text(head))
    if recipient is None:
        raise PayloadError("a call must be addressed: to=functions.name")
    name = recipient.removeprefix("functions.")
    text = _text(body[0]) if body else ""
    if recipient == "python":  # gpt-oss's own tool, which takes code instead of JSON
        return [FoundCall(name, {"code": text})]
    return [FoundCall(name, load_arguments(text, name))]


_ROLES = {"all", "assistant", "user"}
"""Recipients that are no tools: a message to one of them is no call."""


def recipient_of(header: str) -> str | None:
    """Return the tool that a message header names as its recipient."""
    match = re.search(r"\bto=[ \t]*([^\s<]+)", header)
    return match[1] if match and match[1] not in _ROLES else None


def _each(payload: Payload, begin: str, end: str, read: Grammar) -> list[FoundCall]:
    found = []
    for part in payload.split(begin)[1:]:  # what is before the first mark is no part of a call
        call, *rest = Payload(part).split(end)
        if not rest:
            # A mark inside a value also looks like this: no call of the block is known to be whole.
            raise PayloadError(f"a call was not closed by {end}", closed=False)
        try:
            found += read(Payload(call, payload.tools))
        except PayloadError as error:
            found.append(FoundCall(error.name, None, None, str(error), closed=error.closed))
    if not found:
        raise PayloadError(f"a call must begin with {begin}")
    return found


def _parted(payload: Payload, marker: str) -> tuple[list[Segment], list[Segment] | None]:
    """Return what is before a control token, and what is behind it; None where there is no such token.

    Raises:
        PayloadError: it is there twice. One may be part of a value: neither half would be the whole call.
    """
    head, *rest = payload.split(marker)
    if len(rest) > 1:
        raise PayloadError(f"{marker} may be in a call once", _text(head).strip(), closed=False)
    return head, rest[0] if rest else None


def _text(segments: list[Segment]) -> str:
    return "".join(part if isinstance(part, str) else part.name for part in segments)


def _until(segments: list[Segment], marker: str) -> str:
    return _text(segments[: segments.index(Marked(marker))] if Marked(marker) in segments else segments)
