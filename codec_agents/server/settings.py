"""The limits and features of a server, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from codec_agents.engines.base import DEFAULT_MAX_TOKENS

MiB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Limits and features of a server. Every limit is a refusal with a reason, never a silent cut."""

    max_body: int = 8 * MiB
    """Bytes of a request's body: a million ids as JSON take about 7 MB."""
    max_bodies: int = 128 * MiB
    """Bytes of the bodies of all requests under way together; further ones get 503 and may retry.
    A body counts until its answer is over, because the prompt in memory is in proportion to it; at least 4
    bytes for each id of the prompt, of which a gateway may have more than the body."""
    max_prompt_ids: int = 1_000_000
    max_conversation: int = 64 * MiB
    """Bytes of memory that one conversation of a gateway may take, from its beginning to its last turn: 4 for
    each id, reasoning included, and its texts. A conversation that fills a body takes a quarter of it."""
    max_stops: int = 4
    """Stop texts of a request, as OpenAI allows."""
    max_stop_length: int = 1_024
    """Characters of one stop text."""
    max_messages: int = 10_000
    max_tools: int = 512
    max_tokens: int = 131_072
    """The most ids that a client may ask for. Clients of Anthropic's API ask for 128,000 by default."""
    default_max_tokens: int = DEFAULT_MAX_TOKENS
    """For requests that name no limit."""
    max_streams: int = 2_000
    """Generations at once; further requests get 503 and may retry."""
    head_within: float = 10.0
    """Seconds in which the head of a request has to arrive, whole; then the connection is closed."""
    body_within: float = 30.0
    """Seconds in which the body of a request has to arrive, whole (408)."""
    generation_within: float | None = None
    """Seconds that a generation may take; then it is ended, with the reason `error`. None for any."""
    stalled_after: float = 60.0
    """Seconds after which a client that reads nothing is dropped."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """A request must carry one of them as its bearer token. Required where others can reach the server."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, without port, that `Host` may have besides the loopback names and the server's own address.
    `*` allows any."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may use the server, as `https://name:port`."""
    public_url: str | None = None
    """The origin in the URLs that discovery documents hold; the address that was asked if left out."""
    minimum_version: str | None = None
    """The oldest Codec version that clients may speak; older ones get 426."""
    required_features: tuple[str, ...] = ()
    dictionaries: Mapping[str, bytes] = field(default_factory=dict)
    """Trained zstd dictionaries, by frame format."""
    policies: Mapping[str, bytes] = field(default_factory=dict)
    """Published safety policies, by id."""
    gather: bool = True
    """Frames that are ready together go out as one."""
