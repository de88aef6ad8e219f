"""The text of recorded ids, for a person who reads a trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from codec_agents.vocabularies import BUNDLED_MAPS, bundled_map
from codec_core.detokenizer import Detokenizer
from codec_core.maps import read_map
from codec_core.vocabulary import Vocabulary, vocabulary_of


class TextReader:
    """Decodes ids with the bundled maps and those of given files; ids of other maps stay ids."""

    def __init__(self, paths: Iterable[str | Path] = ()) -> None:
        """Read the maps of the files.

        Raises:
            CodecError: a file holds no map.
        """
        given = [vocabulary_of(read_map(path)) for path in paths]
        self._by_id = {vocabulary.id: vocabulary for vocabulary in given}

    def decode(self, map_id: str | None, map_hash: str | None, ids: Sequence[int]) -> str | None:
        """Return the text, special tokens shown; None where the map is not at hand, or may be another one."""
        vocabulary = self._vocabulary(map_id)
        # A record without the hash names the map by its id alone, which another map may have too.
        if vocabulary is None or vocabulary.identity != map_hash:
            return None
        detokenizer = Detokenizer(vocabulary)
        return detokenizer.feed(ids, render_special=True) + detokenizer.flush()

    def _vocabulary(self, map_id: str | None) -> Vocabulary | None:
        if map_id in BUNDLED_MAPS and map_id not in self._by_id:
            self._by_id[map_id] = vocabulary_of(bundled_map(map_id))
        return self._by_id.get(map_id or "")
