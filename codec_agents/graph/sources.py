"""Declarations of engines and maps."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NewType, Self, TypeAlias, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from codec_agents.graph.base import NO_WORD_AS_NUMBER, Count, Declared, FileName, Flag, Seconds, Whole
from codec_agents.references.engine_kinds import is_installed_kind
from codec_agents.references.environment import is_reference, looks_secret, url_has_login, url_has_secret

EngineKind: TypeAlias = Literal[
    "scripted", "embedded", "codec", "vllm", "sglang", "llamacpp", "openai", "auto", "live"
]
"""The kind of server: `scripted` runs in the process, `embedded` is the same model behind HTTP on loopback,
`auto` asks the server, `live` is an object that a Python program passed."""

OwnKind = NewType("OwnKind", str)
"""A kind that an installed package adds: `OwnKind("acme")` in Python, its name alone in a file."""

LOCAL_KINDS = frozenset({"scripted", "embedded"})
"""Engines whose answers come from a script."""

CONSTRAINING_KINDS = frozenset({"vllm", "sglang", "llamacpp"})
"""Engines that can be told the texts that an answer may be."""

UNTOLD_KINDS = LOCAL_KINDS | {"openai"}
"""Engines that do not tell their context."""

TELLING_KINDS = frozenset({"codec", "vllm", "sglang", "llamacpp", "auto"})
"""Engines that may tell the map of their model."""

LIVE_FIELDS = frozenset({"kind", "model", "context", "concurrency", "prefill"})
"""The fields that a live engine may have: they say how the pipeline uses it."""

WireFormat: TypeAlias = Literal[
    "msgpack", "protobuf", "msgpack-delta", "protobuf-delta", "msgpack-compact", "msgpack-packed"
]

HASH_PATTERN = r"^sha256:[0-9a-f]{64}$"


def _kind(value: EngineKind | OwnKind) -> EngineKind | OwnKind:
    known = get_args(EngineKind)
    if value not in known and not is_installed_kind(value):
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, known))})
    return value


def _api_key(value: str) -> str:
    if not is_reference(value):
        raise PydanticCustomError(
            "literal_secret", "a declaration cannot hold a secret; write ${NAME} and set the variable"
        )
    return value


def _url(value: str) -> str:
    if url_has_secret(value):
        raise PydanticCustomError(
            "literal_secret", "a URL holds no password and no key; write ${NAME} and set the variable"
        )
    if not value.startswith(("http://", "https://", "${")):
        raise PydanticCustomError("url", "a URL begins with http:// or https://")
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, content in value.items():
        if looks_secret(name) and not is_reference(content):
            raise PydanticCustomError(
                "literal_secret",
                "the header {name} holds a secret; write ${{NAME}} and set the variable",
                {"name": name},
            )
    return value


Url: TypeAlias = Annotated[
    str, AfterValidator(_url), Field(json_schema_extra={"pattern": r"^(https?://|\$\{)"})
]
"""`http://` or `https://`, without a password; `${NAME}` is read from the environment."""

Headers: TypeAlias = Annotated[dict[str, str], AfterValidator(_headers)]
"""HTTP headers; those that usually hold secrets hold references."""


class EngineSpec(Declared):
    """An inference server, or a script that stands in for one."""

    kind: Annotated[EngineKind | OwnKind, AfterValidator(_kind)] = "auto"
    url: Url | None = None
    """Its address: `http://127.0.0.1:8000`; `${NAME}` is read from the environment."""
    urls: tuple[Url, ...] = ()
    """The addresses of several replicas, in place of `url`. A conversation stays on one of them."""
    model: str | None = None
    """The model for nodes that name none."""
    api_key: Annotated[str, AfterValidator(_api_key)] | None = None
    """`${NAME}`: the environment variable that holds the key."""
    headers: Headers = Field(default_factory=dict)
    """Sent with each request."""
    format: WireFormat | None = None
    """The wire format to request; chosen by the engine's client when left out."""
    compression: Flag | None = None
    """Request compressed answers; chosen by the engine's client when left out."""
    context: Count | None = None
    """The most ids that a prompt and its answer may have together; the server is asked when left out."""
    concurrency: Count | None = None
    """Concurrent requests; the pipeline's policy decides when left out."""
    prefill: Literal["auto", "off"] | None = None
    """The `prefill` of edges into prompts for this engine that declare none."""
    script: str | list[Any] | None = None
    """The script of a scripted model: `module:callable`, a list of rules, or one answer."""
    ids_a_second: Annotated[float, Field(gt=0), NO_WORD_AS_NUMBER] | None = None
    """The pace of a scripted model, in ids per second; unlimited when left out."""
    ids_a_frame: Count | tuple[Count, Count] = 1
    """Ids per frame of a scripted model; of a pair, a number between the two is drawn."""
    first_id_after: Seconds | None = None
    """Seconds until the first id of a scripted model."""
    seed: Whole = 0
    """The seed of a scripted model's random choices."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of this kind of engine's client, passed on unchanged."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URLs of all replicas; none for an engine in this process."""
        return self.urls if self.url is None else (self.url,)

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        local = self.kind in LOCAL_KINDS
        if local and (self.url is not None or self.urls):
            raise PydanticCustomError("engine", "a {kind} engine has no url", {"kind": self.kind})
        if self.url is not None and self.urls:
            raise PydanticCustomError("engine", "both `url` and `urls`; keep one")
        if not local and self.kind != "live" and self.url is None and not self.urls:
            raise PydanticCustomError(
                "engine",
                "an engine of kind {kind} needs a `url`; add it, or another `kind`",
                {"kind": self.kind},
            )
        # Both would be an Authorization header, of which a request has one.
        if self.api_key is not None and any(map(url_has_login, self.addresses)):
            raise PydanticCustomError("engine", "both an `api_key` and a login in the `url`; keep one")
        # What was set, not what differs: a value that equals its default would be without effect as well.
        if self.kind == "live" and (own := self.model_fields_set - LIVE_FIELDS):
            raise PydanticCustomError(
                "engine", "a live engine brings its own {own}", {"own": ", ".join(sorted(own))}
            )
        # Other fields that a kind does not take, such as a pace, are refused where the engine is made.
        if not local and self.script is not None:
            raise PydanticCustomError("engine", "a script needs `kind: scripted` or `kind: embedded`")
        return self


MapHash: TypeAlias = Annotated[str, StringConstraints(pattern=HASH_PATTERN)]


MAP_SUFFIXES = (".json", ".json.gz", ".gguf", ".model", ".tiktoken")
"""Endings by which a name is a path: those of maps and of tokenizer files."""


HUB_PREFIX = "hf:"
"""Begins the name of a model on the hub: `hf:org/model@revision`."""

HUB_PATTERN = r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(@[A-Za-z0-9_./-]+)?$"


class MapSpec(Declared):
    """A tokenizer map: by id (bundled or in the cache), by path, by URL and hash, or from a model's hub."""

    id: str | None = None
    path: FileName | None = None
    """A map, a tokenizer file (`tokenizer.json`, `tekken.json`, `.gguf`, `.model`) or a model's folder,
    relative to the pipeline file or absolute. A map that has to be built is cached by the content of its
    file."""
    url: Url | None = None
    hub: Annotated[str, StringConstraints(pattern=HUB_PATTERN)] | None = None
    """`org/model` or `org/model@revision` of the Hugging Face hub, whose tokenizer file is fetched, built and
    cached once. A commit as revision pins the file."""
    hash: MapHash | None = None
    """`sha256:` and the hex digest of the document, which is checked on loading."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(each is not None for each in (self.path, self.url, self.hub)) > 1:
            raise PydanticCustomError("map", "a map comes from one of `path`, `url` and `hub`")
        if self.url is not None and self.hash is None:
            raise PydanticCustomError(
                "map",
                "a map from a `url` needs its `hash`, by which it is verified; add `hash: sha256:...`",
            )
        return self

    @classmethod
    def of(cls, text: str) -> MapSpec:
        """Return the map that a node's `map` names: `hf:org/model`, a path if it looks like one, or an id."""
        if text.startswith(HUB_PREFIX):
            return cls(hub=text.removeprefix(HUB_PREFIX))
        is_path = text.startswith((".", "/", "~")) or text.endswith(MAP_SUFFIXES)
        return cls(path=text) if is_path else cls(id=text)
