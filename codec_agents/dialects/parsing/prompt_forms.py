"""The forms of a dialect as patterns over the text of a prompt (`PromptText`)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import unescape

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms, ResultForm
from codec_agents.dialects.parsing.prompt_text import PromptAlphabet
from codec_agents.dialects.pieces import Hole, Literal, Marker, Piece
from codec_agents.tools.texts import well_formed

_JSON = json.JSONDecoder(strict=False)
ANY_CONTROL = "\ud800-\udfff"
"""The characters of all control ids, as the inside of a character class."""

_FIELDS = {
    "name": rf"(?P<name>[^\n{ANY_CONTROL}]*?)",
    "name_attribute": rf'(?P<name_attribute>[^"\n{ANY_CONTROL}]*?)',
    "number": r"\d+",
    "id": rf"(?P<id>[^\n{ANY_CONTROL}]*?)",
    "id_json": r'(?P<id_json>"(?:[^"\\]|\\.)*")',
}
_TOOL_ROLES = {"tool", "ipython", "function", "observation"}
_ROLES = {"developer": "system", "model": "assistant", **dict.fromkeys(_TOOL_ROLES, "tool")}


def usual_role(spelled: str) -> str:
    """Return the role that a turn's spelled role means."""
    return _ROLES.get(spelled, spelled)


def first_marker(pieces: Iterable[Piece]) -> str | None:
    """Return the name of the first control token among some pieces."""
    return next((piece.name for piece in pieces if isinstance(piece, Marker)), None)


class PromptForms:
    """The patterns by which the turns of one dialect are found.

    Attributes:
        boundaries: the characters at which an assistant's turn is over, as the inside of a character class.
        ends: those of them that end a turn and begin none.
        parts: the characters with which calls and reasoning begin or end inside a turn.
        user, system, unknown: a whole turn; the group `content` is its text, `role` of the last its role.
        told: how a turn opens with its reasoning, the group `reasoning`; None where the family has none.
        heads: how a turn opens without, the longest first.
        again: how it is opened again behind results, the longest first; there may be nothing.
    """

    def __init__(self, dialect: DialectForms, encoder: PieceEncoder, alphabet: PromptAlphabet) -> None:
        self.dialect = dialect
        self._encoder = encoder
        self._alphabet = alphabet
        self.begins = self._begins()
        self.boundaries = self._boundaries()
        self.ends = self._ends()
        calls, thinking = dialect.calls, dialect.thinking
        self.parts = self.characters(calls.starts if calls else ())
        self.parts += self.characters((thinking.open, thinking.close) if thinking else ())
        mark = self._result_marker()
        self._results = self.characters([mark])
        self._result_stop = self._results if mark in dialect.stops else ""
        self._turn_stops = self.characters(name for name in dialect.stops if name in dialect.turn_starts)
        self.user = self._turn(dialect.user)
        # Where text ends the system turn, its first end counts: what follows may be a user's words.
        self.system = self._turn(dialect.system, shortest=True) if dialect.system else None
        self.unknown = self._unknown()
        self.told, self.told_again = self._told()
        opening, again = dialect.opening, dialect.reopening
        self.answer_head = self.text(dialect.assistant.partition(dialect.answer)[0])
        # The other forms spell the markers of reasoning, which this vocabulary may lack.
        knows = dialect.thinking is None or self.told is not None
        plain: list[str | None] = [*opening.forms()] if knows else [opening.default]
        plain += [thinking.history, *thinking.absent.values()] if thinking else []
        self.heads = self._longest_first([*filter(None, map(self._text_or_none, plain)), self.answer_head])
        self.again = self._longest_first([*map(self.text, filter(None, again.forms() if again else ())), ""])
        self.openings = [
            *filter(None, map(self._text_or_none, opening.forms() if knows else [opening.default]))
        ]
        results = dialect.results
        self.goes_on = results is not None and (results.then != "opening" or results.in_turn)
        self._after_turn = self.text(dialect.after_turn)
        self._boundary = re.compile(f"[{self.boundaries}]") if self.boundaries else None
        system = [piece for piece in self.parsed(dialect.system) if isinstance(piece, Marker)]
        self.marks_system = bool(system)
        defaults = (dialect.default_system, dialect.tools_system)
        self.default_systems = [text for text in defaults if text is not None]
        absent = dialect.tools.absent if dialect.tools is not None else ""
        implied = [dialect.default_turn or "", *dialect.thinking_turn.values(), absent]
        self.implied_turns = [self.text(form) for form in implied if form]
        # What a thinking mode adds in text is content like any other; only control ids say that it is not.
        # What is added where nothing is asked is added again when the messages are written.
        added = self.text(dialect.thinking_system.get("default", ""))
        between = self.text(dialect.thinking_between)
        self._thinking_marks = [*self._marked(dialect.thinking_system.values()), added + between, added]
        self._thinking_ends = self._marked(dialect.thinking_after.values())
        self.additions = self._marked(dialect.thinking_user.values())

    def _marked(self, forms: Iterable[str]) -> list[str]:
        return [self.text(form) for form in forms if first_marker(self.parsed(form)) is not None]

    def thinking_mark(self, content: str) -> str:
        """Return the control tokens of a thinking mode with which a system text begins."""
        return next((mark for mark in self._thinking_marks if content.startswith(mark)), "")

    def thinking_end(self, content: str) -> str:
        """Return the control tokens of a thinking mode with which a system text ends."""
        return next((mark for mark in self._thinking_ends if content.endswith(mark)), "")

    def next_boundary(self, text: str, place: int) -> int:
        """Return the place of the next boundary, or the end of the text."""
        found = self._boundary.search(text, place) if self._boundary is not None else None
        return len(text) if found is None else found.start()

    def after_end(self, text: str, place: int) -> int:
        """Return the place behind the ends of a turn that are at a place; the place where there is none."""
        stop = place
        while stop < len(text) and text[stop] in self.ends:
            stop += 1
        if stop > place and self._after_turn and text.startswith(self._after_turn, stop):
            stop += len(self._after_turn)
        return stop

    def stops_without_results(self, text: str, place: int) -> bool:
        """Return whether a turn stopped at a place with the control token of results, and has none."""
        return text[place] == self._result_stop and self.next_boundary(text, place + 1) == place + 1

    def stops_before_results(self, text: str, place: int) -> bool:
        """Return whether a turn stopped at a place with the control token of a turn that does not follow.

        Results are behind it, or nothing.
        """
        if text[place] not in self._turn_stops:
            return False
        return len(text) == place + 1 or (self._results != "" and text.startswith(self._results, place + 1))

    def text(self, form: str) -> str:
        """Return one of the dialect's strings without holes as the text of a prompt."""
        return self._alphabet.text_of(self._encoder.parse(form))

    def text_of(self, pieces: Iterable[Piece]) -> str:
        """Return pieces without holes as the text of a prompt."""
        return self._alphabet.text_of(pieces)

    def characters(self, names: Iterable[str | None]) -> str:
        """Return the characters of those control tokens that the vocabulary has."""
        known = self._alphabet.characters
        return "".join(dict.fromkeys(known[name] for name in names if name in known))

    def pattern(self, form: str, **holes: str) -> str:
        """Return a regular expression of a form, given those of its holes."""
        return "".join(self._part(piece, holes) for piece in self._encoder.parse(form, tuple(holes)))

    def _part(self, piece: Piece, holes: Mapping[str, str]) -> str:
        if isinstance(piece, Hole):
            return holes[piece.name]
        return re.escape(self._alphabet.text_of((piece,)))

    def _text_or_none(self, form: str | None) -> str | None:
        return None if form is None else self.text(form)

    def _longest_first(self, texts: Iterable[str]) -> list[str]:
        return sorted(dict.fromkeys(texts), key=len, reverse=True)

    def _begins(self) -> list[str]:
        dialect = self.dialect
        return self._longest_first(
            [self.text(form) for form in (dialect.begin_with_tools, dialect.begin) if form]
        )

    def parsed(self, form: str) -> list[Piece]:
        """Return the pieces of one of the dialect's strings."""
        holes = ("content", "tools", *_FIELDS)
        return self._encoder.parse(form, holes)

    def _boundaries(self) -> str:
        """Return what no turn of the family holds inside.

        That is what begins and ends turns, and the first control token of results and of a turn of tools.
        """
        dialect, tools = self.dialect, self.dialect.tools
        if dialect.reader == "channels":  # what begins a turn also begins a channel in it
            return self.characters([dialect.turn_end, *dialect.stops])
        names: list[str | None] = [*dialect.turn_starts, dialect.turn_end, *dialect.also_ends, *dialect.stops]
        names += [first_marker(self.parsed(form)) for form in (dialect.user, dialect.system, dialect.begin)]
        names.append(self._result_marker())
        if tools is not None and tools.place in ("before_system", "after_system", "before_user"):
            names.append(first_marker(self.parsed(tools.form)))
        if dialect.reader == "blocks":  # what begins the assistant's turn also begins each block in it
            own = first_marker(self.parsed(dialect.assistant))
            names = [name for name in names if name != own]
        return self.characters(names)

    def _result_marker(self) -> str | None:
        results = self.dialect.results
        return None if results is None else first_marker(self.parsed(results.open + results.each))

    def _ends(self) -> str:
        dialect = self.dialect
        heads = [dialect.user, dialect.system, *filter(None, dialect.opening.forms())]
        if dialect.results is not None:
            heads.append(dialect.results.open + dialect.results.each)
        begin = {first_marker(self.parsed(form)) for form in heads} | set(dialect.turn_starts)
        names = (dialect.turn_end, *dialect.also_ends, *dialect.stops)
        return self.characters(name for name in names if name not in begin)

    def _inside(self, form: str) -> str:
        """Return a character class of what the content of a turn may be."""
        behind = self.parsed(form.partition("{content}")[2])
        outside = self.boundaries + self.characters([first_marker(behind)])
        return f"[^{outside}]" if outside else "."

    def _turn(self, form: str, *, shortest: bool = False) -> re.Pattern[str]:
        behind = self.parsed(form.partition("{content}")[2])[:1]
        some = "*?" if shortest and behind and isinstance(behind[0], Literal) else "*"
        return re.compile(self._closed(form, f"(?P<content>{self._inside(form)}{some})"), re.DOTALL)

    def _closed(self, form: str, content: str) -> str:
        """Return the pattern of a turn; what is between turns may be missing, as where a prompt ends."""
        between = self.dialect.after_turn
        whole = form.removesuffix(between)
        pattern = self.pattern(whole, content=content)
        return f"{pattern}(?:{self.pattern(between)})?" if between and whole != form else pattern

    def _unknown(self) -> re.Pattern[str] | None:
        """Return the form of a turn of another role, where families spell the role."""
        head, _, tail = self.dialect.user.partition("{content}")
        # 64 characters are more than any role, and bound the search where the head goes on otherwise.
        role = f"(?P<role>{self._inside('{content}')}{{1,64}}?)"
        parts = [
            role.join(map(re.escape, piece.text.split("user")))
            if isinstance(piece, Literal)
            else self._part(piece, {})
            for piece in self._encoder.parse(head)
        ]
        if not any("(?P<role>" in part for part in parts):
            return None
        content = f"(?P<content>{self._inside(self.dialect.user)}*)"
        return re.compile("".join(parts) + self._closed("{content}" + tail, content), re.DOTALL)

    def _told(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        form, thinking = self.dialect.told_reasoning(), self.dialect.thinking
        if form is None or thinking is None or thinking.open not in self._alphabet.characters:
            return None, None
        inside = f"[^{self.boundaries}{self.characters([thinking.close])}]"
        holes = {"reasoning": f"(?P<reasoning>{inside}*)"}
        whole = re.compile(self.pattern(form, **holes), re.DOTALL)
        again = form[form.index(thinking.open) :]  # behind results, the head of the turn is before them
        return whole, re.compile(self.pattern(again, **holes), re.DOTALL)


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
        before, behind = (forms.pattern(part, **_FIELDS) for part in (before, behind))
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
