"""Who may ask a server: hosts, web pages, keys."""

from __future__ import annotations

import httpx
import pytest

from codec_agents.server import ServerSettings
from codec_agents.server import serve as serve_forever
from codec_agents.server.access import UnprotectedServerError, is_loopback

pytestmark = pytest.mark.asyncio

BODY = b'{"prompt": "hello", "max_tokens": 3}'
JSON = {"content-type": "application/json"}
PAGE = "https://page.example"


async def status(server, path="/v1/completions", *, method="POST", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.request(
            method, path, content=BODY if method == "POST" else None, headers={**JSON, **named}
        )
    return answer.status_code


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ],
)
async def test_what_a_page_can_send_without_asking_is_never_read(serve, content_type):
    async with serve(lambda _: "x") as server:
        assert await status(server, content_type=content_type) == 415
        assert await status(server, "/v1/completions/codec", content_type=content_type) == 415
        assert server.app.exchanges.generations[-1].request.body == b""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200), ("localhost:99", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200),
        ("LOCALHOST", 200), ("desk.example:8000", 200),
        ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421),
        ("10.0.0.5", 421), ("", 421), ("[::1", 421), ("localhost:80:80", 421),
        ("localhost@evil.example", 421),
    ],
)  # fmt: skip
async def test_host_is_one_of_the_servers_own(serve, host, expected):
    async with serve(lambda _: "x", settings=ServerSettings(allowed_hosts=("desk.example",))) as server:
        assert await status(server, host=host) == expected
        assert await status(server, "/health", method="GET", host=host) == expected


async def test_any_host_can_be_allowed(serve):
    async with serve(lambda _: "x", settings=ServerSettings(allowed_hosts=("*",))) as server:
        assert await status(server, host="anything.example") == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8000"])
async def test_pages_are_refused(serve, origin):
    async with serve(lambda _: "x") as server:
        assert await status(server, origin=origin) == 403
        assert await status(server, "/v1/models", method="GET", origin=origin) == 403
        assert await status(server, method="OPTIONS", origin=origin) == 403


async def test_an_allowed_page_asks_first_and_reads_the_answer(serve):
    settings = ServerSettings(allowed_origins=(PAGE,), api_keys=("key",))
    async with (
        serve(lambda _: "x", settings=settings) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        asked = await client.options("/v1/completions", headers={"origin": PAGE})
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, PAGE)
        assert "authorization" in asked.headers["access-control-allow-headers"]
        answer = await client.post(
            "/v1/completions", content=BODY, headers={**JSON, "origin": PAGE, "authorization": "Bearer key"}
        )
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        assert await status(server, origin=PAGE) == 401


async def test_nothing_of_the_request_is_reflected(serve):
    """Discovery names the address that was asked, not the one that the request names."""
    headers = {"host": "localhost:1", "x-forwarded-proto": "javascript", "x-forwarded-host": "evil.example"}
    async with serve(lambda _: "x") as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/.well-known/codec/index.json", headers=headers)
        [pointer, *_] = answer.json()["maps"]
        assert pointer["url"].startswith(f"{server.url}/.well-known/codec/maps/")
    public = ServerSettings(public_url="https://maps.example/")
    async with (
        serve(lambda _: "x", settings=public) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        [pointer, *_] = (await client.get("/.well-known/codec/index.json")).json()["maps"]
        assert pointer["url"].startswith("https://maps.example/.well-known/")


@pytest.mark.parametrize("path", ["/health", "/v1/completions", "/nowhere"])
async def test_the_id_of_a_request_is_repeated_if_it_is_one(serve, path):
    async with serve(lambda _: "x") as server, httpx.AsyncClient(base_url=server.url) as client:
        for sent, repeated in (
            ("a-1._B", "a-1._B"),
            ("a" * 129, None),
            ("a b", None),
            ("<i>", None),
            ("", None),
        ):
            answer = await client.get(path, headers={"x-request-id": sent})
            assert answer.headers.get("x-request-id") == repeated


async def test_the_key_is_checked_before_a_byte_of_the_body(serve):
    async with serve(lambda _: "x", settings=ServerSettings(api_keys=("key",))) as server:
        assert await status(server) == 401
        assert server.app.exchanges.generations[-1].request.body == b""
        assert await status(server, authorization="Bearer key") == 200
        assert server.app.exchanges.generations[-1].request.body == BODY


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "desk.example"])
async def test_a_server_that_others_can_reach_needs_keys(serve, host):
    async with serve(lambda _: "x") as server:
        with pytest.raises(UnprotectedServerError, match="asks for no key"):
            serve_forever(server.app, host)


async def test_a_server_without_keys_answers_nothing_at_an_address_of_others(serve):
    """Also where another ASGI server has bound it."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/health", "query_string": b"", "headers": [],
        "server": ("192.0.2.1", 8000), "scheme": "http",
    }  # fmt: skip
    async with serve(lambda _: "x") as server:
        await server.app(scope, None, send)
        assert sent[0]["status"] == 403
        await server.app({**scope, "server": ("/run/socket", None)}, None, send)
        assert sent[2]["status"] == 200


async def test_loopback_is_told_from_other_addresses():
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1", None]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "", "fe80::1%eth0"]))
