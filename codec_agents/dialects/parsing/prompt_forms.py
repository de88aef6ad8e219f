"""The forms of a dialect as patterns over the text of a prompt (`PromptText`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.forms import DialectForms
from codec_agents.dialects.parsing.prompt_text import PromptAlphabet
from codec_agents.dialects.pieces import Hole, Literal, Marker, Piece

ANY_CONTROL = "\ud800-\udfff"
"""The characters of all control ids, as the inside of a character class."""

FIELDS = {
    "name": rf"(?P<name>[^\n{ANY_CONTROL}]*?)",
    "name_attribute": rf'(?P<name_attribute>[^"\n{ANY_CONTROL}]*?)',
    "number": r"\d+",
    "id": rf"(?P<id>[^\n{ANY_CONTROL}]*?)",
    "id_json": r'(?P<id_json>"(?:[^"\\]|\\.)*")',
}
"""The patterns of the holes in the form of a result, but for its content."""

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
        begins: how a prompt begins, the longest first; a prompt may begin without.
        user, system, unknown: a whole turn; the group `content` is its text, `role` of the last its role.
        marks_system: whether a control token, and not text alone, says that a turn is the system's.
        told: how a turn opens with its reasoning, the group `reasoning`; None where the family has none.
        told_again: the same behind results, where the turn goes on.
        goes_on: whether an answer behind results may continue the turn that called.
        answer_head: how a turn of the history opens, without reasoning.
        heads: how a turn opens without reasoning, in the history or now, the longest first.
        openings: those of them with which a prompt ends, so that the model answers.
        again: how it is opened again behind results, the longest first; there may be nothing.
        default_systems: system texts that the family writes where a chat has none.
        implied_turns: turns that no message of the chat stands for.
        additions: what thinking modes add to a user's turn, where control ids mark it.
    """

    def __init__(self, dialect: DialectForms, encoder: PieceEncoder, alphabet: PromptAlphabet) -> None:
        self.dialect = dialect
        self._encoder = encoder
        self._alphabet = alphabet
        # In this order: patterns of turns need the boundaries, and openings the form of told reasoning.
        self._find_boundaries()
        self._find_turns()
        self._find_openings()
        self._find_system_texts()

    def _find_boundaries(self) -> None:
        dialect = self.dialect
        self.begins = self._begins()
        self.boundaries = self._boundaries()
        self._boundary = re.compile(f"[{self.boundaries}]") if self.boundaries else None
        self.ends = self._ends()
        self._after_turn = self.text(dialect.after_turn)
        calls, thinking = dialect.calls, dialect.thinking
        self.parts = self.characters(calls.starts if calls else ())
        self.parts += self.characters((thinking.open, thinking.close) if thinking else ())
        mark = self._result_marker()
        self._results = self.characters([mark])
        self._result_stop = self._results if mark in dialect.stops else ""
        self._turn_stops = self.characters(name for name in dialect.stops if name in dialect.turn_starts)

    def _find_turns(self) -> None:
        dialect = self.dialect
        self.user = self._turn(dialect.user)
        # Where text ends the system turn, its first end counts: what follows may be a user's words.
        self.system = self._turn(dialect.system, shortest=True) if dialect.system else None
        self.marks_system = first_marker(self.parsed(dialect.system)) is not None
        self.unknown = self._unknown()
        self.told, self.told_again = self._told()
        results = dialect.results
        self.goes_on = results is not None and (results.then != "opening" or results.in_turn)

    def _find_openings(self) -> None:
        dialect, opening, again = self.dialect, self.dialect.opening, self.dialect.reopening
        self.answer_head = self.text(dialect.assistant.partition(dialect.answer)[0])
        # The other forms spell the markers of reasoning, which this vocabulary may lack.
        knows = dialect.thinking is None or self.told is not None
        forms: list[str | None] = [*opening.forms()] if knows else [opening.default]
        self.openings = [*filter(None, map(self._text_or_none, forms))]
        if (thinking := dialect.thinking) is not None:
            forms += [thinking.history, *thinking.absent.values()]
        self.heads = self._longest_first([*filter(None, map(self._text_or_none, forms)), self.answer_head])
        self.again = self._longest_first([*map(self.text, filter(None, again.forms() if again else ())), ""])

    def _find_system_texts(self) -> None:
        dialect = self.dialect
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
        holes = ("content", "tools", *FIELDS)
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
        return self.characters(name for name in names if name not in dialect.wrappers)  # which answers have

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
