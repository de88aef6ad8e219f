"""Tokenizer files of models on the Hugging Face hub, or on a server with its addresses.

Only `{endpoint}/{model}/resolve/{revision}/{file}` is asked, which the hub documents. Large files are
redirected from there to another host, which is not given the token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codec_core.discovery.fetch import DEFAULT_TIMEOUT, Errors, Progress, fetch
from codec_core.exceptions import CodecError, MapDiscoveryError, MapDiscoveryNotFoundError

if TYPE_CHECKING:
    import httpx

ENDPOINT: Final = "https://huggingface.co"

MAX_TOKENIZER_BYTES: Final = 64 * 1024 * 1024
"""What the builders read of a file; the largest real one has some 35 MB."""

TOKENIZERS: Final = ("tokenizer.json", "tekken.json", "tokenizer.model")
"""The files to look for, the most exact first."""
BESIDE: Final = ("tokenizer_config.json", "chat_template.jinja")
"""What `tokenizer.json` leaves out; many models lack the second one."""

_NAME = re.compile(r"(?P<model>[\w.-]{1,96}/[\w.-]{1,96})(@(?P<revision>[\w.-][\w./-]{0,199}))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}").fullmatch

FileProgress = Callable[[str, int, int | None], None]
"""Called with the name of a file, the bytes received, and their total or None."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the hub, and the revision of its files: a branch, a tag or a commit."""

    model: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> HubModel:
        """Read `org/model` or `org/model@revision`.

        Raises:
            MapDiscoveryError: it is neither.
        """
        found = _NAME.fullmatch(text)
        if found is None or ".." in text:  # the text becomes part of a path
            raise MapDiscoveryError(
                f"{text[:200]!r} is no model of the hub; write org/model or org/model@revision"
            )
        return cls(found["model"], found["revision"] or "main")

    @property
    def is_pinned(self) -> bool:
        """True where the revision is a commit, whose files never change."""
        return _COMMIT(self.revision) is not None

    def __str__(self) -> str:
        return f"{self.model}@{self.revision}"


async def fetch_tokenizer(
    model: HubModel,
    folder: Path,
    *,
    endpoint: str = ENDPOINT,
    token: str | None = None,
    client: httpx.AsyncClient | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    progress: FileProgress | None = None,
    allow_private: bool = False,
) -> str:
    """Write a model's tokenizer file, and what stands beside it, into a folder; return the commit.

    All files are of one commit, also where the revision is a branch that moves meanwhile; "" where the server
    names none.

    Args:
        model: the model.
        folder: an empty folder.
        endpoint: the origin of the hub.
        token: sent to the origin alone.
        client: used, and not closed; without one a client is made for this call.
        timeout: seconds that may pass without a byte.
        progress: called while files arrive.
        allow_private: whether redirects may lead to addresses that are not public.

    Raises:
        MapDiscoveryNotFoundError: there is no such model or revision, or it has no tokenizer file.
        MapDiscoveryError: the hub refuses, a file is too large, or a redirect may not be followed.
        httpx.HTTPError: the connection failed or timed out.
    """
    session = _Session(model, endpoint.rstrip("/"), token, client, timeout, progress, allow_private)
    for name in TOKENIZERS:
        if (content := await session.get(name)) is not None:
            break
    else:
        names = ", ".join(TOKENIZERS)
        raise MapDiscoveryNotFoundError(f"{endpoint}/{model.model} at {model.revision}: none of {names}", 404)
    (folder / name).write_bytes(content)
    for other in BESIDE if name == TOKENIZERS[0] else ():
        if (content := await session.get(other)) is not None:
            (folder / other).write_bytes(content)
    return session.commit


@dataclass(slots=True)
class _Session:
    """The files of one model, of one commit."""

    model: HubModel
    endpoint: str
    token: str | None
    client: httpx.AsyncClient | None
    timeout: float
    progress: FileProgress | None
    allow_private: bool
    commit: str = ""
    reason: str = ""
    """Why the hub did not find the last file: `EntryNotFound`, `RevisionNotFound` or `RepoNotFound`."""

    async def get(self, name: str) -> bytes | None:
        """Return a file, or None where the model has none of this name."""
        url = f"{self.endpoint}/{self.model.model}/resolve/{self.commit or self.model.revision}/{name}"
        self.reason = ""
        try:
            return await fetch(
                url,
                client=self.client,
                timeout=self.timeout,
                max_bytes=MAX_TOKENIZER_BYTES,
                errors=Errors(refused=self._refused),
                progress=self._progress(name),
                allow_private=self.allow_private,
                headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
                heard=self._hear,
            )
        except MapDiscoveryNotFoundError:
            # For any other reason, and for none where a server gives no codes, other files may be there.
            if self.reason in ("RevisionNotFound", "RepoNotFound"):
                raise
            return None

    def _progress(self, name: str) -> Progress | None:
        told = self.progress
        return None if told is None else lambda received, total: told(name, received, total)

    def _hear(self, headers: Mapping[str, str]) -> None:
        # Of several answers the first is the hub's own; hosts that it redirects to know nothing of models.
        self.reason = self.reason or headers.get("x-error-code", "")
        commit = headers.get("x-repo-commit", "")
        if not self.commit and _COMMIT(commit):
            self.commit = commit

    def _refused(self, _: str, status: int) -> CodecError:
        said = "with the token of HF_TOKEN" if self.token else "without a token"
        return MapDiscoveryError(
            f"{self.endpoint} answered HTTP {status} for {self.model} {said}: the model is private, gated or "
            f"does not exist; accept its terms at {self.endpoint}/{self.model.model}, and set HF_TOKEN to a "
            "token that may read it"
        )
