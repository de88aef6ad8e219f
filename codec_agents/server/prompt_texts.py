"""The texts of prompts to token ids: bounded before they are encoded, long ones in pieces.

Rules that hold in this file:

- A prompt is bounded by bytes before it is encoded: no text that is longer than the model's context could
  spell is looked at.
- Whatever the pieces, the ids are those of `tokenizer.encode(text)`: `codec_core.text_stream` gives out only
  ids that no continuation can change, in time linear in the text.
- Encoding stops as soon as there are more ids than allowed.
- A text with a run of more than `MOST_UNCUT` characters that cannot be cut, such as a million spaces, is
  refused: its merges are one step, which nothing could divide.
- Nothing in proportion to a long text happens on the event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from codec_agents.engines.base import SamplingOptions
from codec_agents.server.backends.backend import ServedModel
from codec_agents.server.http import HttpError
from codec_agents.server.settings import ServerSettings
from codec_agents.server.workers import LOOP_BYTES, Workers
from codec_core.exceptions import UnencodableTextError
from codec_core.text_stream import text_stream
from codec_core.tokenizer import VocabularyTokenizer, check_text, pick_tokenizer
from codec_core.vocabulary import Vocabulary

PIECE = 64 * 1024
"""Characters of a piece: some milliseconds of a thread, after which others have their turn."""

MOST_UNCUT = 4 * PIECE
"""Characters of a run without a place to cut: a quarter of a second of merging. No prose comes near."""

NORMALIZED = 3
"""Bytes of a text for each byte of its normal form, at most: three jamo become one syllable."""


class PromptTexts:
    """Encodes the texts of prompts, within the server's limits and the contexts of its models."""

    def __init__(self, settings: ServerSettings, workers: Workers) -> None:
        self._settings = settings
        self._workers = workers

    async def encoded(self, text: str, model: ServedModel, options: SamplingOptions) -> list[int]:
        """Return the ids of a prompt in which special tokens count.

        Raises:
            HttpError: 400, it is too long, or cannot be encoded.
        """
        await self.check_length(len(text), model, options, "prompt")
        if len(text) <= LOOP_BYTES:
            encode = partial(pick_tokenizer(model.vocabulary).encode, text)
            with _unencodable("prompt"):
                return await self._workers.run(encode, len(text))
        return await self.encoded_in_pieces(text, model, options, "prompt")

    async def encoded_in_pieces(
        self, text: str, model: ServedModel, options: SamplingOptions, param: str
    ) -> list[int]:
        """Return the ids of a long text; of one with too many of them, its beginning.

        Raises:
            HttpError: 400, it cannot be encoded; `param` names the field.
        """
        tokenizer = pick_tokenizer(model.vocabulary)
        long = LongText(tokenizer, text, most_ids=self._most_ids(model, options))
        with _unencodable(param):
            while await self._workers.run(long.step, len(text)):
                pass
        return long.ids

    def _most_ids(self, model: ServedModel, options: SamplingOptions) -> int:
        """Return how many ids a prompt may have."""
        most = self._settings.max_prompt_ids
        return most if model.context is None else min(most, max(model.context - options.max_tokens, 0))

    async def check_length(
        self, characters: int, model: ServedModel, options: SamplingOptions, param: str
    ) -> None:
        """Refuse, before encoding, a text that is too long even if each of its ids is the longest token.

        Raises:
            HttpError: 400; `param` names the field.
        """
        most_ids = self._most_ids(model, options)
        if characters <= most_ids:  # fits however short the tokens are: no need to look for the longest
            return
        most = most_ids * await self._longest_token(model.vocabulary)
        if characters > most:
            raise HttpError(
                400,
                f"the prompt has {characters} characters, and the context holds at most {most}",
                code="context_length_exceeded",
                param=param,
            )

    async def _longest_token(self, vocabulary: Vocabulary) -> int:
        """Return how many bytes of text one id can stand for, at most."""
        found: int | None = vocabulary.derived.get(_longest_token)
        if found is None:
            found = await self._workers.run(partial(_longest_token, vocabulary), vocabulary.size)
            vocabulary.derived[_longest_token] = found
        return found


class UncuttableTextError(ValueError):
    """A text has a run that cannot be encoded in pieces."""

    def __init__(self) -> None:
        super().__init__(
            f"it has more than {MOST_UNCUT} characters in a row with no place to cut, such as spaces"
        )


class LongText:
    """A text on its way to token ids.

    Attributes:
        ids: the ids so far.
    """

    def __init__(
        self, tokenizer: VocabularyTokenizer, text: str, *, most_ids: int, piece: int = PIECE
    ) -> None:
        self.ids: list[int] = []
        self._stream = text_stream(tokenizer, control=True)
        self._text = text
        self._most_ids = most_ids
        self._piece = piece
        self._place = 0

    def step(self) -> bool:
        """Encode a piece; return False when the text is encoded, or has more ids than allowed.

        Raises:
            UnencodableTextError: as `VocabularyTokenizer.encode`.
            UncuttableTextError: a run of the text is too long.
        """
        if self._place == 0:
            # The whole text at once, so that a fault is named by its place in the text, not in a piece.
            check_text(self._text)
        stop = self._place + self._piece
        part = self._text[self._place : stop]
        if stop >= len(self._text):
            self.ids += self._stream.finish(part)
            return False
        self.ids += self._stream.feed(part)
        if len(self._stream.held) > MOST_UNCUT:
            raise UncuttableTextError
        self._place = stop
        return len(self.ids) <= self._most_ids


@contextmanager
def _unencodable(param: str) -> Iterator[None]:
    """Refuse a text that has no ids, or takes too long to get them."""
    try:
        yield
    except (UnencodableTextError, UncuttableTextError) as error:
        raise HttpError(400, f"the prompt cannot be encoded: {error}", param=param) from error


def _longest_token(vocabulary: Vocabulary) -> int:
    longest = max(
        (
            len(vocabulary.token_bytes(token))
            for token in range(vocabulary.size)
            if vocabulary.is_valid(token)
        ),
        default=1,
    )
    return longest * (NORMALIZED if pick_tokenizer(vocabulary).normalizes else 1)
