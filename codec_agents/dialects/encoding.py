"""From pieces to ids, and from ids to the segments of a payload."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from codec_agents.dialects.pieces import (
    Hole,
    Ids,
    Literal,
    Marker,
    Piece,
    Told,
    join_literals,
    parse_pieces,
)
from codec_agents.dialects.values import Marked, Segment
from codec_agents.exceptions import PromptError
from codec_agents.graph.chat import RawPrompt
from codec_agents.prompts import PromptIds, PromptPiece, PromptSlot, PromptTemplate
from codec_agents.tools.texts import well_formed
from codec_core.tokenizer import pick_tokenizer
from codec_core.vocabulary import Vocabulary


class PieceEncoder:
    """Encodes the pieces of one dialect in one vocabulary.

    Control ids come from `Marker` pieces and from nowhere else: texts are encoded as ordinary.
    """

    def __init__(self, vocabulary: Vocabulary, markers: Iterable[str]) -> None:
        self._vocabulary = vocabulary
        self.markers = tuple(markers)
        self._marker_set = frozenset(self.markers)  # made once, and hashed once, for all forms
        self._marker_names = {vocabulary.special_tokens[name]: name for name in self.markers}
        self._tokenizer = pick_tokenizer(vocabulary)
        self._marks_only_first = vocabulary.facts.metaspace_prefix == "first"
        # Only such a vocabulary puts a space before each text, which does not belong to it.
        self._marks_each = (
            vocabulary.map.encoder == "metaspace" and vocabulary.facts.metaspace_prefix == "always"
        )
        self.encode = self._tokenizer.encode_ordinary

    def encode_inside(self, text: str) -> list[int]:
        """Return the ordinary ids of text behind other ids, without the mark of a beginning."""
        return self._literal_ids(text, Ids(()))

    def control_ids(self, names: Iterable[str]) -> tuple[int, ...]:
        """Return the ids of those of these control tokens that the vocabulary has."""
        known = self._vocabulary.special_tokens
        return tuple(known[name] for name in names if name in known)

    def parse(self, form: str, holes: Sequence[str] = ()) -> list[Piece]:
        """Split a dialect's string into its markers, texts and holes."""
        return parse_pieces(form, self._marker_set, holes)

    def raw(self, prompt: RawPrompt) -> list[Piece]:
        """Return the pieces of a prompt put together by hand.

        Raises:
            PromptError: a token that the map does not have.
        """
        return [self._raw_piece(piece.token, piece.text, piece.slot) for piece in prompt.pieces]

    def _raw_piece(self, token: str | None, text: str | None, slot: str | None) -> Piece:
        if token is None:
            return Hole(slot) if slot is not None else Literal(text or "")
        if token not in self._vocabulary.special_tokens:
            raise PromptError(
                f"{token!r} is no special token of the map {self._vocabulary.id!r}; "
                "write it as `text`, or take one that the map lists in `special_tokens`"
            )
        return Marker(token)

    def ids(self, pieces: Iterable[Piece]) -> list[int]:
        """Return the ids of pieces without holes."""
        ids: list[int] = []
        behind: Piece | None = None
        for piece in join_literals(pieces):
            assert not isinstance(piece, Hole | Told)
            ids += self._piece_ids(piece, behind)
            behind = piece
        return ids

    def placed(self, pieces: Iterable[Piece]) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the ids of pieces without holes, and the place of each piece that is told.

        The ids are those of `ids`: texts are encoded with their neighbours.
        """
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        behind: Piece | None = None  # the last piece that is no text, which alone changes how text is encoded
        for texts in _runs(pieces):
            if isinstance(texts, list):
                self._add_texts(texts, behind, ids, places)
                continue
            inner = texts.piece if isinstance(texts, Told) else texts
            assert not isinstance(inner, Hole)
            begin = len(ids)
            ids += self._piece_ids(inner)
            behind = inner
            if isinstance(texts, Told):
                places.append((begin, len(ids)))
        return ids, places

    def _add_texts(
        self,
        texts: list[Literal | Told],
        behind: Piece | None,
        ids: list[int],
        places: list[tuple[int, int]],
    ) -> None:
        """Encode neighbouring texts as one, and find the told ones among their ids."""
        parts = [well_formed(_text_of(piece)) for piece in texts]
        whole, begin, start = "".join(parts), len(ids), 0
        # Nothing has no ids, where a vocabulary that marks beginnings would give it a mark.
        encoded = self._literal_ids(whole, behind) if whole else []
        ids += encoded
        for piece, part in zip(texts, parts, strict=True):
            if isinstance(piece, Told):
                first, last = place_of(whole, start, start + len(part), encoded, self._spelling)
                places.append((begin + first, begin + last))
            start += len(part)

    def template(self, pieces: Iterable[Piece], *, unused: Iterable[str] = ()) -> PromptTemplate:
        """Return a template whose slots are the holes; `unused` slots may be filled, and are nowhere."""
        parts: list[PromptPiece] = []
        fixed: list[int] = []
        behind: Piece | None = None
        for piece in join_literals(pieces):
            if isinstance(piece, Hole):
                if fixed:
                    parts.append(PromptIds(tuple(fixed)))
                    fixed = []
                parts.append(PromptSlot(piece.name, piece.in_json))
            else:
                # Only the results of a run's calls are told, and `placed` encodes those.
                assert not isinstance(piece, Told)
                fixed += self._piece_ids(piece, behind)
            behind = piece
        if fixed:
            parts.append(PromptIds(tuple(fixed)))
        return PromptTemplate(parts, self._vocabulary, unused=unused)

    def spelled(self, ids: Iterable[int]) -> str:
        """Return what ordinary ids spell."""
        return b"".join(map(self._spelling, ids)).decode("utf-8", "replace")

    def spelled_run(self, ids: Iterable[int], *, begins: bool) -> bytes:
        """Return the bytes of ids in a prompt; a control id has the bytes of its name.

        Args:
            ids: the ids.
            begins: whether a control id, or nothing, is before them: some vocabularies put a space there.
        """
        spelled = b"".join(map(self._spelling, ids))
        return spelled.removeprefix(b" ") if begins and self._marks_each else spelled

    def widths(self, ids: Sequence[int]) -> list[int]:
        """Return how many bytes of text each of these ids adds, the first of them behind a control id."""
        return [len(self.spelled_run((each,), begins=place == 0)) for place, each in enumerate(ids)]

    def is_control(self, token_id: int) -> bool:
        """Return whether an id is a control token of the vocabulary."""
        return token_id in self._vocabulary.special_ids

    def segments(self, ids: Iterable[int]) -> list[Segment]:
        """Return what a payload spells, with the dialect's control tokens apart."""
        segments: list[Segment] = []
        spelled = bytearray()  # grows in place: a payload may be as long as a whole answer
        for token_id in ids:
            name = self._marker_names.get(token_id)
            if name is None:
                spelled += self._spelling(token_id)
                continue
            if spelled:
                segments.append(spelled.decode("utf-8", "replace"))
            segments.append(Marked(name))
            spelled.clear()
        return [*segments, spelled.decode("utf-8", "replace")] if spelled else segments

    def _piece_ids(self, piece: Marker | Literal | Ids, behind: Piece | None = None) -> Sequence[int]:
        match piece:
            case Marker(name):
                return (self._vocabulary.special_tokens[name],)
            case Literal(text):
                return self._literal_ids(well_formed(text), behind)
            case Ids(ids):
                return ids

    def _literal_ids(self, text: str, behind: Piece | None) -> list[int]:
        """Encode text between control tokens, as the model's own tokenizer does there.

        Behind ids that came from elsewhere it goes on, and gets no mark of a beginning.
        """
        if self._marks_only_first or isinstance(behind, Hole | Ids):
            return self._tokenizer.encode_prepared(self._tokenizer.prepare(text, first=False))
        return self.encode(text)

    def _spelling(self, token_id: int) -> bytes:
        """Return the bytes of an id; a control token has the bytes of its name."""
        if token_id in self._vocabulary.special_ids:
            return self._vocabulary.token_bytes(token_id)
        return self._vocabulary.byte_table[token_id]


def _runs(pieces: Iterable[Piece]) -> Iterator[Piece | list[Literal | Told]]:
    """Yield pieces, with neighbouring texts as one list."""
    texts: list[Literal | Told] = []
    for piece in pieces:
        if isinstance(piece, Literal) or (isinstance(piece, Told) and isinstance(piece.piece, Literal)):
            texts.append(piece)
            continue
        if texts:
            yield texts
            texts = []
        yield piece
    if texts:
        yield texts


def _text_of(piece: Literal | Told) -> str:
    inner = piece.piece if isinstance(piece, Told) else piece
    assert isinstance(inner, Literal)
    return inner.text


MARKED_SPACE = 1
"""Vocabularies that mark spaces put one before a text: one byte more than the text has."""


def place_of(
    text: str, start: int, stop: int, ids: Sequence[int], spell: Callable[[int], bytes]
) -> tuple[int, int]:
    """Return the smallest range of ids that holds a part of a text.

    A tokenizer merges over the edges of the part; an id that it shares with its neighbours is in the range.
    Of a text that the vocabulary normalizes, the place inside is not known: the range is the whole.

    Args:
        text: the whole text.
        start: the first character of the part.
        stop: the character after it.
        ids: what the whole text became.
        spell: the bytes of an id.
    """
    ends = list(accumulate(len(spell(token_id)) for token_id in ids))
    more = (ends[-1] if ends else 0) - len(text.encode())
    if more not in (0, MARKED_SPACE):
        return 0, len(ids)
    first, last = (len(text[:place].encode()) + more for place in (start, stop))
    # Of the part are the ids that end behind its first byte and begin before its last one.
    begin = bisect_right(ends, first)
    return (begin, begin) if start == stop else (begin, bisect_left(ends, last) + 1)
