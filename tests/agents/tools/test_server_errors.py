"""The standard error of an MCP server: its lines are shown without the secrets that the server was given."""

from __future__ import annotations

import os

import pytest

from codec_agents.tools.server_errors import MAX_BYTES, MAX_LINE, shown_errors

KEY = "-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END KEY-----\n"


async def shown(capfd: pytest.CaptureFixture[str], written: str | bytes, *secrets: str) -> str:
    """Return the standard error of this process after a server has written to its own."""
    async with shown_errors("srv", secrets) as file:
        file.write(written) if isinstance(written, str) else file.buffer.write(written)
    return capfd.readouterr().err


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("secret", "written", "expected"),
    [
        (KEY, KEY, "srv: [secret]\n" * 4),
        (KEY, repr(KEY), "srv: '[secret]'\n"),
        ("tok-123456\n", "key=tok-123456\n", "srv: key=[secret]\n"),
        ("Bearer tok-123456\n", "key=tok-123456\n", "srv: key=[secret]\n"),
        ("info", "INFO: info\n", "srv: INFO: [secret]\n"),
        (os.fsdecode(b"tok-\xff"), b"key=tok-\xff\n", "srv: key=[secret]\n"),
        ("\r\n", "a\r\nb\n\n", "srv: a\nsrv: b\nsrv: \n"),
    ],
)
async def test_each_line_of_a_secret_is_hidden(
    capfd: pytest.CaptureFixture[str], secret: str, written: str | bytes, expected: str
) -> None:
    assert await shown(capfd, written, secret) == expected


@pytest.mark.asyncio
@pytest.mark.parametrize("before", ["x" * (MAX_BYTES - 4), "tok-123456" * (MAX_BYTES // 10)])
async def test_of_a_line_that_is_too_long_only_the_beginning_is_shown(
    capfd: pytest.CaptureFixture[str], before: str
) -> None:
    """Otherwise a secret that is cut there would be shown: its end, or its beginning behind short marks."""
    lines = await shown(capfd, f"{before}tok-123456{'y' * 2 * MAX_BYTES}\nnext\n", "tok-123456")
    first, second = lines.splitlines()
    assert first.removeprefix("srv: ") in ("x" * MAX_LINE, ("[secret]" * MAX_LINE)[:MAX_LINE])
    assert second == "srv: next"


@pytest.mark.asyncio
async def test_a_secret_that_is_longer_than_what_is_searched_is_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    secret = "s" * (MAX_BYTES + 9)
    assert await shown(capfd, f"{secret}\nnext", secret) == "srv: \nsrv: next\n"
