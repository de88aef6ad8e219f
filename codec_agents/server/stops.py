"""Texts that end an answer, for back ends that know only ids.

An answer ends with the id that completes a stop text; the id stays, since the model has sampled it. Clients
that read text get the text up to the stop text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec

from codec_agents.server.workers import Workers
from codec_core.detokenizer import Detokenizer
from codec_core.frames import CodecFrame
from codec_core.frames.values import first_ids
from codec_core.vocabulary import Vocabulary


class StopWatcher:
    """Finds the first id that completes one of the stop texts."""

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._keep = max((len(stop) for stop in self._stops), default=1) - 1
        self._detokenizer = Detokenizer(vocabulary)
        self._tail = ""

    def find(self, ids: Sequence[int]) -> int | None:
        """Return the number of these ids up to the end of a stop text; None before its end."""
        for number, token in enumerate(ids, 1):
            self._tail += self._detokenizer.feed((token,))
            if any(stop in self._tail for stop in self._stops):
                return number
            self._tail = self._tail[-self._keep :] if self._keep else ""
        return None

    async def watch(self, frames: AsyncIterator[CodecFrame], workers: Workers) -> AsyncIterator[CodecFrame]:
        """Yield the frames up to a stop text; a long frame is looked through in a thread."""
        async for frame in frames:
            found = await workers.run(partial(self.find, frame.ids), len(frame.ids))
            if found is not None:
                cut = first_ids(frame, found)
                yield msgspec.structs.replace(cut, done=True, finish_reason="stop_sequence")
                return
            yield frame


class StopCutter:
    """Cuts a text before the first stop text, as it comes: what may begin one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found: str | None = None
        """The stop text before which the text was cut."""

    def feed(self, text: str) -> str:
        """Return the part of the text that no stop text can reach any more."""
        if self.found is not None or not self._stops:
            return "" if self.found is not None else text
        held = self._held + text
        found = [(place + len(stop), place, stop) for stop in self._stops if (place := held.find(stop)) >= 0]
        if found:
            # The first that is whole: that one ended the generation, and no other piece would change it.
            _, place, self.found = min(found)
            self._held = ""
            return held[:place]
        ready = len(held) - self._begun(held)
        self._held = held[ready:]
        return held[:ready]

    def flush(self) -> str:
        """Return what was held back, at the end of the text."""
        rest, self._held = self._held, ""
        return rest

    def _begun(self, text: str) -> int:
        """Return how many characters at the end of a text may begin a stop text."""
        return max(_begun(text, stop) for stop in self._stops)


def _begun(text: str, stop: str) -> int:
    """Return how many characters at the end of a text are the longest beginning of a stop text."""
    # Only where its first character is: a look at each length would take a millisecond per token.
    place = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while place >= 0:
        if stop.startswith(text[place:]):
            return len(text) - place
        place = text.find(stop[0], place + 1)
    return 0
