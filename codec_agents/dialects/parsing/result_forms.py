"""The results of calls in a prompt, read from its text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape

from codec_agents.dialects.forms import ResultForm
from codec_agents.dialects.parsing.prompt_forms import ANY_CONTROL, FIELDS, PromptForms, first_marker
from codec_agents.dialects.pieces import Hole
from codec_agents.tools.texts import well_formed

_JSON = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True)
class ReadResult:
    """One result of a block; `text` is all of its form, which ends at `stop` in the text that was read."""

    content: str
    name: str | None
    call_id: str | None
    text: str
    stop: int


class ResultForms:
    """The results of one dialect, read from the text of a prompt.

    Attributes:
        marked: whether control ids alone tell results from a user's turn. Where they do not, a user could
            spell results: they are read only behind calls, and only as many as there were calls.
    """

    def __init__(self, form: ResultForm, forms: PromptForms) -> None:
        self._form = form
        before, _, behind = form.each.partition("{content}")
        self._open, self._join, self._close = map(forms.text, (form.open, form.join, form.close))
        before, behind = (forms.pattern(part, **FIELDS) for part in (before, behind))
        self._before = re.compile(before, re.DOTALL)
        self._behind = re.compile(behind, re.DOTALL)
        tail = forms.parsed(form.each.partition("{content}")[2] + form.close)
        bounds = forms.boundaries + forms.characters([first_marker(tail)])
        if form.in_turn:  # other templates go on without a mark: with text, a call or reasoning
            bounds += forms.parts
        self._bounds = re.compile(f"[{bounds}]")
        # Looked ahead for: both say where the text before them ends. Together they have each group twice. The
        # text is matched and not searched, as far as a result goes: the rest of a prompt may hold neither.
        content, next_one = f"[^{bounds}]*?", _unnamed(behind + re.escape(self._join) + before)
        self._next = re.compile(f"{content}(?={next_one})", re.DOTALL)
        self._last = re.compile(f"{content}(?={_unnamed(behind)}{re.escape(self._close)})", re.DOTALL)
        self.marked = self._is_marked(forms)

    def _is_marked(self, forms: PromptForms) -> bool:
        pieces = forms.parsed(self._form.open + self._form.each + self._form.close)
        if first_marker(pieces) is None:
            return False
        sample = "".join("x" if isinstance(piece, Hole) else forms.text_of((piece,)) for piece in pieces)
        spelled = forms.pattern(forms.dialect.user, content=f"[^{ANY_CONTROL}]*")
        return re.fullmatch(spelled, sample, re.DOTALL) is None

    def read(self, text: str, place: int, expected: int) -> tuple[list[ReadResult], int] | None:
        """Return the results that begin at a place, and the place behind them; None where there are none.

        Args:
            text: the text of the prompt.
            place: where they begin.
            expected: how many calls they answer; 0 where it is not known.
        """
        if not text.startswith(self._open, place):
            return None
        found, place = self._several(text, place + len(self._open), expected)
        if not found or not text.startswith(self._close, place):
            return None
        return found, place + len(self._close)

    def inside(self, content: str) -> list[ReadResult]:
        """Return the results that make up the content of a tool's turn; none where it has another form."""
        found, place = self._several(content, 0, 0)
        return found if place == len(content) else []

    def _several(self, text: str, place: int, expected: int) -> tuple[list[ReadResult], int]:
        found: list[ReadResult] = []
        after = place
        while (result := self._one(text, place, last=len(found) == expected - 1)) is not None:
            after = result.stop
            found.append(result)
            if len(found) == expected or not text.startswith(self._join, after):
                break
            place = after + len(self._join)
        return found, after

    def _one(self, text: str, start: int, *, last: bool) -> ReadResult | None:
        before = self._before.match(text, start)
        if before is None:
            return None
        place = before.end()
        if self._form.content == "text":
            stop = self._text_end(text, place, last=last)
            content = text[place:stop]
        else:
            try:
                value, stop = _JSON.raw_decode(text, place)
            except (ValueError, RecursionError):  # it is no result of this family, and so another turn's text
                return None
            # The escapes of JSON can spell lone surrogates, which no record and no answer can carry.
            content = well_formed(value) if isinstance(value, str) else text[place:stop]
        behind = self._behind.match(text, stop)
        if behind is None:
            return None
        fields = {**before.groupdict(), **behind.groupdict()}
        try:
            written = fields.get("id_json")
            call_id = well_formed(_JSON.decode(written)) if written else fields.get("id")
        except ValueError:  # an escape that JSON does not have
            return None
        name = fields.get("name") or unescape(fields.get("name_attribute") or "")
        whole = text[start : behind.end()]
        return ReadResult(content, name or None, call_id, whole, behind.end())

    def _text_end(self, text: str, place: int, *, last: bool) -> int:
        """Return where the text of a result ends.

        A control id bounds it. Where only text separates results, one ends at the first separator that is in
        no JSON value, and the last of those that are expected with the block, whatever its content spells.
        """
        bound = self._bounds.search(text, place)
        limit = bound.start() if bound is not None else len(text)
        behind_value = self._behind_value(text, place, limit)
        if not last:
            for begin in (behind_value, place):  # what begins like a value may not be one
                if found := self._next.match(text, begin):
                    return found.end()
        ends = list(self._ends(text, place, limit))
        if not ends:
            return limit
        if not self._form.in_turn or self._closes(text, ends[-1], limit):
            return ends[-1]
        # Text follows in the turn, and may spell the same end.
        return next((end for end in ends if end >= behind_value), ends[-1])

    def _ends(self, text: str, place: int, limit: int) -> Iterator[int]:
        """Yield where a block may end, from a place up to a limit."""
        while place <= limit and (found := self._last.match(text, place)):
            yield found.end()
            place = found.end() + 1

    def _closes(self, text: str, place: int, limit: int) -> bool:
        """Return whether between a place and the bound of results is nothing but the end of the block."""
        behind = self._behind.match(text, place)
        return behind is None or behind.end() + len(self._close) >= limit

    def _behind_value(self, text: str, place: int, limit: int) -> int:
        """Return where the JSON value ends that begins at a place; the place where none does."""
        try:
            _, stop = _JSON.raw_decode(text, place)
        except (ValueError, RecursionError):
            return place
        return stop if stop <= limit else place


def _unnamed(pattern: str) -> str:
    return re.sub(r"\?P<\w+>", "?:", pattern)
