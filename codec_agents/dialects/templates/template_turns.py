"""The text that a model's chat template writes around turns, tools and results.

The template is rendered with sentinel texts, and the pieces are the text around them. It is rendered when
the dialect is derived, never for a prompt. A template that writes a turn in different ways, depending on the
other turns, has no such pieces and is refused with the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from codec_agents.dialects.base import ResultForm, ToolsForm, WrittenCalls
from codec_agents.dialects.templates.template_process import (
    TemplateFailedError,
    TemplateProcess,
    token_text,
)
from codec_agents.exceptions import DialectError

SYSTEM, USER = "sentinel-system-q7", "sentinel-user-q7"
ANSWER, AGAIN = "sentinel-answer-q7", "sentinel-again-q7"
FIRST, SECOND = "sentinel-first-result-q7", "sentinel-second-result-q7"
ARGUMENT = "sentinel-argument-q7"
"""Texts that no template holds, so that each is where the template put it. None holds another one."""
_ARGUMENTS: tuple[dict[str, str], ...] = ({"text": "x"}, {"text": ARGUMENT})

TOOLS: tuple[dict[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Say something.",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        },
    }
    for name in ("sentinel_one_q7", "sentinel_two_q7")
)
_EACH: tuple[Literal["openai", "function"], ...] = ("openai", "function")
_WAYS = tuple((each, listed, indent) for each in _EACH for listed in (True, False) for indent in (None, 4, 2))
"""The ways to write tools: whole or their functions, as one list or one by one, indented."""


REFUSED = "the chat template cannot be taken apart:"


@dataclass(frozen=True, slots=True)
class Turns:
    """The text that a template writes around the texts of turns."""

    begin: str
    user_prefix: str
    user_suffix: str
    answer_prefix: str
    answer_suffix: str
    opening: str
    system: str = ""
    system_in_user: str | None = None
    default_system: str | None = None

    @property
    def user(self) -> str:
        """The user's turn."""
        return f"{self.user_prefix}{{content}}{self.user_suffix}"


class TemplateTurns:
    """Finds the pieces of one chat template."""

    def __init__(self, config: Mapping[str, Any], process: TemplateProcess) -> None:
        self._process = process
        self._tokens = added_tokens(config)
        self._bos = token_text(config.get("bos_token"))

    def turns(self) -> Turns:
        """Return the text around the texts of turns.

        Raises:
            DialectError: the template cannot be taken apart.
        """
        # A turn's end is seen where the turn is the last; between two turns it cannot be told from the next
        # one's beginning. Each piece is found twice: a template that writes it in two ways is refused.
        plain = self._render([_user(USER)])
        before, after = _around(plain, USER, "the user's text")
        full = self._render([_user(USER), _assistant(ANSWER), _user(AGAIN)])
        rest = _after(full, plain, "a user's turn is written otherwise when more is said")
        prefix, tail = _around(rest, ANSWER, "the assistant's text")
        between, last = _around(tail, AGAIN, "the second user's text")
        if last != after:
            raise DialectError(f"{REFUSED} the last user's turn is written otherwise than the first")
        _, suffix = _around(self._render([_user(USER), _assistant(ANSWER)]), ANSWER, "the assistant's text")
        user_prefix = _after(between, suffix, "an assistant's turn ends otherwise when more is said")
        if not before.endswith(user_prefix):
            raise DialectError(f"{REFUSED} the first user's turn begins otherwise than the second")
        begin = before.removesuffix(user_prefix)
        opened = self._render([_user(USER)], opening=True)
        return self._with_system(
            Turns(
                begin,
                user_prefix,
                after,
                prefix,
                suffix,
                _after(opened, plain, "the opening changes the text before it"),
            )
        )

    def opening(self, turns: Turns, thinking: str) -> str | None:
        """Return how a turn opens when thinking is on or off; None where that is the same."""
        with suppress(DialectError):  # a template that fails with a mode has no opening for it
            opened = self._render([_user(USER)], opening=True, thinking=thinking)
            found = _after(opened, self._render([_user(USER)]), "")
            return None if found == turns.opening else found
        return None

    def _with_system(self, turns: Turns) -> Turns:
        try:
            text = self._render([_system(SYSTEM), _user(USER)])
            before, after = _around(text, SYSTEM, "the system's text")
        except DialectError:  # a template that refuses system texts, or leaves them out
            return turns
        begin = self._bos if self._bos and before.startswith(self._bos) else ""
        rest = f"{turns.user_prefix}{USER}{turns.user_suffix}"
        if not after.endswith(rest):
            # Without a system turn, the system's text is in that of the first user.
            if before == turns.begin + turns.user_prefix and after.endswith(USER + turns.user_suffix):
                glue = after.removesuffix(USER + turns.user_suffix)
                return replace(turns, system_in_user=f"{{content}}{glue}")
            raise DialectError(f"{REFUSED} the user's turn is written otherwise behind a system turn")
        prefix, suffix = before.removeprefix(begin), after.removesuffix(rest)
        # What is before the first user's turn without a system text is the family's own one.
        default = turns.begin.removeprefix(begin) or None
        if default is not None:
            if not (default.startswith(prefix) and default.endswith(suffix)):
                raise DialectError(f"{REFUSED} what it writes without a system turn is no system turn")
            default = default[len(prefix) : len(default) - len(suffix)]
        system = f"{prefix}{{content}}{suffix}"
        return replace(turns, begin=begin, system=system, default_system=default)

    def tools(self, turns: Turns) -> ToolsForm | None:
        """Return how tools are told, where that is in the system turn; None where it is not."""
        prefix, _, suffix = turns.system.partition("{content}")
        if not turns.system:
            return None
        with suppress(DialectError):
            both = self._told([_system(SYSTEM), _user(USER)], turns, prefix + SYSTEM, suffix)
            alone = self._told([_user(USER)], turns, prefix, suffix)
            # Beside tools alone, some templates put their default system text where a declared one stands.
            alone = alone.removeprefix(turns.default_system or "") if both != alone else alone
            between = both.removesuffix(alone) if both.endswith(alone) else ""
            return _tools_form(both.removeprefix(between), between)
        return None

    def _told(self, messages: list[dict[str, Any]], turns: Turns, before: str, suffix: str) -> str:
        text = self._render(messages, tools=TOOLS)
        rest = _after(text, turns.begin + before, "tools change the text before them")
        end = f"{suffix}{turns.user_prefix}{USER}{turns.user_suffix}"
        if not rest.endswith(end):
            raise DialectError(f"{REFUSED} tools are told elsewhere than in the system turn")
        return rest.removesuffix(end)

    def calls(self, turns: Turns) -> WrittenCalls | None:
        """Return how the calls of a turn are written; None where that cannot be seen, or they have ids."""
        (first, second), (one, two) = _ARGUMENTS, (tool["function"]["name"] for tool in TOOLS)
        with suppress(DialectError):
            written = self._called(turns, "")
            before, rest = _around(written, one, "the first tool's name")
            middle, rest = _around(rest, json.dumps(first), "the first call's arguments")
            join, rest = _around(rest, two, "the second tool's name")
            again, after = _around(rest, json.dumps(second), "the second call's arguments")
            # Ids stand at places and in quotes of the template's own, which two samples do not show.
            if again != middle or any(call["id"] in written for call in _calls()):
                return None
            said = self._called(turns, ANSWER)
            text = said.startswith(ANSWER) and said.endswith(written)
            return WrittenCalls(
                open=before,
                each=f"{{name}}{middle}{{arguments}}",
                join=join,
                close=after,
                text="{content}" if text else None,
                behind_text=said.removeprefix(ANSWER).removesuffix(written) if text else "",
            )
        return None

    def _called(self, turns: Turns, text: str) -> str:
        """Return the body of an assistant's turn that says a text and calls two tools."""
        asked = [_user(USER)]
        called = {"role": "assistant", "content": text, "tool_calls": _calls()}
        plain = self._render(asked, tools=TOOLS)
        turn = _after(self._render([*asked, called], tools=TOOLS), plain, "a call changes the text before it")
        body = _after(turn, turns.answer_prefix, "a turn with calls begins otherwise")
        return body.removesuffix(turns.answer_suffix)

    def results(self, turns: Turns) -> ResultForm | None:
        """Return how results are told; None where that cannot be seen."""
        calls = _calls()
        told = [
            {"role": "tool", "content": text, "name": call["function"]["name"], "tool_call_id": call["id"]}
            for text, call in zip((FIRST, SECOND), calls, strict=True)
        ]
        called = {"role": "assistant", "content": "", "tool_calls": calls}
        with suppress(DialectError):
            text = self._render([_user(USER), called, *told], tools=TOOLS, opening=True)
            before, rest = _around(text, FIRST, "the first result")
            join, close = _around(rest, SECOND, "the second result")
            # The calls end with the last argument; the end of their turn is the border to the results.
            behind = before.rpartition(ARGUMENT)[2]
            if not turns.answer_suffix or turns.answer_suffix not in behind:
                return None
            _, _, opened = behind.partition(turns.answer_suffix)
            return ResultForm(
                open=opened,
                each="{content}",
                join=join,
                close=close.removesuffix(turns.opening),
                then="opening" if turns.opening and close.endswith(turns.opening) else "nothing",
            )
        return None

    def _render(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        options = {"opening": False, **options}
        try:
            return self._process.render(messages, **options)
        except TemplateFailedError as error:
            raise DialectError(f"{REFUSED} {error}") from error

    def pieces(self, text: str) -> list[str]:
        """Return a text cut at its tokens."""
        if not self._tokens:
            return [text] if text else []
        return [piece for piece in re.split(f"({'|'.join(map(re.escape, self._tokens))})", text) if piece]


def _calls() -> list[dict[str, Any]]:
    return [
        {
            "id": f"call0000{n}",  # nine characters, as the strictest template wants
            "type": "function",
            "function": {**tool["function"], "arguments": arguments},
        }
        for n, (tool, arguments) in enumerate(zip(TOOLS, _ARGUMENTS, strict=True))
    ]


def added_tokens(config: Mapping[str, Any]) -> list[str]:
    """Return the tokens that a configuration adds to the vocabulary, the longest first."""
    added = config.get("added_tokens_decoder")
    found = [token_text(each) for each in added.values()] if isinstance(added, Mapping) else []
    more = config.get("additional_special_tokens")
    found += [token_text(each) for each in more] if isinstance(more, list) else []
    found += [token_text(config.get(f"{kind}_token")) for kind in ("bos", "eos", "pad", "unk")]
    return sorted({name for name in found if name}, key=lambda name: (-len(name), name))


def _tools_form(told: str, between: str) -> ToolsForm | None:
    # A text that is found as a whole, in its place and once, is no chance: the order of the ways is free.
    for each, listed, indent in _WAYS:
        shapes = [tool if each == "openai" else tool["function"] for tool in TOOLS]
        written = [json.dumps(shape, ensure_ascii=False, indent=indent) for shape in shapes]
        if listed and (text := json.dumps(shapes, ensure_ascii=False, indent=indent)) in told:
            form = told.replace(text, "{tools}")
            return ToolsForm(form=form, between=between, each=each, list_of=True, indent=indent)
        if not listed and all(told.count(text) == 1 for text in written):
            before, rest = told.split(written[0])
            join, after = rest.split(written[1])
            form = f"{before}{{tools}}{after}"
            return ToolsForm(form=form, between=between, each=each, join=join, indent=indent)
    return None


def _around(text: str, sentinel: str, what: str) -> tuple[str, str]:
    parts = text.split(sentinel)
    if len(parts) != 2:
        raise DialectError(f"{REFUSED} {what} is {len(parts) - 1} times in its output")
    return parts[0], parts[1]


def _after(text: str, before: str, why: str) -> str:
    if not text.startswith(before):
        raise DialectError(f"{REFUSED} {why}")
    return text[len(before) :]


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}
