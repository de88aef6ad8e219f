"""Connections that arrive while a server ends: closed, whatever they had come to."""

from __future__ import annotations

import gc
import socket
import warnings
from contextlib import ExitStack, suppress
from typing import Any

import anyio
import pytest

from codec_agents.server import EmbeddedServer


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nothing was asked")


@pytest.mark.asyncio
@pytest.mark.parametrize("in_thread", [False, True], ids=["in the loop", "in a thread"])
async def test_a_connection_that_comes_as_the_server_ends_is_closed(in_thread: bool) -> None:
    with ExitStack() as clients, warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        for turns in range(8):  # of the event loop; the server takes some until the connection is its own
            server = EmbeddedServer(app)
            # Never awaited: the server has this loop's turns alone.
            client = clients.enter_context(socket.socket())
            if in_thread:
                with server:
                    client.connect(("127.0.0.1", server.port))
            else:
                async with server:
                    client.connect(("127.0.0.1", server.port))
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
            for _ in range(2):  # asyncio closes what was aborted in its next turn
                await anyio.lowlevel.checkpoint()
            client.settimeout(5)
            with suppress(ConnectionError):
                assert client.recv(1) == b"", "it is open still"
        gc.collect()
    assert [str(each.message) for each in left] == []
