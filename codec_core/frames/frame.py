"""The frame, the values of its ids, the request, and their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Generic, NamedTuple, TypeVar

import msgspec

MAX_ID = 2**32 - 1
"""The largest token id: ids are uint32 on the wire."""

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The most bytes of a frame that a decoder accepts by default.

A frame of 64 ids has about 200 bytes, one of `MAX_FRAME_IDS` has 2.5 MB. A declared size past the limit fails
before any of it is buffered.
"""

MAX_FRAME_IDS = 2**19
"""The most ids of a frame that a decoder accepts by default.

No model writes half a million ids in one answer, and servers send a few at a time. Python integers take 40
bytes per id, twice in the delta form: one frame of a hostile server costs at most 20 to 40 MB. 16 MiB of the
smallest ids would cost more than 400 MB.
"""

MAX_PROMPT_IDS = 2**20
"""The most ids of a request's prompt by default: the longest contexts, about 45 MB."""

TokenId = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]

if TYPE_CHECKING:
    Ids = tuple[TokenId, ...]
    OfIds = object
else:
    Ids = TypeVar("Ids", bound=tuple[TokenId, ...])
    OfIds = Generic[Ids]
"""At run time the frame is generic, so that `msgpack_counted` can ask for a tuple of a known length."""


class WeightVersion(NamedTuple):
    """The weights that a range of an answer's ids was sampled from."""

    version: str
    start: int
    """The position of the first id within the answer."""
    end: int
    """The position after the last one."""


class SampledValues(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The values of some ids besides their order; a field that was not given is empty or None."""

    logprobs: tuple[float, ...] = ()
    """The logarithm of the probability of each id, as the engine reports it."""
    top: tuple[tuple[tuple[int, float], ...], ...] = ()
    """For each id, the most probable ids in its place, the most probable one first."""
    sampling_mask: tuple[tuple[int, ...], ...] = ()
    """For each id, the ids among which it was drawn. Comes with the last frame, for the whole answer."""
    weight_versions: tuple[WeightVersion, ...] = ()
    """Comes with the last frame, for the whole answer."""
    routed_experts: str | None = None
    """The experts that each id was routed to, as the engine writes them. Comes with the last frame."""


class CodecFrame(
    msgspec.Struct, OfIds, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True
):
    """One unit of a stream: the ids that became ready together.

    Unknown fields are forbidden here so that the fast path fails on them: the decoders then skip them with
    all limits checked. The type is generic only for decoders that expect a known number of ids.
    """

    ids: Ids
    """The ids; the last frame may have none."""
    done: bool
    """True on the last frame, and only there."""
    finish_reason: str | None = None
    """The reason why the generation ended, on the last frame. Unknown values are passed on."""

    @property
    def values(self) -> SampledValues | None:
        """The values of the ids; None on every frame but a `ValuedFrame`."""
        return None


class ValuedFrame(CodecFrame, frozen=True, gc=False):
    """A frame whose ids come with values; a type of its own, so that other frames do not pay for it."""

    values: SampledValues | None = None


class CodecRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A completion request in binary form, for prompts that are long in JSON."""

    prompt_ids: tuple[TokenId, ...]
    max_tokens: TokenId = 0
    """0 for the server's default."""
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    stream_format: str = ""
    """Empty for the server's default."""
