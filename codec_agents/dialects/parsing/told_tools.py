"""The text that tells a model its tools, found in a prompt."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from codec_agents.dialects.forms import ToolsForm
from codec_agents.dialects.parsing.prompt_forms import PromptForms

_JSON = json.JSONDecoder(strict=False)
_MARKED = {"gemma": "<|tool>", "function-gemma": "<start_function_declaration>"}
"""The control tokens with which each tool begins, in the forms that have some of their own."""


@dataclass(frozen=True, slots=True)
class FoundTools:
    """Tools in a text: where they begin and end, and what tells them."""

    start: int
    stop: int
    text: str


class ToldTools:
    """Finds tools in the places where one dialect tells them.

    Attributes:
        place: as of the form.
    """

    def __init__(self, form: ToolsForm, forms: PromptForms) -> None:
        head, _, tail = form.form.partition("{tools}")
        self.place = form.place
        self._between = forms.text(form.between)
        self._join = form.join
        self._is_json = form.each in ("openai", "function")
        self._is_list = self._is_json and form.list_of
        self._head = forms.text(head)
        self._tail = forms.text(tail)
        # A boundary is never part of the tools: the match must not run on into a later turn.
        turn = forms.pattern(form.form, tools=f"(?P<tools>[^{forms.boundaries}]*)")
        self._turn = re.compile(turn, re.DOTALL)
        # Gemma's tools bring control tokens of their own, and there is no text around them.
        marked = forms.characters([_MARKED.get(form.each)])
        self._first = self._head or marked or _json_head(form)

    def turn(self, text: str, place: int) -> FoundTools | None:
        """Return the tools in a turn of their own that begins at a place."""
        found = self._turn.match(text, place)
        return None if found is None else FoundTools(place, found.end(), found["tools"])

    def in_system(self, content: str) -> FoundTools | None:
        """Return the tools in a system turn, with what is between them and the text."""
        if self.place == "before_text":
            return self._before_text(content)
        if self.place != "system" or not self._first or not content.endswith(self._tail):
            return None
        between = "" if content.startswith(self._first) else self._between
        begin = content.find(between + self._first)
        while begin >= 0:
            head = begin + len(between) + len(self._head)
            tools = content[head : len(content) - len(self._tail)]
            # Only a list is one JSON value, which text in its place would not be.
            if not self._is_list or _holds_tools(tools):
                return FoundTools(begin, len(content), tools)
            # Text before the tools may name what is around them.
            between = self._between
            begin = content.find(between + self._first, begin + 1)
        return None

    def _before_text(self, content: str) -> FoundTools | None:
        stop = content.find(self._tail + self._between, len(self._head))
        between = self._tail + self._between
        if stop < 0 and content.endswith(self._tail):
            stop, between = len(content) - len(self._tail), self._tail
        if stop < 0 or not content.startswith(self._first):
            return None
        return FoundTools(0, stop + len(between), content[len(self._head) : stop])

    def in_user(self, content: str) -> FoundTools | None:
        """Return the tools before a user's text."""
        if self.place not in ("user", "first_user"):
            return None
        begin = content.find(self._head)
        if begin < 0:
            return None
        start = begin + len(self._head)
        stop = self._json_end(content, start) if self._is_json else content.find(self._tail, start)
        if stop < 0 or not content.startswith(self._tail, stop):
            return None
        return FoundTools(begin, stop + len(self._tail), content[start:stop])

    def _json_end(self, content: str, place: int) -> int:
        """Return where the tools end, or -1. A user's text may hold what is behind them, so they are read."""
        stop = -1
        while True:
            try:
                value, end = _JSON.raw_decode(content, place)
                if not _is_tool(value):
                    return stop
            except (ValueError, RecursionError):
                return stop
            stop = end
            if not content.startswith(self._join, stop):
                return stop
            place = stop + len(self._join)


def _holds_tools(text: str) -> bool:
    try:
        value = json.loads(text)
        return bool(value) and _is_tool(value)
    except (ValueError, RecursionError):
        return False


def _json_head(form: ToolsForm) -> str:
    """Return how the JSON of every tool begins."""
    if form.each != "openai" or form.list_of or form.canonical:
        return ""
    shape = {"type": "function", "function": {"name": ""}}
    return json.dumps(shape, indent=form.indent).partition('""')[0]


def _is_tool(value: object) -> bool:
    """Return whether a value is a tool, or a list of tools, as `write_tools` writes them."""
    if isinstance(value, list):
        return all(map(_is_tool, value))
    return isinstance(value, dict) and ("function" in value or {"name", "parameters"} <= value.keys())
