"""What a server allows, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from codec_agents.engines.base import DEFAULT_MAX_TOKENS

MiB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Limits and features of a server; every limit is a refusal with a reason, never a silent cut."""

    max_body: int = 32 * MiB
    """Bytes of a request: a million ids as JSON take about 7 MB."""
    max_prompt_ids: int = 1_000_000
    max_tokens: int = 65_536
    """The most ids that a client may ask for."""
    default_max_tokens: int = DEFAULT_MAX_TOKENS
    """For requests that name no limit."""
    max_streams: int = 2_000
    """Generations at once; more are told to come back (503)."""
    body_within: float = 30.0
    """Seconds in which a request's body has to arrive, whole (408)."""
    generation_within: float | None = None
    """Seconds that a generation may take; then it is ended, with the reason `error`. None for any."""
    stalled_after: float = 60.0
    """Seconds after which a client that reads nothing is dropped."""
    api_keys: tuple[str, ...] = ()
    """If there are any, a request must carry one of them as its bearer token."""
    minimum_version: str | None = None
    """The oldest Codec version that clients may speak; older ones get 426."""
    required_features: tuple[str, ...] = ()
    dictionaries: Mapping[str, bytes] = field(default_factory=dict)
    """Trained zstd dictionaries, by frame format."""
    policies: Mapping[str, bytes] = field(default_factory=dict)
    """Published safety policies, by id."""
    gather: bool = True
    """Whether frames that are ready together go out as one."""
