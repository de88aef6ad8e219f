"""The documents under `/.well-known/codec/`: maps, dictionaries, policies, version policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from codec_agents.server.http import HttpError, Request
from codec_agents.server.settings import ServerSettings

BASE = "/.well-known/codec/"
CODEC_VERSION = "0.5"
JSON = "application/json"


class Library:
    """The published documents, by path. Maps are immutable, so their documents are kept as given."""

    def __init__(self, maps: Mapping[str, bytes], settings: ServerSettings) -> None:
        self._public_url = (settings.public_url or "").rstrip("/")
        self._documents: dict[str, tuple[str, bytes]] = {}
        pointers = []
        for map_id, document in maps.items():
            self._documents[f"maps/{map_id}.json"] = (JSON, document)
            url = f"{BASE}maps/{map_id}.json"
            pointers.append({"id": map_id, "url": url, "hash": f"sha256:{_sha256(document)}"})
        self._pointers = pointers
        for dictionary in settings.dictionaries.values():
            self._documents[f"dicts/{_sha256(dictionary)}.zstd"] = ("application/zstd", dictionary)
        for policy_id, policy in settings.policies.items():
            # The protocol has both paths; what is under the second one never changes.
            self._documents[f"policies/{policy_id}.json"] = (JSON, policy)
            self._documents[f"policies/sha256/{_sha256(policy)}.json"] = (JSON, policy)
        # Required features are told to clients that are too old, so without a minimum there is no policy.
        if settings.minimum_version is not None:
            self._documents["version-policy.json"] = (JSON, _version_policy(settings))

    def find(self, request: Request) -> tuple[str, bytes]:
        """Return a document and its content type.

        Raises:
            HttpError: 404, nothing is published there.
        """
        name = request.path.removeprefix(BASE)
        if name == "index.json":
            return JSON, self._index(request)
        if name not in self._documents:
            raise HttpError(404, f"there is nothing at {request.path[:200]}", code="not_found")
        return self._documents[name]

    def _index(self, request: Request) -> bytes:
        """List the maps, with URLs at which this server answers.

        Nothing of `Host` or `X-Forwarded-Proto` is in them: a client would follow what another one wrote.
        """
        origin = self._public_url or _own_origin(request)
        maps = [{**pointer, "url": origin + pointer["url"]} for pointer in self._pointers]
        return msgspec.json.encode({"codec_version": CODEC_VERSION, "maps": maps})


def _own_origin(request: Request) -> str:
    """Return the address at which this server received the request; "" (relative URLs) for a Unix socket."""
    if request.peer is None:
        return ""
    host = f"[{request.peer}]" if ":" in request.peer else request.peer
    return f"{request.scheme}://{host}:{request.port}"


def _version_policy(settings: ServerSettings) -> bytes:
    return msgspec.json.encode(
        {"minimum_version": settings.minimum_version, "required_features": list(settings.required_features)}
    )


def _sha256(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()
