"""The map of an engine's model, as the server itself names it: a published map, or the files that it loaded.

A path is taken only from a server on this machine. Whatever is found is compared with the engine as any map
is: by the handshake of the stock engines, and by the header of a Codec server's answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin

import msgspec

from codec_agents.engines.base import Engine, Timeouts, replicas_of
from codec_agents.engines.context import MAX_DOCUMENT
from codec_agents.engines.http.engine import HttpEngine
from codec_agents.engines.stock.handshake import ask
from codec_core.exceptions import CONVERSION_ERRORS, DECODE_ERRORS

INDEX: Final = "/.well-known/codec/index.json"
WITHIN: Final = Timeouts(first_id=10.0)
"""A build waits for these documents, which servers give at once."""


class ToldMap(NamedTuple):
    """One of these: a folder or a file on this machine, a hash with a URL or without, or a model's name."""

    path: Path | None = None
    url: str | None = None
    hash: str | None = None
    model: str | None = None
    """As the server names what it loaded, `org/model` for one; there are no such files here."""


class _Published(msgspec.Struct):
    url: str
    hash: str


class _Index(msgspec.Struct):
    maps: list[_Published] = []


async def told_map(engine: Engine, model: str | None) -> ToldMap | None:
    """Return the map that an engine tells; None where it tells none.

    Raises:
        EngineError: the engine cannot be asked.
    """
    http = http_engine(engine)
    if http is None:
        return None
    try:
        for find in _ASKED.get(engine.provider, ()):
            found = await http.pool.secrets.sealed(find(http, model))
            if found is not None:
                return found
        return None
    finally:
        await http.pool.aclose()  # a build has an event loop of its own, in which no run happens


def http_engine(engine: Engine) -> HttpEngine | None:
    """Return what an engine's server is asked by; None for an engine without one."""
    first = replicas_of(engine)[0]  # all have the same model
    found = getattr(first, "http", first)  # `auto` is no client itself, and has one
    return found if isinstance(found, HttpEngine) else None


async def _published(http: HttpEngine, model: str | None) -> ToldMap | None:
    """Return the map of a Codec server: that of the model, or the only one that it publishes."""
    served = _model(await _document(http, "/v1/models"), model).get("codec_map")
    index = await _document(http, INDEX)
    try:
        maps = msgspec.convert(index, _Index).maps
    except CONVERSION_ERRORS:  # no index: `auto` asks servers of all kinds for one
        maps = []
    found = [each for each in maps if served is None or each.hash == served]
    if len(found) == 1:
        return ToldMap(url=_joined(http.pool.address.of(INDEX), found[0].url), hash=found[0].hash)
    return ToldMap(hash=served) if isinstance(served, str) else None


def _joined(base: str, url: str) -> str | None:
    try:
        return urljoin(base, url)
    except ValueError:  # no URL, "http://[" for one; the hash can still be looked for elsewhere
        return None


async def _root(http: HttpEngine, model: str | None) -> ToldMap | None:
    """Return what vLLM loaded."""
    return _files(http, _model(await _document(http, "/v1/models"), model).get("root"))


async def _model_info(http: HttpEngine, _model: str | None) -> ToldMap | None:
    """Return what SGLang loaded."""
    found = await _document(http, "/get_model_info")
    if not isinstance(found, Mapping):
        return None
    return _files(http, found.get("tokenizer_path") or found.get("model_path"))


async def _props(http: HttpEngine, _model: str | None) -> ToldMap | None:
    """Return the file that llama.cpp loaded."""
    found = await _document(http, "/props")
    return _files(http, found.get("model_path")) if isinstance(found, Mapping) else None


Finder = Callable[[HttpEngine, str | None], Awaitable[ToldMap | None]]

_ASKED: Mapping[str, tuple[Finder, ...]] = {
    "codec": (_published,),
    "vllm": (_root,),
    "sglang": (_model_info,),
    "llama_cpp": (_props,),
    "auto": (_published, _props, _model_info, _root),
}
"""By the provider of the engine. For `auto`, vLLM's path comes last: servers of all kinds have it."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def _files(http: HttpEngine, named: object) -> ToldMap | None:
    if not isinstance(named, str) or not named:
        return None
    path = Path(named)
    try:
        here = http.pool.host in LOOPBACK and path.is_absolute() and path.exists()
    except OSError:  # a name too long for a file, or a folder that cannot be read: not known to be there
        here = False
    return ToldMap(path=path) if here else ToldMap(model=named)


def _model(document: Any, model: str | None) -> Mapping[str, Any]:
    """Return a model of a list of models: the one named, or the first one."""
    listed = document.get("data") if isinstance(document, Mapping) else None
    models = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    # SGLang and llama.cpp answer to any name, so one that is not listed means the first.
    named = [each for each in models if each.get("id") == model]
    return next(iter(named or models), {})


async def _document(http: HttpEngine, path: str) -> Any:
    """Return a JSON document of a server; None where it has none."""
    status, answer = await ask(http, "GET", path, None, WITHIN, limit=MAX_DOCUMENT)
    try:
        return msgspec.json.decode(answer) if status == 200 else None
    except DECODE_ERRORS:
        return None
