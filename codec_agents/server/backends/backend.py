"""The contract of a back end: a model that turns the token ids of a prompt into frames."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from codec_agents.engines.base import SamplingOptions
from codec_agents.server.parts import Part
from codec_core.frames import CodecFrame
from codec_core.vocabulary import Vocabulary

if TYPE_CHECKING:
    from codec_agents.server.apis.request import ConversationRequest


Progress: TypeAlias = Literal["reasoning", "events"]

PROGRESS_HEADER = "x-codec-progress"
"""The header by which a client asks a served pipeline for what happens before the answer."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name that requests use, and the vocabulary of its ids."""

    name: str
    vocabulary: Vocabulary
    context: int | None = None
    """The most ids that prompt and answer may have together."""


class Recorder(Protocol):
    """Keeps what becomes of a job."""

    def heard(self, parts: Sequence[Any]) -> None:
        """Take pieces of a chat's answer (`lanes.Part`), as the client gets them."""
        ...

    async def ending(self) -> None:
        """Keep the answer, whose last frame is about to be sent."""
        ...

    async def over(self) -> None:
        """End, however the answer ended."""
        ...


@dataclass(slots=True, eq=False)
class Job:
    """One generation that a client requested."""

    model: ServedModel
    prompt_ids: Sequence[int]
    options: SamplingOptions
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the request that a back end may pass on, such as `traceparent`."""
    text: str | None = None
    """The prompt as text, where the client sent a text."""
    chat: ConversationRequest | None = None
    """The conversation, where the client sent one."""
    recorder: Recorder | None = None
    tenant: bytes = b""
    """Tells clients with different keys apart; a digest of the key."""
    progress: Progress | None = None
    """The form in which the client wants to see what happens before the answer."""
    told: deque[Part] | None = None
    """Where a back end that takes conversations (`converses`) puts the parts of its answer besides the ids,
    which are then its text and hold no markers; None for the jobs of other back ends."""
    begun: int = 0
    """How many of the prompt's last ids are the beginning of the answer's turn, which the server wrote."""
    cached_ids: int | None = None
    """Set by a back end that knows how many ids of the prompt it had in its prefix cache."""

    async def release(self) -> None:
        """Forget the prompt, when the answer is over.

        Tasks that were cancelled hold the job in circles of exceptions and frames: without this a prompt
        would stay in memory until Python's next full collection.
        """
        self.prompt_ids, self.text, self.chat, self.told = (), None, None, None
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            await recorder.over()


class BrokenOffError(Exception):
    """The back end lost the generation before its end. The answer ends without a last frame."""


class Backend(Protocol):
    """A source of generations.

    Frames arrive as they are sampled; the last one has `done`. Leaving the context stops the generation.

    A back end whose attribute `converses` is true takes conversations: no prompt is written for it, and its
    ids are the text of an answer, without markers. One whose attribute `gives_logprobs` is true gives the
    values that the options ask for with its frames. It may leave either attribute out otherwise.
    """

    @property
    def models(self) -> Sequence[ServedModel]:
        """The models, the default one first."""
        ...

    @property
    def gathers(self) -> bool:
        """True if frames that are ready together may go out as one."""
        ...

    @property
    def stops_itself(self) -> bool:
        """True if the back end applies stop texts itself; the server watches for them otherwise."""
        ...

    def generate(self, job: Job) -> AbstractAsyncContextManager[AsyncIterator[CodecFrame]]:
        """Start a generation.

        Raises:
            HttpError: on entering, when the job is refused.
            BrokenOffError: while iterating, when the generation was lost.
        """
        ...

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Hold open what generations share, as long as the server runs; leaving gives it back.

        Raises:
            Exception: what they need is not available.
        """
        ...
