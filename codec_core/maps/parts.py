"""The parts of a map's document that are objects of their own."""

from __future__ import annotations

from typing import Literal

import msgspec


class ToolCallingMarkers(msgspec.Struct, frozen=True):
    """The names of the control tokens around a tool call."""

    start: str
    end: str


class ToolCallingBlock(msgspec.Struct, frozen=True):
    """The form in which the models of this map write tool calls."""

    convention: str
    markers: ToolCallingMarkers
    args_format: str = "json"
    result_format: str = "text"


class ZstdDictionary(msgspec.Struct, frozen=True):
    """A trained dictionary for streams of this map's ids, one per stream format."""

    format: str
    url: str
    hash: str
    size_bytes: int | None = None


class AddedToken(msgspec.Struct, frozen=True):
    """A token that is found in text before anything else, and the way in which it is found.

    Attributes:
        content: the token, as the text spells it.
        lstrip: whether it takes the white space before it.
        rstrip: whether it takes the white space after it.
        single_word: whether it is found only where no letter, digit or other word character is beside it.
        normalized: whether it is looked for in normalized text, after those that are looked for in the text
            as it is.
        as_spelled: whether, in normalized text, it is looked for as it is spelled, without the U+2581 that
            stretches of text begin with.
    """

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False
    as_spelled: bool = False


class TextToken(AddedToken, frozen=True):
    """An added token that is ordinary text: content may hold it, and decoding renders it.

    Attributes:
        in_model: whether the model's own vocabulary has it too, so that merges may also make it.
    """

    in_model: bool = False


class UnigramScores(msgspec.Struct, frozen=True):
    """A unigram model: it divides text into the tokens whose scores sum highest.

    Attributes:
        scores: the score of each id.
        precision: in which sums are rounded: "double" as in `tokenizers`, "single" as in SentencePiece.
        unknown: the score of a character without a token; None where it is 10 below the lowest score of all.
    """

    scores: list[float]
    precision: Literal["single", "double"] = "double"
    unknown: float | None = None


class NormalizerRules(msgspec.Struct, frozen=True):
    """Rules of a SentencePiece model, for the normalizer "rules".

    Attributes:
        charsmap: the model's `precompiled_charsmap` in base64 (`unicode.replacement_rules`), or None.
        collapses_spaces: whether spaces at the ends are left out, and runs of spaces become one.
        kept: texts that no rule changes, looked for before the rules; the model's user-defined symbols.
        by_cluster: whether the rules apply to grapheme clusters, as those of `tokenizers` do
            (`unicode.grapheme_rules`), and not the longest at each place.
        merged_spaces: what runs of two or more spaces become behind the rules, or None.
        strips_end: whether white space at the end of a text is left out behind the rules.
    """

    charsmap: str | None = None
    collapses_spaces: bool = False
    kept: tuple[str, ...] = ()
    by_cluster: bool = False
    merged_spaces: str | None = None
    strips_end: bool = False
