"""Tokenized results of older MCP servers: a block `_codec_meta` beside the text whose ids it has.

The MCP library refuses a result with a block of that type, so results are rewritten before it reads them: the
ids go into the `_meta` of the text block before them, where newer servers put them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from codec_core.leaf import LEAF_TOKENIZATION

SIBLING = "_codec_meta"
"""The type of the block."""


def fold_siblings(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a call with ids inside the text blocks that they belong to; any other as it is."""
    blocks = result.get("content")
    if not isinstance(blocks, Sequence) or not any(map(_is_sibling, blocks)):
        return dict(result)
    found: list[Any] = []
    for block in blocks:
        if not _is_sibling(block):
            found.append(block)
            continue
        leaf = {LEAF_TOKENIZATION: {"map_id": block.get("map_id"), "ids": block.get("ids")}}
        # Ids without a text before them stand alone, and are refused where results are read.
        alone: dict[str, Any] = {"type": "text", "text": ""}
        text: Mapping[str, Any] = found.pop() if found and _takes_ids(found[-1]) else alone
        found.append({**text, "_meta": {**(text.get("_meta") or {}), **leaf}})
    return {**result, "content": found}


def _is_sibling(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == SIBLING


def _takes_ids(block: Any) -> bool:
    if not isinstance(block, Mapping) or block.get("type") != "text":
        return False
    # Of another type it is left as it is, for the library to refuse: an error here would end the connection.
    meta = block.get("_meta") or {}
    return isinstance(meta, Mapping) and LEAF_TOKENIZATION not in meta


class FoldingStream:
    """The messages that a server sends, with the results of calls rewritten."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def receive(self) -> Any:
        """Return the next message."""
        received = await self._inner.receive()
        message = getattr(received, "message", None)  # an exception of the transport has none
        result = getattr(message, "result", None)
        if message is None or not isinstance(result, Mapping):
            return received
        return replace(received, message=message.model_copy(update={"result": fold_siblings(result)}))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        import anyio

        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        return await self._inner.__aexit__(kind, error, trace)


@asynccontextmanager
async def folding(transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the streams of a transport, what comes in rewritten."""
    async with transport as (read, write):
        yield FoldingStream(read), write
