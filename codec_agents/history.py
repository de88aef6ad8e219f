"""What a model node has been told and has said, from which a later run goes on."""

from __future__ import annotations

import msgspec


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of one model node at the end of a run.

    Fields:
        prompt: its last prompt, which holds everything before.
        generated: what the model said to it.
        begin: how many ids of the prompt the run began with: what follows are its turns.
        map_hash: the map that the ids are of.
    """

    prompt: list[int]
    generated: list[int]
    begin: int
    map_hash: str | None
