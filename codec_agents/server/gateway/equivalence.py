"""The rule by which a message that a client sends back is the turn that the model generated.

Rules that hold in this file:

- A model's turn is the same if its text is equal but for white space at the ends, its calls are equal, and
  its reasoning is equal or was not sent. Clients drop reasoning, write arguments anew and add fields of their
  own; none of the recorded clients changed anything else.
- Arguments are equal as typed JSON: keys have no order, numbers count by their decimal value, and no number
  ever becomes a float, which would make different numbers equal.
- Whatever is not certainly equal is different. A turn taken for another one would silently replace what the
  client wrote by what the model said.

`same_model_turn` is the rule in words of Python; `model_turn_form` gives equal bytes for turns that the rule
calls equal, which is what makes a look-up one hash per message.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from codec_agents.dialects.messages import Message, MessageCall

EDGES: Final = " \t\r\n"
"""White space that clients and templates add or drop at the ends of a text. `str.strip()` would also take
U+00A0 and other characters, which are content."""


def without_edges(text: str | None) -> str:
    """Return a text without white space at its ends; an absent text is empty."""
    return (text or "").strip(EDGES)


def same_model_turn(ours: Message, theirs: Message) -> bool:
    """Return whether a message sent back is the turn that the model generated.

    Args:
        ours: the turn as it was delivered to the client.
        theirs: the message of a later request.
    """
    if ours.role != "assistant" or theirs.role != "assistant":
        return False
    return (
        without_edges(ours.content) == without_edges(theirs.content)
        and [call_form(call) for call in ours.calls] == [call_form(call) for call in theirs.calls]
        and same_reasoning(ours.reasoning, theirs.reasoning)
    )


def same_reasoning(ours: str | None, theirs: str | None) -> bool:
    """Return whether reasoning is the one that was delivered; reasoning that was not sent back always is."""
    sent = without_edges(theirs)
    return not sent or sent == without_edges(ours)


def same_inserted_turn(ours: Message, theirs: Message) -> bool:
    """Return whether a message that a client wrote is sent back unchanged, ids of calls aside."""
    return (ours.role, ours.content, ours.reasoning or "", [call_form(call) for call in ours.calls]) == (
        theirs.role,
        theirs.content,
        theirs.reasoning or "",
        [call_form(call) for call in theirs.calls],
    )


# --- bytes that are equal where turns are ---


def model_turn_form(message: Message) -> bytes:
    """Return bytes that are equal for an assistant's turns whose texts and calls are equal.

    Reasoning is left out: a client may or may not send it.
    """
    calls = [part for call in message.calls for part in call_form(call)]
    return joined([_bytes(without_edges(message.content)), *calls])


def call_form(call: MessageCall) -> tuple[bytes, bytes]:
    """Return a call's name, and a form of its arguments; its id does not count."""
    return _bytes(call.name), arguments_form(call)


def arguments_form(call: MessageCall) -> bytes:
    """Return bytes that are equal for equal arguments."""
    text = call.text
    if text is None:
        text = json.dumps(call.arguments, ensure_ascii=False)
    return json_form(text)


def json_form(text: str) -> bytes:
    """Return bytes that are equal for equal typed JSON; of a text that is no strict JSON, the text itself."""
    try:
        return b"j" + _value_form(_DECODER.decode(text))
    # An invalid operation is an exponent beyond those that decimals have.
    except (ValueError, InvalidOperation, RecursionError):
        return b"r" + _bytes(text)


def joined(parts: Iterable[bytes]) -> bytes:
    """Return parts as one value, each behind its length, so that no two lists of parts give the same."""
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])


def _value_form(value: Any) -> bytes:
    match value:
        case dict():
            pairs = sorted([(_bytes(key), _value_form(each)) for key, each in value.items()])
            return b"o" + joined([part for pair in pairs for part in pair])
        case str():
            return b"s" + _bytes(value)
        case Decimal():
            return b"n" + _number_form(value)
        case list():
            return b"a" + joined(map(_value_form, value))
        case _:  # true, false, null
            return b"c" + repr(value).encode()


def _number_form(number: Decimal) -> bytes:
    """Return the sign, the digits without trailing zeros, and the exponent.

    `Decimal.normalize` would round to 28 digits.
    """
    sign, digits, exponent = number.as_tuple()
    spelled = "".join(map(str, digits)).lstrip("0")
    short = spelled.rstrip("0")
    if not short:
        return b"0"
    assert isinstance(exponent, int)
    return f"{'-' if sign else ''}{short}e{exponent + len(spelled) - len(short)}".encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is there twice: which value counts depends on the reader")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# Made once: `json.loads` makes one for each text, which takes longer than reading arguments.
_DECODER: Final = json.JSONDecoder(
    parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_object
)


def _bytes(text: str) -> bytes:
    # Lone surrogates have no UTF-8; as they are, they still differ from everything else.
    return text.encode("utf-8", "surrogatepass")
