"""Messages become a prompt, in ids: control ids from the template alone, whatever the messages spell."""

from __future__ import annotations

import json
from collections.abc import Iterable

from codec_agents.server.bodies import ChatBody, ChatMessage
from codec_agents.server.http import HttpError
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary

TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_TAIL = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags."
)


def chat_prompt(body: ChatBody, vocabulary: Vocabulary) -> list[int]:
    """Return a conversation as the ids of a ChatML prompt that asks for the assistant's turn.

    Raises:
        HttpError: 400, the model's map has no ChatML markers, or a message cannot be served.
    """
    if "<|im_start|>" not in vocabulary.special_tokens or "<|im_end|>" not in vocabulary.special_tokens:
        raise HttpError(
            400, f"the map {vocabulary.id!r} has no ChatML markers; send a prompt to /v1/completions"
        )
    writer = _ChatMl(vocabulary)
    for role, parts in _turns(body):
        writer.turn(role, parts)
    return writer.open("assistant")


Parts = list[str | tuple[str, str]]
"""Text, and marked text as (marker name, text)."""


class _ChatMl:
    """Writes turns. Text between two control ids is encoded as one, as the models were trained."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._specials = vocabulary.special_tokens
        self._encode = pick_tokenizer(vocabulary).encode_ordinary
        self._ids: list[int] = []
        self._text = ""

    def turn(self, role: str, parts: Parts) -> None:
        """Write a finished turn."""
        self._begin(role)
        for part in parts:
            if isinstance(part, str):
                self._text += part
            else:
                self._marked(*part)
        self._control(self._specials["<|im_end|>"])
        self._text = "\n"

    def open(self, role: str) -> list[int]:
        """Begin the turn that is asked for; return the whole prompt."""
        self._begin(role)
        self._flush()
        return self._ids

    def _begin(self, role: str) -> None:
        self._control(self._specials["<|im_start|>"])
        self._text = f"{role}\n"

    def _marked(self, name: str, text: str) -> None:
        start, stop = self._specials.get(f"<{name}>"), self._specials.get(f"</{name}>")
        if start is None or stop is None:
            self._text += f"<{name}>\n{text}\n</{name}>"
            return
        self._control(start)
        self._text = f"\n{text}\n"
        self._control(stop)

    def _control(self, token: int) -> None:
        self._flush()
        self._ids.append(token)

    def _flush(self) -> None:
        self._ids += self._encode(self._text) if self._text else ()
        self._text = ""


def _turns(body: ChatBody) -> Iterable[tuple[str, Parts]]:
    """Tool results that follow one another share one user turn, as the models were trained."""
    messages = list(body.messages)
    system = messages.pop(0).text if messages and messages[0].role in ("system", "developer") else ""
    if body.offered_tools:
        signatures = "".join("\n" + json.dumps(tool, ensure_ascii=False) for tool in body.offered_tools)
        system = "\n\n".join(filter(None, [system, TOOLS_HEAD + signatures + TOOLS_TAIL]))
    if system:
        yield "system", [system]
    results: Parts = []
    for message in messages:
        if message.role == "tool":
            results.append(("tool_response", message.text))
            continue
        if results:
            yield "user", results
            results = []
        yield message.role, _parts(message)
    if results:
        yield "user", results


def _parts(message: ChatMessage) -> Parts:
    if message.role not in ("system", "user", "assistant"):
        raise HttpError(400, f"a message has the role {message.role[:40]!r}", param="messages")
    parts: Parts = [message.text] if message.text else []
    for call in message.tool_calls or ():
        name, arguments = json.dumps(call.function.name), call.function.arguments
        parts.append(("tool_call", f'{{"name": {name}, "arguments": {arguments}}}'))
    return parts
