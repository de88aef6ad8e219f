"""What travels: the frame, the request, and the limits both sides keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec

MAX_ID = 2**32 - 1
"""Ids are uint32 on the wire."""

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The largest frame that a decoder takes unless told otherwise.

A frame of 64 ids has some 200 bytes; one of `MAX_FRAME_IDS` has 2.5 MB. A declared size
past the limit fails before anything of it is buffered.
"""

MAX_FRAME_IDS = 2**19
"""Ids of one frame that a decoder takes unless told otherwise.

No model writes half a million ids in one answer, and servers send a few at a time. As Python integers they
take 40 bytes each, in the delta form twice: 20 to 40 MB, which is what one frame of a hostile server may
cost. 16 MiB of the smallest ids would take 400 MB and more.
"""

MAX_PROMPT_IDS = 2**20
"""Ids of a request's prompt, unless told otherwise: what the longest contexts hold, some 45 MB."""

TokenId = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]

if TYPE_CHECKING:
    Ids = tuple[TokenId, ...]
    OfIds = object
else:
    Ids = TypeVar("Ids", bound=tuple[TokenId, ...])
    OfIds = Generic[Ids]
"""What `msgpack_counted` needs and nobody else has to see: frames whose tuple has a known length."""


class CodecFrame(
    msgspec.Struct, OfIds, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True
):
    """One unit of a stream: the ids that became ready together.

    Unknown fields are forbidden here only to keep the fast path honest: the decoders skip them with care. For
    decoders that expect a number of ids it is a generic type; for everybody else there is one kind of frame.
    """

    ids: Ids
    """Possibly none, on the last frame."""
    done: bool
    """True on the last frame, and only there."""
    finish_reason: str | None = None
    """Why the generation ended, on the last frame. The set is open; unknown values are passed on."""


class CodecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The binary form of a completion request, for prompts too long for comfort in JSON."""

    prompt_ids: tuple[TokenId, ...]
    max_tokens: TokenId = 0
    """0 leaves it to the server."""
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    stream_format: str = ""
    """Empty leaves it to the server."""
