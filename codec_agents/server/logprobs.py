"""The log probabilities of an answer's ids, in the words of OpenAI's APIs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from codec_agents.server.backends.backend import BrokenOffError, Job
from codec_agents.server.http import HttpError
from codec_core.frames import CodecFrame
from codec_core.vocabulary import Vocabulary

MOST_ALTERNATIVES: Final = 20
"""Alternatives that may be asked for with each id: the limit of other servers."""

LEAST: Final = -9999.0
"""Stands for minus infinity, which JSON does not have, as in OpenAI's and vLLM's APIs."""


def require_alternatives(asked: int | None, field: str) -> int | None:
    """Return how many alternatives a client asks for with each id.

    Raises:
        HttpError: 400, too many.
    """
    if asked is not None and not 0 <= asked <= MOST_ALTERNATIVES:
        raise HttpError(400, f"{field} must be 0 to {MOST_ALTERNATIVES}, not {asked}", param=field)
    return asked


class Logprobs:
    """Pairs the ids of one answer with their log probabilities.

    Args:
        job: the generation.
        top: how many alternatives the client asked for with each id.
        as_ids: whether tokens are named `token_id:17`, as `return_tokens_as_token_ids` asks, and not by text.
    """

    def __init__(self, job: Job, top: int, *, as_ids: bool = False) -> None:
        self._vocabulary = job.model.vocabulary
        self._top = top
        self._as_ids = as_ids
        self._offset = 0

    def content(self, frame: CodecFrame) -> list[dict[str, Any]]:
        """Return the entries of a frame's ids as chats and Responses have them.

        Raises:
            BrokenOffError: the back end gave other values than ids.
        """
        return [
            {**self._entry(token, logprob), "top_logprobs": [self._entry(*each) for each in row]}
            for token, logprob, row in self._rows(frame)
        ]

    def of_completion(self, frame: CodecFrame) -> dict[str, list[Any]]:
        """Return the values of a frame's ids as completions have them.

        Raises:
            BrokenOffError: the back end gave other values than ids.
        """
        found: dict[str, list[Any]] = {name: [] for name in COMPLETION_FIELDS}
        for token, logprob, row in self._rows(frame):
            name = self._name(token)
            # Ids may share a name (parts of characters all read as U+FFFD); the API has room for one of them.
            known = {self._name(each): max(value, LEAST) for each, value in [(token, logprob), *row]}
            values = (name, max(logprob, LEAST), known, self._offset)
            for field, value in zip(COMPLETION_FIELDS, values, strict=True):
                found[field].append(value)
            self._offset += len(_text(self._vocabulary, token))
        return found

    def _rows(self, frame: CodecFrame) -> list[tuple[int, float, Sequence[tuple[int, float]]]]:
        if not frame.ids:
            return []
        values = frame.values
        logprobs = () if values is None else values.logprobs
        tops = () if values is None else values.top
        if len(logprobs) != len(frame.ids) or (self._top and len(tops) != len(frame.ids)):
            raise BrokenOffError(
                f"the engine gave {len(logprobs)} log probabilities and {len(tops)} lists of alternatives, "
                f"for {len(frame.ids)} ids"
            )
        # An engine may give more than were asked for.
        rows = [row[: self._top] for row in tops] if self._top else [()] * len(frame.ids)
        return list(zip(frame.ids, logprobs, rows, strict=True))

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        # An alternative may be an id that pads the model's matrix, and that no map has.
        known = self._vocabulary.is_valid(token)
        spelled = list(self._vocabulary.token_bytes(token)) if known else None
        return {"token": self._name(token), "logprob": max(logprob, LEAST), "bytes": spelled}

    def _name(self, token: int) -> str:
        if self._as_ids or not self._vocabulary.is_valid(token):
            return f"token_id:{token}"
        return _text(self._vocabulary, token)


COMPLETION_FIELDS: Final = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


def _text(vocabulary: Vocabulary, token: int) -> str:
    return vocabulary.token_bytes(token).decode("utf-8", "replace")
