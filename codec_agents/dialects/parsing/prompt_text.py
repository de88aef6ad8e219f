"""The text of a prompt, in which every control id is one character that no content can be.

The reader of prompts matches a dialect's forms on this text. Control ids become lone surrogates:
decoded UTF-8 has none, so content that spells a marker is never taken for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from codec_agents.dialects.encoding import PieceEncoder
from codec_agents.dialects.pieces import Literal, Marker, Piece
from codec_core.vocabulary import Vocabulary

FIRST_MARKER = 0xD800
FIRST_FOREIGN = 0xDC00
LAST_FOREIGN = 0xDFFF
"""The range of surrogates is divided: 1,024 characters for markers, and as many for other control ids."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Text between two control ids, or one control id: its place in the text, and among the ids."""

    at: int
    start: int
    stop: int


class PromptAlphabet:
    """The characters that represent the control ids of one dialect in one vocabulary."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        encoder: PieceEncoder,
    ) -> None:
        """Give each marker of the dialect its character."""
        self._vocabulary = vocabulary
        self.encoder = encoder
        self.characters = {name: chr(FIRST_MARKER + number) for number, name in enumerate(encoder.markers)}
        self._names = {character: name for name, character in self.characters.items()}
        self._by_id = {vocabulary.special_tokens[name]: char for name, char in self.characters.items()}

    def text_of(self, pieces: Iterable[Piece]) -> str:
        """Return the text of pieces without holes."""
        return "".join(self._character(piece) for piece in pieces)

    def _character(self, piece: Piece) -> str:
        if isinstance(piece, Marker):
            return self.characters[piece.name]
        assert isinstance(piece, Literal), piece
        return piece.text

    def prompt(self, ids: Sequence[int]) -> PromptText:
        """Return the text of a prompt."""
        special, parts, runs = self._vocabulary.special_ids, list[str](), list[_Run]()
        foreign = _Foreign(self._vocabulary)
        begin = at = 0
        for place in range(len(ids) + 1):  # the place behind the last id ends the last run
            if place < len(ids) and ids[place] not in special:
                continue
            if begin < place:
                parts.append(self._decoded(ids[begin:place]))
                runs.append(_Run(at, begin, place))
                at += len(parts[-1])
            if place < len(ids):
                parts.append(self._by_id.get(ids[place]) or foreign.character(ids[place]))
                runs.append(_Run(at, place, place + 1))
                at += 1
            begin = place + 1
        return PromptText("".join(parts), ids, runs, self, foreign.names)

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.encoder.spelled_run(ids, begins=True).decode("utf-8", "replace")

    def name(self, character: str) -> str | None:
        """Return the name of the marker that a character represents."""
        return self._names.get(character)


class _Foreign:
    """The characters of control ids that are not the dialect's, in one prompt."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._characters: dict[int, str] = {}
        self.names: dict[str, str] = {}

    def character(self, token_id: int) -> str:
        known = self._characters.get(token_id)
        if known is None:
            # Beyond the last one they share it: only the names in the text are then wrong.
            known = chr(min(FIRST_FOREIGN + len(self._characters), LAST_FOREIGN))
            self._characters[token_id] = known
            self.names[known] = self._vocabulary.token_bytes(token_id).decode("utf-8", "replace")
        return known


class PromptText:
    """One prompt as text, with the place of each part of it among the ids.

    Attributes:
        text: the text.
        ids: the prompt.
    """

    def __init__(
        self,
        text: str,
        ids: Sequence[int],
        runs: Sequence[_Run],
        alphabet: PromptAlphabet,
        foreign: dict[str, str],
    ) -> None:
        self.text = text
        self.ids = ids
        self._runs = runs
        self._places = [run.at for run in runs]
        self._alphabet = alphabet
        self._foreign = foreign
        self._ends: dict[int, list[int]] = {}

    def position(self, place: int) -> int:
        """Return the position of the id that a character of the text belongs to."""
        if place >= len(self.text):
            return len(self.ids)
        run = self._runs[bisect_right(self._places, place) - 1]
        return run.start + self._cut(run, place)[0]

    def is_control(self, place: int) -> bool:
        """Return whether a control id is at a place."""
        return "\ud800" <= self.text[place] <= "\udfff"

    def ids_between(self, start: int, stop: int) -> list[int]:
        """Return the ids of a part of the text that ends before a control id, or with the prompt.

        A token that the part shares with the text before it is encoded anew: the ids spell exactly the part.
        """
        if start >= stop:
            return []
        last = len(self.ids) if stop >= len(self.text) else self.position(stop)
        run = self._runs[bisect_right(self._places, start) - 1]
        count, shared = self._cut(run, start)
        first = run.start + count
        if not shared:
            return list(self.ids[first:last])
        encoder = self._alphabet.encoder
        rest = encoder.spelled_run(self.ids[first : run.stop], begins=first == run.start)[shared:]
        return [*encoder.encode_inside(rest.decode("utf-8", "replace")), *self.ids[run.stop : last]]

    def _cut(self, run: _Run, place: int) -> tuple[int, int]:
        """Return how many ids of a run are before a place, and how many bytes of the next one are."""
        if place == run.at:  # for a control id the only place: its name has more bytes than its character
            return 0, 0
        ends = self._ends_in(run)
        size = len(self.text[run.at : place].encode())
        count = bisect_right(ends, size)
        if count == len(ends):
            return count, 0
        return count, size - (ends[count - 1] if count else 0)

    def _ends_in(self, run: _Run) -> list[int]:
        """Return where each id of a run ends, in bytes of its text."""
        # Kept: a run of results that only text marks is asked for the place of each of them.
        ends = self._ends.get(run.start)
        if ends is None:
            widths = self._alphabet.encoder.widths(self.ids[run.start : run.stop])
            self._ends[run.start] = ends = list(accumulate(widths))
        return ends

    def named(self, text: str) -> str:
        """Return a part of the text with the names of the control tokens in it."""
        if text.isascii():
            return text
        return "".join(
            self._name(character) if "\ud800" <= character <= "\udfff" else character for character in text
        )

    def _name(self, character: str) -> str:
        return self._alphabet.name(character) or self._foreign.get(character, "")
